"""The policies' contract, each rule's one idea, and how a driver asks them."""


import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_features import PAST, SLOTS, USERS, bare_world, random_world, seen

from nextone.envs.features import C, H, X
from nextone.experiments.runs.deciding import decider_names, is_edge, make_decide, make_decider
from nextone.experiments.runs.names import REFERENCES
from nextone.experiments.runs.oracle import cloud_filter, oracle_greedy, oracle_intent, reference_filter
from nextone.policies import rules
from nextone.policies.by_name import make_policy
from nextone.policies.contract import Options, Policy, as_policy, name_of
from nextone.policies.names import UnknownPolicy, policy_names
from nextone.sim.cloud.rates import cell
from nextone.sim.config import DIMS
from nextone.sim.state import DEAD, INTENT

RULES = {
    "server_score": rules.server_score,
    "tag_momentum": rules.tag_momentum,
    "buffered_first": rules.buffered_first,
    "random": rules.at_random,
    "longest_first": rules.longest_first,
}
NAMES = [name for name in decider_names() if name != "cloud_only"]


def decide(policy, world, rows=None, **options):
    return make_decider(policy, world, **options)(world, np.arange(len(world.users)) if rows is None else rows)


def test_every_name_is_a_policy_or_never_asked():
    assert set(policy_names()) == {"cloud_only", *RULES}
    assert make_policy("cloud_only") is None and make_decider("cloud_only", bare_world()) is None
    assert [is_edge(name) for name in ("cloud_only", "random", *REFERENCES)] == [False] + [True] * (1 + len(REFERENCES))
    for name in RULES:
        assert isinstance(make_policy(name), Policy)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("tag_momentun", "unknown policy 'tag_momentun'; did you mean tag_momentum?"),
        ("Server_Score", "did you mean server_score?"),
        ("", "known: cloud_only, server_score"),
        ("x" * 10_000, "known: cloud_only"),
    ],
)
def test_unknown_names_are_told_the_nearest(name, said):
    with pytest.raises(UnknownPolicy) as caught:
        make_policy(name)
    assert said in str(caught.value) and len(str(caught.value)) < 300
    with pytest.raises(UnknownPolicy):
        make_decider(name, bare_world())


@pytest.mark.parametrize("name", REFERENCES)
def test_a_reference_is_a_decider_and_no_policy(name):
    assert name in decider_names()
    with pytest.raises(UnknownPolicy):
        make_policy(name)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**63))
def test_scores_are_finite_float32_and_alike_alone_and_together(name, seed):
    world = random_world(seed, users=7)
    if name in REFERENCES:
        calm(world)
    together = decide(name, world)
    assert together.shape == (7, SLOTS) and together.dtype == np.float32
    assert np.isfinite(together[world.pool["rank"] != DEAD]).all()
    for row in range(7):
        assert np.array_equal(decide(name, world, np.array([row])), together[row : row + 1])
    assert np.array_equal(decide(name, world, np.array([5, 1])), together[[5, 1]])
    if name not in REFERENCES:
        assert np.array_equal(decide(name, world, pad_to=3), together)


def calm(world):
    """Hidden values as they are in a world, not arbitrary bits."""
    world.users["person"] = world.users["mood"] = world.users["taste_sd"] = 0.5
    world.videos["quality"] = np.linspace(-1, 1, len(world.videos))
    world.mind["taste"] = world.mind["intent"] = world.mind["satiety"] = 0.1
    world.indexed["quality"], world.indexed["skip_long"] = world.videos["quality"], 0.2
    world.users["minute"], world.users["settled_us"] = 10**6, world.users["now_us"]
    world.users["behaviours"], world.users["stored"] = 0, SLOTS
    world.stored["video"], world.stored["lasting"] = world.pool["video"], 300 * np.arange(SLOTS)
    world.pool["place"] = np.arange(SLOTS)
    world.videos["tag"] %= 43
    world.videos["tag2"] %= 43


