"""Decision rules on the phone: conditions as CEL has them, sequences, caps, priorities, and rules that are policies."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from test_edge_deployed import life, observed
from test_features import random_world, seen
from worlds import AMPLE, run, same_run, scenario

from nextone.envs.features import LOG_COUNT, C, H, X
from nextone.policies.by_name import make_policy
from nextone.policies.decisions.conditions import MOST_CHARACTERS, ConditionError, condition
from nextone.policies.decisions.features import (
    FEATURES,
    MODEL_FEATURES,
    RECENT,
    Counted,
    Seen,
    columns,
    features_markdown,
)
from nextone.policies.decisions.rule_file import read_rules
from nextone.policies.decisions.sequences import sequence
from nextone.policies.names import rules_path, shipped_rules
from nextone.sim.config import FEEDBACK

KNOWN = {feature.name: feature for feature in (*FEATURES, *MODEL_FEATURES)}
IGNORED = ("quiet", "ready_us", "encoded_us")  # of a person: what only a ranking waits for, and no life shows


def rules(tmp_path, *tables, top=""):
    """The policy of a file with these rules: each a dict, `then` asks unless it says otherwise."""
    lines = [top]
    for number, table in enumerate(tables):
        lines.append("[[rule]]")
        lines += [f"{key} = {value!r}".replace("True", "true") for key, value in
                  ({"name": f"rule {number}", "then": "ask"} | table).items()]  # fmt: skip
    file = tmp_path / "rules.toml"
    file.write_text("\n".join(lines))
    return make_policy(f"rules:{file}")


def moments(n=1, length=9):
    """What n phones see after 0, 1, ... impressions of one session, nothing else happening; no feedback, no skips."""
    past = life(n, length)
    past[..., [getattr(H, kind) for kind in (*FEEDBACK, "skip")]] = 0.0
    looks = []
    for at in range(length + 1):
        look = observed(past, at)
        look.context[:] = 0.0
        look.context[:, X.may_ask] = 1.0
        look.context[:, X.session_impressions] = np.log1p(at) / np.log1p(1000)
        look.context[:, X.session_minutes] = np.log1p(at / 6) / np.log1p(240)  # ten seconds each
        angle = 2 * np.pi * (8 + at / 360) / 24
        look.context[:, X.hour_sin], look.context[:, X.hour_cos] = np.sin(angle), np.cos(angle)
        looks.append(look)
    return looks


def decisions(policy, looks):
    """For each moment what the first phone does: "ask", "hold", or the order of slots, best first."""
    memory, done = policy.start(len(looks[0].mask)), []
    for look in looks:
        scores, memory = policy(look, memory)
        slots = look.mask.shape[1]
        ranked = np.isfinite(scores[0, :slots]).any()
        asks = scores.shape[1] > slots and scores[0, slots] > -np.inf
        done.append("rank" if ranked else "ask" if asks else "hold")
    return done


# -- conditions -------------------------------------------------------------------------------------------------------

NUMBERS = st.sampled_from(["left", "candidates", "skips_in_a_row", "session_impressions", "3", "0", "7", "-2"])
AMOUNTS = st.sampled_from(["session_minutes", "mbps", "best_evtr", "0.5", "2.0", "double(left)", "1e1"])
FLAGS = st.sampled_from(["offline", "skip", "like", "may_ask", "true", "false"])


def numbers(kind):
    leaf = NUMBERS if kind == "int" else AMOUNTS
    signs = ["+", "-", "*", "/"] + ["%"] * (kind == "int")
    return st.recursive(leaf, lambda part: st.one_of(
        st.tuples(part, st.sampled_from(signs), part).map(lambda x: f"({x[0]} {x[1]} {x[2]})"),
        part.map(lambda x: f"-{x}"),
        st.tuples(FLAGS, part, part).map(lambda x: f"({x[0]} ? {x[1]} : {x[2]})"),
    ), max_leaves=4)  # fmt: skip


COMPARISONS = st.tuples(st.one_of(numbers("int"), numbers("double")), st.sampled_from(
    ["<", "<=", ">", ">=", "==", "!="]), st.one_of(numbers("int"), numbers("double"))).map(" ".join)  # fmt: skip
AMONG = st.tuples(numbers("int"), st.lists(NUMBERS, min_size=1, max_size=3)).map(
    lambda x: f"{x[0]} in [{', '.join(x[1])}]"
)
CONDITIONS = st.recursive(st.one_of(FLAGS, COMPARISONS, AMONG), lambda part: st.one_of(
    st.tuples(part, st.sampled_from(["&&", "||"]), part).map(lambda x: f"({x[0]}) {x[1]} ({x[2]})"),
    part.map(lambda x: f"!({x})"),
), max_leaves=5)  # fmt: skip


def seen_by_many(n=40, seed=3):
    """What n phones see in a random world, with random counts."""
    world = random_world(seed, users=n)
    rng = np.random.Generator(np.random.Philox(key=seed))
    counts = Counted(rng.integers(0, 3, n), *rng.integers(0, 20, (4, n)))
    observation = seen(world)
    return Seen(observation, counts, rng.random(observation.mask.shape, np.float32))


VALUES = columns(seen_by_many(), KNOWN)


@settings(max_examples=150, deadline=None)
@given(text=CONDITIONS)
def test_columns_give_what_cel_gives(text):
    """Random conditions on forty random observations; those that can fail are CEL's alone, and fail to nothing."""
    assume(len(text) <= MOST_CHARACTERS)
    made = condition(text, KNOWN)
    assert np.array_equal(made.holds(VALUES, 40), made.by_cel(VALUES, 40)), text


def test_most_conditions_are_computed_over_columns_and_what_can_fail_is_not():
    for text, over in (("left > 3 && !skip || mbps * 2.0 in [1, 2.5]", True), ("left % 3 == 1", True),
                       ("left / candidates > 1", False), ("mbps / best_evtr > 1.0", False),
                       ("left * 9000000000000000 > 1", False)):  # fmt: skip
        assert (condition(text, KNOWN).over is not None) == over, text
    zero = {"left": np.array([6, 6]), "candidates": np.array([0, 3])}
    assert condition("left / candidates == 2", KNOWN).holds(zero, 2).tolist() == [False, True]


@pytest.mark.parametrize(("text", "said"), [
    ("", "column 1: ends too early"),
    ("left", "is a number (int), must be true or false"),
    ("left > 1 && session", "column 13: unknown feature 'session'"),
    ("skips_in_row > 1", "did you mean skips_in_a_row?"),
    ("left + 1.0 > 2", "column 1: int + double: write double(x)"),
    ("skip > 1", "column 1: > between bool and int"),
    ("skip ? 1 : 2.0", "one of int, the other of double"),
    ("mbps % 2.0 > 1.0", "% is of whole numbers"),
    ("open('x')", "column 6: \"'\" has no place"),
    ("exit(1) == 1", "function 'exit' is not allowed"),
    ("[1, 2].all(x, x > 0)", "column 7: '.' has no place"),
    ("__import__ > 1", "unknown feature '__import__'"),
    ("left > 1 left", "column 10: unexpected 'left'"),
    ("left > 99999999999999999999", "a number too large"),
    ("left > 1.0e400", "a number too large"),
    ("(" * 200 + "skip" + ")" * 200, "nested deeper than 16"),
    ("skip ? 1 : " * 30 + "2 > 1", "nested deeper than 16"),
    ("!" * 501, "has 501 characters, at most 500"),
    ("left in [skip]", "compare numbers with a list of numbers"),
    ("left > 1 // true", "unexpected '/'"),
    ("left > ²", "has no place"),
])  # fmt: skip
def test_a_condition_is_refused_with_its_column(text, said):
    with pytest.raises(ConditionError) as caught:
        condition(text, KNOWN)
    assert said in str(caught.value) and len(str(caught.value)) < 350