@pytest.mark.parametrize("name", NAMES)
def test_the_same_video_twice_ties(name):
    world = random_world(11)
    calm(world)
    world.videos["duration_us"] = 10_000_000 * (1 + np.arange(len(world.videos)))
    world.pool["rank"] = np.arange(SLOTS)
    for field in ("video", "place", "score", "pxtr", "buffered", "bitrate"):
        world.pool[field][:, 3] = world.pool[field][:, 1]
    scores = decide(name, world)
    assert np.array_equal(scores[:, 3], scores[:, 1])
    assert len(np.unique(scores[0])) > 1


@pytest.mark.parametrize("name", NAMES)
def test_scores_go_with_their_slots(name):
    """Property: slots in another order, scores in that order."""
    world = random_world(12)
    calm(world)
    before = decide(name, world)
    order = [4, 0, 5, 2, 1, 3]
    world.pool[:] = world.pool[:, order]
    live = world.pool["rank"] != DEAD
    assert np.array_equal(decide(name, world)[live], before[:, order][live])


@pytest.mark.parametrize("name", NAMES)
def test_a_single_live_slot_is_scored_as_among_others(name):
    world = random_world(13)
    calm(world)
    world.pool["rank"] = np.arange(SLOTS)
    before = decide(name, world)
    world.pool["rank"][:, :2] = world.pool["rank"][:, 3:] = DEAD
    alone = decide(name, world)
    assert np.isfinite(alone[:, 2]).all()
    assert np.array_equal(alone[:, 2], before[:, 2])


# -- each rule's idea -------------------------------------------------------------------------------------------------


def blank(n=1, slots=3):
    """Observations by hand: live slots of long videos, no past, nothing predicted but rates of one half."""
    world = bare_world(users=n, slots=slots)
    world.pool["rank"] = np.arange(slots)
    return seen(world)


def test_server_score_by_hand():
    """The server's own score, whatever it predicts."""
    o = blank()
    o.candidates[0, :, C.score] = [0.1, 0.3, -0.2]
    o.candidates[0, 0, C.pevtr] = 0.9
    assert rules.server_score(o).tolist() == o.candidates[..., C.score].tolist()


def test_blend_by_hand():
    o = blank()
    o.candidates[0, 1, C.pevtr] = 0.1  # logit 1
    base = 0.5 * (1 + 0.5 + 1 + 2 + 1 + 1 - 2)
    assert rules.blend(o)[0] == pytest.approx([base, base - 0.5 + 1 / (1 + np.exp(-1)), base], abs=1e-6)


def test_tag_momentum_by_hand():
    """Two past impressions, predicted .5 in all: tag 5 played to the end, tag 6 left at once."""
    o = blank()
    o.candidates[0, :, C.tag] = o.candidates[0, :, C.tag2] = np.array([5, 6, 7]) / 128
    o.history[0, :2, H.present] = 1
    o.history[0, :2, H.tag] = o.history[0, :2, H.tag2] = np.array([5, 6]) / 128
    o.history[0, 0, [H.valid_play, H.long_view]] = 1
    surprise = np.array([1.5, 0.0]) - 0.5 * 4.5
    weight = np.array([1, rules.FADE])
    surprise = surprise - (weight * surprise).sum() / (weight.sum() + rules.TYPICAL)
    shift = [w * s / (w + rules.BELIEF) for w, s in zip(weight, surprise, strict=True)]
    assert rules.tag_momentum(o) - rules.blend(o) == pytest.approx(np.array([[*shift, 0.0]]), abs=1e-6)
    assert shift[0] > shift[1]


def test_tag_momentum_without_a_past_is_the_blend_of_the_servers_rates():
    o = seen(random_world(5, past=PAST))
    o.history[:] = 0
    assert np.array_equal(rules.tag_momentum(o), np.float32(rules.blend(o)))


def test_buffered_first_prefers_what_starts_among_near_equals_only():
    o = blank()
    o.candidates[0, :, C.pevtr] = [0.02, 0.0, -0.05]  # .550, .5, .378: the best is within NEAR of the second
    o.candidates[0, 1:, C.preloaded] = 1
    assert np.argmax(rules.buffered_first(o)[0]) == 1
    o.candidates[0, 0, C.pevtr] = 0.06  # .646: worth the wait
    assert np.argmax(rules.buffered_first(o)[0]) == 0
    o.context[0, X.offline] = 1  # no wait would help
    assert np.argmax(rules.buffered_first(o)[0]) == 1