def test_words_keep_the_meaning():
    assert condition("(skip || like) && !(left < 3)", KNOWN).words == "(skip or like) and not (left below 3)"
    assert condition("skip || like && left in [1, 2]", KNOWN).words == "skip or (like and left one of 1, 2)"


def test_the_page_shows_the_table():
    page = (Path(__file__).parents[2] / "docs" / "decision-rules.md").read_text(encoding="utf-8")
    assert features_markdown() in page


# -- features ---------------------------------------------------------------------------------------------------------


def test_features_are_within_their_range_and_the_same_for_one_person_alone():
    many = seen_by_many()
    values = columns(many, KNOWN)
    for name, feature in KNOWN.items():
        kind = {"bool": np.bool_, "int": np.int64, "double": np.float64}[feature.kind]
        assert values[name].dtype == kind and values[name].shape == (40,), name
        assert (values[name] >= feature.low).all() and (values[name] <= feature.high * (1 + 1e-6)).all(), name
    for k in (0, 7, 39):
        one = Seen(type(many.observation)(*(a[k : k + 1] for a in many.observation)),
                   Counted(*(a[k : k + 1] for a in many.counted)), many.model[k : k + 1])  # fmt: skip
        alone = columns(one, KNOWN)
        assert all(alone[name][0] == values[name][k] for name in KNOWN)


def test_features_by_hand():
    look = moments()[6]
    look.context[0, X.left], look.context[0, X.throughput] = LOG_COUNT[5], np.log1p(8) / np.log1p(1000)
    look.history[0, :2, H.skip] = 1.0
    look.mask[:], look.candidates[:] = False, 0.0
    look.mask[0, [2, 4]] = True
    look.candidates[0, 2, C.rank], look.candidates[0, 4, C.page_age] = 0.1, 0.125  # slot 4 is of the page before
    look.candidates[0, 2, C.preloaded], look.candidates[0, 4, C.pevtr] = 1.0, 0.1
    counted = Counted(*(np.array([k]) for k in (1, 4, 5, 0, 2)))
    values = columns(Seen(look, counted, np.array([[0, 0, 3, 0, 1, 9, 9]], np.float32)), KNOWN)
    expected = {"left": 5, "session_impressions": 6, "skips_in_a_row": 2, "skip": True, "feedback": False, "cached": 1,
                "next_cached": False, "impressions_since_rerank": 4, "session_asks": 2, "model_gain": 2,
                "model_disagreement": 1}  # fmt: skip
    assert {name: values[name][0] for name in expected} == expected
    close = {"mbps": 8, "session_minutes": 1, "hour": 8 + 6 / 360, "best_evtr": 1 / (1 + np.exp(-1)),
             "mean_evtr": (0.5 + 1 / (1 + np.exp(-1))) / 2, "skip_share": 2 / 6}  # fmt: skip
    assert {name: values[name][0] for name in close} == pytest.approx(close, abs=1e-5)
    assert RECENT > 6


# -- sequences --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("lived", "within", "ends"), [
    ("SSSL", 4, True), ("SSSL", 5, True), ("LSSS", 4, False), ("S.SSL", 5, True), ("S.SSL", 4, False),
    ("SSL", 4, False), ("SSSL.", 5, False), ("SSSLL", 5, True), ("SLSSL", 5, True),
])  # fmt: skip
def test_three_skips_then_a_like(lived, within, ends):
    """Oldest first: S a skip, L a like, a dot neither."""
    history = np.zeros((1, 12, len(life(1, 1)[0, 0])), np.float32)
    for k, what in enumerate(reversed(lived)):
        history[0, k, [H.present]] = 1.0
        history[0, k, [H.skip if what == "S" else H.like]] = float(what != ".")
    found = sequence(["3 skip", "like"], within)
    assert found.ends(history, np.array([1])).tolist() == [ends]
    assert found.ends(history, np.array([0])).tolist() == [False]  # nothing new: it was seen before


def test_a_sequence_that_ended_one_impression_before_the_last_is_seen_if_both_are_new():
    history = np.zeros((2, 12, len(life(1, 1)[0, 0])), np.float32)
    history[:, :3, H.present] = history[:, 1, [H.like]] = history[:, 2, [H.skip]] = 1.0
    assert sequence(["skip", "like"], 2).ends(history, np.array([1, 2])).tolist() == [False, True]


# -- caps, priorities, budget -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("caps", "expected"), [
    ({}, "aaaaaaaaaa"),
    ({"most_per_session": 3}, "aaahhhhhhh"),
    ({"not_within_impressions": 4}, "ahhhahhhah"),
    ({"not_within_s": 25}, "ahhahhahha"),  # an impression takes ten seconds
    ({"not_within_s": 25.0, "most_per_session": 2}, "ahhahhhhhh"),
])  # fmt: skip
def test_caps_by_hand(tmp_path, caps, expected):
    policy = rules(tmp_path, {"when": "true"} | caps)
    assert "".join(done[0] for done in decisions(policy, moments())) == expected
    assert policy.tally.held.tolist() == [10] and policy.tally.fired.tolist() == [expected.count("a")]


def test_a_new_session_begins_with_nothing_used(tmp_path):
    policy, looks = rules(tmp_path, {"when": "true", "most_per_session": 2}), moments()
    again = moments(length=3)
    for look in again:  # two hours later
        angle = np.arctan2(look.context[:, X.hour_sin], look.context[:, X.hour_cos]) + 2 * np.pi * 2 / 24
        look.context[:, X.hour_sin], look.context[:, X.hour_cos] = np.sin(angle), np.cos(angle)
    assert "".join(done[0] for done in decisions(policy, looks[:4] + again)) == "aahhaahh"


def test_the_highest_priority_decides_and_of_equal_ones_the_first(tmp_path):
    policy = rules(
        tmp_path,
        {"name": "low", "when": "true", "then": "rerank", "by": "server_score"},
        {"name": "shadow", "when": "session_impressions > 2", "then": "ask"},
        {"name": "high", "when": "session_impressions < 4", "then": "hold", "priority": 5, "not_within_impressions": 2},
    )
    assert [rule.name for rule in policy.file.rules] == ["high", "low", "shadow"]
    assert "".join(done[0] for done in decisions(policy, moments())) == "hrhrrrrrrr"
    assert policy.tally.fired.tolist() == [2, 8, 0] and policy.tally.could.tolist() == [2, 10, 7]
    assert policy.tally.outranked.tolist() == [[0, 0, 0], [2, 0, 0], [0, 7, 0]]


def test_the_budget_counts_every_interruption_and_nothing_else(tmp_path):
    policy = rules(
        tmp_path,
        {"when": "session_impressions % 2 == 0", "then": "ask"},
        {"when": "session_impressions % 3 == 0", "then": "rerank", "by": "random"},
        {"when": "true", "then": "hold"},
        top="interruptions_per_session = 3",
    )
    assert "".join(done[0] for done in decisions(policy, moments())) == "aharhhhhhh"


def test_it_asks_only_when_a_page_may_be_asked_for(tmp_path):
    policy, looks = rules(tmp_path, {"when": "true", "most_per_session": 2}), moments()
    for look in looks[1:5]:
        look.context[:, X.may_ask] = 0.0
    assert "".join(done[0] for done in decisions(policy, looks)) == "ahhhhahhhh"


def test_new_impressions_are_counted_once(tmp_path):
    """One like, seen at the decision after it and not again; and a count since the last ask."""
    looks = moments()
    for look in looks[3:]:
        look.history[0, int(look.history[0, :, H.present].sum()) - 3, H.like] = 1.0
    policy = rules(tmp_path, {"when": "like"}, {"when": "impressions_since_ask >= 4"})
    assert "".join(done[0] for done in decisions(policy, looks)) == "hhhahhhahh"
    assert "".join(done[0] for done in decisions(policy, [looks[0], looks[5], looks[5]])) == "hah"