def test_longest_first_takes_the_longest():
    world = bare_world(users=1)
    world.pool["rank"], world.pool["video"] = np.arange(SLOTS), np.arange(SLOTS)
    world.videos["duration_us"][:SLOTS] = np.array([3, 9, 27, 81, 5, 1]) * 10**6
    assert np.argmax(decide("longest_first", world)[0]) == 3


def test_random_picks_every_slot_equally_often():
    """Theory: 4,000 people, six slots; chi-square with five degrees of freedom is below 20.5 with probability .999."""
    world = bare_world(users=4000)
    world.pool["rank"], world.pool["video"] = np.arange(SLOTS), np.arange(SLOTS)
    world.videos["duration_us"][:SLOTS] = np.arange(1, 7) * 10**7
    world.users["past_impressions"] = np.arange(4000)
    counts = np.bincount(np.argmax(decide("random", world), 1), minlength=SLOTS)
    assert ((counts - 4000 / 6) ** 2 / (4000 / 6)).sum() < 20.5


def test_random_differs_between_seeds_people_and_moments():
    world = random_world(14)
    o = seen(world)
    first = rules.at_random(o)
    assert not np.any(first == rules.at_random(o, seed=1))
    world.users["impressions_before"] = -2 - world.users["impressions_before"] % 7
    assert not np.any(first[o.mask] == rules.at_random(seen(world))[o.mask])
    assert first.min() >= 0 and first.max() < 1


def test_the_oracle_prefers_what_is_truly_better():
    world = bare_world(users=1, videos=SLOTS)
    calm(world)
    world.pool["rank"], world.pool["video"] = np.arange(SLOTS), np.arange(SLOTS)
    world.videos["quality"] = [0, 0, 0, 9, 0, 0]
    assert np.argmax(oracle_greedy(world, np.array([0]))) == 3
    world.mind["intent"][0], world.content[4] = [3, 0, 0, 0, 0, 0, 0, 0], [4, 0, 0, 0, 0, 0, 0, 0]  # 12 for a while
    assert np.argmax(oracle_greedy(world, np.array([0]))) == 4


def test_the_oracle_of_intents_follows_them_and_the_reference_what_was_learnt():
    """Of two candidates of opposite content the one comes first that the person is drawn to; a filter that has seen
    nothing yet likes both alike."""
    world = bare_world(users=1, videos=SLOTS)
    calm(world)
    world.stored["lasting"], world.indexed["quality"], world.indexed["embedding"][:, 0] = 0, 0, [2, -2, 0, 0, 0, 0]
    world.pool["rank"], world.pool["video"] = np.arange(SLOTS), np.arange(SLOTS)
    world.stored["video"] = np.arange(SLOTS)
    for sign, (first, last) in ((1, (0, 1)), (-1, (1, 0))):
        world.mind["intent"][0] = [sign, 0, 0, 0, 0, 0, 0, 0]
        scores = oracle_intent(world, np.array([0]))[0]
        assert (scores.argmax(), scores.argmin()) == (first, last)
        assert len(np.unique(reference_filter(world, np.array([0])))) == 1


def test_the_clouds_filter_sees_what_the_cloud_will_see_later_and_leaves_it_alone():
    """It has watched content like the first candidate's to the end: that comes first now. In the world the cloud has
    still to see it."""
    world = bare_world(users=1, videos=SLOTS)
    calm(world)
    world.stored["lasting"], world.indexed["quality"], world.indexed["embedding"][:, 0] = 0, 0, [3, 0, -3, 0, 0, 0]
    world.pool["rank"], world.pool["video"] = np.arange(SLOTS), np.arange(SLOTS)
    world.stored["video"] = np.arange(SLOTS)
    world.users["now_us"] = 60_000_000
    world.belief["cov"][0, [cell(INTENT + d, INTENT + d) for d in range(DIMS)]] = 0.2
    world.behaviours[0, 0] = (59_000_000, 0, 1)
    world.users["behaviours"], world.users["oldest"] = 1, 0
    before = [rows.tobytes() for rows in (world.users, world.belief, world.behaviours)]
    scores = cloud_filter(world, np.array([0]))[0]
    assert scores.argmax() == 0 and scores.argmin() == 2 and len(np.unique(scores)) == 3
    assert [rows.tobytes() for rows in (world.users, world.belief, world.behaviours)] == before
    world.users["behaviours"] = 0
    assert len(np.unique(cloud_filter(world, np.array([0])))) == 1


# -- how a driver asks ------------------------------------------------------------------------------------------------


def own_rule(observation):
    return observation.candidates[..., C.pltr]


class Counting:
    """Remembers how often each person was asked, and the last batch's size."""

    def __init__(self):
        self.sizes = []

    def start(self, n):
        return np.zeros(n, np.int64), np.zeros((n, 2), np.float32)

    def __call__(self, observation, memory):
        self.sizes.append(len(observation.mask))
        asked, other = memory
        return np.repeat(asked[:, None], SLOTS, 1), (asked + 1, other + 1)


def test_a_plain_function_is_a_policy():
    world = random_world(15)
    assert np.array_equal(decide(own_rule, world), seen(world).candidates[..., C.pltr])
    assert name_of(as_policy(own_rule)) == "own_rule" and name_of(Counting()) == "Counting"


@pytest.mark.parametrize("pad_to", [None, 2, 4])
def test_memory_belongs_to_people(pad_to):
    world, policy = random_world(16), Counting()
    ask = make_decide(policy, world, pad_to)
    assert ask(world, np.arange(USERS))[:, 0].tolist() == [0] * USERS
    assert ask(world, np.array([3, 1, 4]))[:, 0].tolist() == [1, 1, 1]
    assert ask(world, np.array([0, 1, 2]))[:, 0].tolist() == [1, 2, 1]
    assert pad_to is None or set(policy.sizes) == {pad_to}


def test_nobody_to_ask():
    assert decide("server_score", random_world(1), np.zeros(0, np.int64)).shape == (0, SLOTS)


def test_large_batches_are_asked_in_parts():
    most = Options().at_a_time
    world, policy = bare_world(users=most + 7), Counting()
    make_decide(policy, world)(world, np.arange(most + 7))
    assert policy.sizes == [most, 7]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
def test_scores_that_are_not_finite_are_refused_where_they_matter(bad):
    world = bare_world()
    world.pool["rank"][:, [2, 4]] = 0
    world.users["impression"] = 41

    def broken(observation, slot=2):
        scores = np.zeros(observation.mask.shape)
        scores[3, slot] = bad
        return scores

    with pytest.raises(FloatingPointError, match=r"policy broken gave user 3 after impression 41 a score that is not"):
        decide(broken, world)
    decide(lambda o: broken(o, slot=1), world)  # an empty slot's score is nobody's business


def test_a_row_of_minus_infinity_lets_the_last_order_stand():
    """For live slots; what is said of empty ones does not matter. Nothing else that is not finite does."""
    world = bare_world()
    world.pool["rank"][:, [2, 4]] = 0
    scores = np.full((USERS, SLOTS), -np.inf, np.float32)
    scores[:, 0] = 3.0
    assert (decide(lambda o: scores, world)[:, [2, 4]] == -np.inf).all()
    with pytest.raises(FloatingPointError):
        decide(lambda o: -scores, world)


def test_a_page_may_be_asked_for_but_not_with_nan():
    world = random_world(17)

    def asks(observation, value=1.0):
        return np.full((len(observation.mask), SLOTS + 1), value, np.float32)

    assert decide(asks, world).shape == (USERS, SLOTS + 1)
    with pytest.raises(FloatingPointError):
        decide(lambda o: asks(o, np.nan), world)


@pytest.mark.parametrize("shape", [(USERS,), (USERS, SLOTS - 1), (USERS, SLOTS + 2), (1, SLOTS), (USERS, SLOTS, 1)])
def test_scores_of_a_wrong_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"have shape .* must be \(5, 6\), or \(5, 7\) to ask for pages"):
        decide(lambda o: np.zeros(shape), random_world(18))