def test_swapping_brings_forward_the_servers_first_that_is_on_the_phone(tmp_path):
    policy, look = rules(tmp_path, {"when": "!next_cached && cached > 0", "then": "swap"}), moments()[3]
    look.mask[:], look.candidates[..., C.preloaded], look.candidates[..., C.buffered_s] = True, 0.0, 0.0
    look.candidates[0, [3, 5], C.preloaded] = 1.0  # ranks rise with slots
    scores = policy(look, policy.start(1))[0]
    assert scores.tolist() == [[0, 0, 0, 1, 0, 0, 0]]
    look.candidates[0, 0, C.preloaded] = 1.0
    assert (policy(look, policy.start(1))[0] == -np.inf).all()


# -- null checks: in both drivers, bit for bit ------------------------------------------------------------------------

ENGINES = ("batch", "event")


def lives(world, *policies, **more):
    return [run(world, policy, workers=AMPLE, minutes=4.0, **more) for policy in policies]


@pytest.mark.parametrize("engine", ENGINES)
def test_rules_that_never_fire_are_cloud_only(tmp_path, engine):
    """Where phones are shipped no more than the page shows, and nothing to rank it with."""
    world = scenario(server__candidates=6, server__page_size=6, server__embedding_bytes=0)
    for then in ({"then": "ask"}, {"then": "rerank", "by": "tag_momentum"}, {"then": "hold"}):
        policy = rules(tmp_path, {"when": "session_impressions < 0"} | then)
        cloud, phone = lives(world, "cloud_only", policy, engine=engine)
        assert same_run(cloud, phone, IGNORED) == "" and policy.tally.decisions > 100
        assert not policy.tally.held.any()
    cloud, phone = lives(world, "cloud_only", rules(tmp_path, {"when": "left == 3"}), engine=engine)
    assert same_run(cloud, phone, IGNORED) != ""


@pytest.mark.parametrize("engine", ENGINES)
def test_always_reranking_by_a_policy_is_that_policy(tmp_path, engine):
    always = rules(tmp_path, {"when": "true", "then": "rerank", "by": "server_score"})
    plain, by_rule = lives(scenario(), "server_score", always, engine=engine)
    assert same_run(plain, by_rule) == "" and plain.world.users["inferences"].sum() > 100


@pytest.mark.parametrize("engine", ENGINES)
def test_edgerecs_triggers_as_rules_take_edgerecs_decisions(engine):
    plain, by_rule = lives(scenario(), "edgerec", "rules:edgerec_triggers", engine=engine)
    assert same_run(plain, by_rule, IGNORED) == "" and plain.world.users["inferences"].sum() > 10


def test_both_drivers_live_the_same_days(tmp_path):
    """Sessions, caps, a sequence, a model, a budget and a draw."""
    policy = rules(
        tmp_path,
        {"when": "random < 0.2 || model_disagreement > 0.4", "not_within_s": 20, "priority": 1},
        {"sequence": ["skip", "valid_play"], "within": 4, "then": "rerank", "by": "tag_momentum"},
        {"when": "!next_cached", "then": "swap", "most_per_session": 5},
        top='model = "tag_momentum"\ninterruptions_per_session = 9',
    )
    world = scenario(population__users=6)
    batch, event = (run(world, policy, days=0.15, engine=engine, workers=AMPLE) for engine in ENGINES)
    assert len(batch.records.sessions) > 3
    assert same_run(batch, event) == "" and (policy.tally.fired > 3).all()


# -- shipped files ----------------------------------------------------------------------------------------------------


def test_every_shipped_file_says_its_source_and_reads():
    assert len(shipped_rules()) == 5
    for name in shipped_rules():
        file = read_rules(rules_path(name))
        assert "Source:" in file.about or "Assumed:" in file.about
