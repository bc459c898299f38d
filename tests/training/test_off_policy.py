"""Off-policy estimates: a bandit and a chain whose values are known, and a small world whose truth is run."""

import json

import numpy as np
import pytest
from worlds import scenario

from nextone.cli.main import main
from nextone.experiments.runs.deciding import make_decider, phone_cost
from nextone.experiments.training.edge.logging_policy import LoggingPolicy, Spread, softmax
from nextone.experiments.training.off_policy import estimators as e
from nextone.experiments.training.off_policy import logged as module
from nextone.experiments.training.off_policy.answer import DECISION, SESSION, TRUTH, judged, table_lines, verdict
from nextone.experiments.training.off_policy.logged import JUDGED, OffPolicySettings, live_both
from nextone.sim.batch_run import run_batch
from nextone.sim.state import VALID
from nextone.sim.world import build_world

# ---- a bandit: 2 contexts, 3 arms, chances of reward MEANS; the target always takes arm 2

MEANS = np.array([[0.1, 0.4, 0.8], [0.5, 0.6, 0.3]])
LOGGING = np.array([[0.5, 0.3, 0.2], [0.2, 0.2, 0.6]])
TARGET = 2
KNOWN = MEANS[:, TARGET].mean()  # contexts are equally likely: .55


def bandit(people, each, seed):
    """(person, context, arm, reward, weight) of logged decisions."""
    rng = np.random.default_rng(seed)
    person = np.repeat(np.arange(people), each)
    context = rng.integers(2, size=len(person))
    arm = (rng.random(len(person))[:, None] > LOGGING[context].cumsum(1)).sum(1)
    reward = (rng.random(len(person)) < MEANS[context, arm]).astype(float)
    return person, context, arm, reward, (arm == TARGET) / LOGGING[context, arm]


def estimates_of(person, context, arm, reward, weight):
    right = MEANS[context, arm], MEANS[context, TARGET]
    wrong = np.full(len(arm), -2.0), np.full(len(arm), -2.0)
    return {
        "ips": e.ips(reward, weight), "snips": e.snips(reward, weight), "right": e.dr(reward, weight, *right),
        "wrong": e.dr(reward, weight, *wrong),
    }  # fmt: skip


def test_of_every_case_as_often_as_it_comes_estimates_are_exact():
    """By hand: 100 decisions in each context, arms and rewards exactly as often as their chances say."""
    rows = []
    for context, chances in enumerate(LOGGING):
        for arm, chance in enumerate(chances):
            times = round(100 * chance)
            good = round(times * MEANS[context, arm])
            assert good == pytest.approx(times * MEANS[context, arm])
            rows += [(context, arm, float(k < good)) for k in range(times)]
    context, arm, reward = (np.array(column) for column in zip(*rows, strict=True))
    weight = (arm == TARGET) / LOGGING[context, arm]
    for name, estimate in estimates_of(None, context, arm, reward, weight).items():
        assert estimate.value == pytest.approx(KNOWN, abs=1e-12), name
    assert e.logged(reward).value == pytest.approx((LOGGING * MEANS).sum() / 2)


def test_of_a_known_bandit_estimates_hold_the_value_and_a_right_model_is_the_steadiest():
    """Theory: over 60 logs the mean is within 4 standard errors of the value; intervals are as wide as values vary."""
    found = {name: [] for name in ("ips", "snips", "right", "wrong")}
    widths = {name: [] for name in found}
    for seed in range(60):
        log = bandit(40, 20, seed)
        for name, estimate in estimates_of(*log).items():
            interval = e.over_people(estimate, log[0], 40)
            found[name].append(interval.mean)
            widths[name].append(interval.high - interval.mean)
    for name, values in found.items():
        spread = np.std(values, ddof=1)
        assert abs(np.mean(values) - KNOWN) < 4 * spread / np.sqrt(60), name
        assert np.mean(widths[name]) / 2.02 == pytest.approx(spread, rel=0.3), name  # Student's t of 39
    spread = {name: np.std(values) for name, values in found.items()}
    assert spread["right"] < spread["ips"] < spread["wrong"]


def test_a_reward_that_is_the_same_everywhere_is_exact_by_snips_and_not_by_ips():
    """Why it is steadier: weights of mean 1 need not have mean 1 in a log."""
    *_, weight = bandit(40, 20, 3)
    reward = np.full(len(weight), 3.0)
    assert e.snips(reward, weight).value == pytest.approx(3, abs=1e-12)
    assert abs(e.ips(reward, weight).value - 3) > 0.01


def test_clipped_weights_lean_towards_the_log_and_few_weights_are_few():
    person, _, _, reward, weight = bandit(40, 200, 0)
    shrunk = e.clipped(weight, 1.5)
    assert shrunk.max() == 1.5 and e.ips(reward, shrunk).value < KNOWN - 0.05
    assert e.effective(np.ones(50)) == 50 and e.effective(np.array([3.0, 0, 0])) == 1 and e.effective(np.zeros(2)) == 0
    assert e.effective(weight) < (weight > 0).sum() < len(person)


def test_intervals_are_over_people_and_differences_leave_their_luck_out():
    """Ten decisions of a person are copies of one: the interval is that of the people."""
    rng = np.random.default_rng(1)
    value = rng.random(400)
    person, copies = np.repeat(np.arange(400), 10), np.repeat(value, 10)
    interval = e.over_people(e.logged(copies), person, 400)
    assert interval.high - interval.mean == pytest.approx(1.966 * value.std(ddof=1) / 20, rel=1e-3)
    same = e.apart(e.logged(copies), person, e.logged(copies), person, 400)
    assert (same.mean, same.low, same.high) == (0, 0, 0)
    more = e.apart(e.logged(1.1 * copies), person, e.logged(copies), person, 400)
    assert more.mean == pytest.approx(10) and more.high - more.low < 1e-9


def test_weights_of_a_session_multiply_from_its_first_decision():
    weight, session = np.array([2.0, 3.0, 0.5, 0.0, 4.0, 5.0]), np.array([7, 7, 7, 8, 8, 9])
    assert e.products(weight, session).tolist() == [2, 6, 3, 0, 0, 5]
    assert e.first_of(session).tolist() == [True, False, False, True, False, True]
    assert e.stepwise_ips(np.array([1.0, 1, 1, 9, 9, 1]), weight, session).value == pytest.approx((2 + 6 + 3 + 5) / 3)


def test_of_a_chain_step_wise_ips_and_fqe_are_exact():
    """Two decisions a session, two arms each: the first says where one goes on, and so what the second can bring.

    By hand: arm 1 earns 1, then leads to the state where arm 1 earns 5 (0 in the other); the target, always arm 1,
    earns 6. Logged half and half, every path once."""
    rows = [(s, step, (first, second)[step]) for s, (first, second) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)])
            for step in (0, 1)]  # fmt: skip
    session, step, arm = (np.array(column) for column in zip(*rows, strict=True))
    state = np.where(step == 0, 0, 1 + arm[np.maximum(np.arange(8) - 1, 0)])
    reward = np.where(state == 0, arm, np.where(state == 2, 5.0 * arm, 0.0))
    weight = (arm == 1) / 0.5
    assert e.stepwise_ips(reward, weight, session).value == pytest.approx(6)
    one_hot = np.eye(6)
    scale = 1e3  # so that the ridge is of no weight
    found = e.linear_fqe(scale * one_hot[2 * state + arm], scale * one_hot[2 * state + 1], reward, session)
    assert found.value == pytest.approx(6, rel=1e-4)


def test_a_model_never_sees_whom_it_is_asked_about():
    """Cross-fitting: rewards of odd people change nothing that is said of odd people."""
    rng = np.random.default_rng(0)
    x, reward, person = rng.random((60, 3)), rng.random(60), np.repeat(np.arange(12), 5)
    other = np.where(person % 2 == 1, 9.0, reward)
    before, after = e.cross_fitted(x, x, reward, person), e.cross_fitted(x, x, other, person)
    odd = person % 2 == 1
    assert np.array_equal(before[0][odd], after[0][odd]) and not np.isclose(before[0][~odd], after[0][~odd]).any()
    assert np.array_equal(before[0], before[1])


def test_chances_of_a_softmax_by_hand():
    """Deviations of (2, 1, 0) are 1.2247 apart; a slot that holds nothing has none; equal scores share."""
    scores = np.array([[2.0, 1.0, 0.0, -np.inf], [3.0, 3.0, -np.inf, -np.inf], [-np.inf] * 4])
    weights = np.exp(-1.224745 * np.arange(3) / 0.5)
    expected = [[*(weights / weights.sum()), 0], [0.5, 0.5, 0, 0], [1, 0, 0, 0]]
    assert np.allclose(softmax(scores, 0.5), expected, atol=1e-6)
    assert softmax(scores, 0.0).tolist() == [[1, 0, 0, 0]] * 3
    assert np.allclose(softmax(1000 * scores[:1] - 7, 0.5), expected[:1], atol=1e-6)  # any unit


# ---- a small world

SHORT = {"sessions__leave_per_min": 0.5}  # short sessions
WORLD = scenario(client__history=5, server__candidates=6, server__page_size=3, **SHORT)
RUN = {"scenario": WORLD, "users": 60, "minutes": 20, "seed": 4}


@pytest.fixture(scope="module")
def two():
    """tag_momentum in the shadow of server_score, in two worlds of 30 people."""
    settings = OffPolicySettings(target="tag_momentum", policy="server_score", explore=0.3, temperature=0.5, **RUN)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "A_WORLD", 30)
        return settings, live_both(settings)


def test_a_shadow_changes_nothing_and_the_truth_is_the_policy_as_it_runs(two, monkeypatch):
    settings, (log, shadow, truth) = two
    monkeypatch.setattr(module, "A_WORLD", 30)
    other = live_both(OffPolicySettings(target="random", policy="server_score", explore=0.3, temperature=0.5, **RUN))
    assert all(np.array_equal(*pair) for pair in zip(log, other[0], strict=True))
    assert not np.array_equal(shadow.weight, other[1].weight)
    world = build_world(WORLD.model_copy(update={"population": WORLD.population.model_copy(update={"users": 30})}),
                        edge=True, seed=4, replication=JUDGED + 1, window_us=1_200_000_000,
                        queue_waits=np.zeros(1, np.int64), cost=phone_cost("tag_momentum"))  # fmt: skip
    shown = run_batch(world, make_decider("tag_momentum", world), end_us=1_200_000_000 + 86_400_000_000).impressions
    of_second = truth.person >= 30
    assert of_second.sum() == len(shown) > 100
    assert np.array_equal(truth.reward[of_second], shown["outcome"] & VALID > 0)
    assert np.array_equal(truth.person[of_second] - 30, shown["user"]) and settings.users == 60


def test_weights_are_one_on_average_and_what_would_have_come_came(two):
    """Theory: the mean weight is 1; the reward of a pick is what its own draws say, unless it stalled."""
    _, (log, shadow, _) = two
    assert abs(shadow.weight.mean() - 1) < 4 * shadow.weight.std() / np.sqrt(len(shadow.weight))
    assert np.mean(shadow.would == log.reward) > 0.98 and 0 < log.reward.mean() < 1
    hits = shadow.weight > 0
    assert 0.1 < hits.mean() < 0.9
    assert np.allclose(shadow.picked[hits], shadow.of_target[hits], atol=1e-6)  # a sure target took just that
    assert np.array_equal(shadow.would[hits], shadow.would_of_target[hits])


def test_a_target_that_is_the_logging_policy_is_estimated_exactly():
    """The same luck: the same picks, the same life; weights of 1."""
    both = {"explore": 0.3, "temperature": 0.5, "target_explore": 0.3, "target_temperature": 0.5}
    settings = OffPolicySettings(target="server_score", policy="server_score", **both, **RUN)
    log, shadow, truth = live_both(settings)
    assert (shadow.weight == 1).all() and all(np.array_equal(*pair) for pair in zip(log, truth, strict=True))
    found = judged(settings, log, shadow, truth, 1)
    for name in ("IPS", "SNIPS"):
        assert found.row(DECISION, name).value.mean == log.reward.mean()
    for row in (found.row(SESSION, "step-wise IPS"), found.row(SESSION, "the log itself")):
        assert (row.off.mean, row.off.low, row.off.high) == (0, 0, 0)
    assert [gain.mean for gain in found.gains.values()] == [0, 0]


def test_the_table_and_the_verdict_say_what_holds_the_truth(two):
    settings, lived = two
    found = judged(settings, *lived, 1)
    heads, lines, note = table_lines(found)
    assert {len(line) for line in lines} == {len(heads)}
    assert [line[0] for line in lines if line[0]] == [DECISION, SESSION]
    assert "d3rlpy is not installed" in note
    truth, told = found.row(DECISION, TRUTH).value.mean, verdict(found)
    inside = [row.name for row in found.estimates(DECISION) if row.value.low <= truth <= row.value.high]
    assert inside and all(name in told[0].split("hold")[0] for name in inside)
    (few,) = (line for line in told if line.startswith("Too few: step-wise IPS stands on"))
    assert f"on {found.row(SESSION, 'step-wise IPS').stands_on:,.0f} effective session" in few
    assert found.row(DECISION, "DR").value.high - found.row(DECISION, "DR").value.low > 0


def test_the_command_prints_a_table_or_json_and_saves_a_figure(tmp_path, capsys):
    small = ["--users", "24", "--minutes", "5", "--set", "server.candidates=6", "--set", "server.page_size=3"]
    small += ["--set", "catalogue.kind=synthetic", "--set", "catalogue.videos=300"]
    small += ["--set", "sessions.leave_per_min=3", "-q"]
    assert main(["off-policy", "--target", "tag_momentum", "--json", "--out", str(tmp_path), *small]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["rows"][1]["name"] == "IPS" and told["rows"][1]["value"]["n"] == 24 and told["run"]["clip"] is None
    assert json.loads((tmp_path / "off-policy.json").read_text()) == told
    assert (tmp_path / "off-policy.png").stat().st_size > 10_000
    assert main(["off-policy", "--target", "random", "--clip", "5", "--reward", "watch_s", *small]) == 0
    out = capsys.readouterr().out
    assert "step-wise IPS" in out and "weights up to 5" in " ".join(out.split()) and "One decision in the states" in out


NONSENSE = {
    "unknown target": (["--target", "kirr"], "did you mean kir"),
    "unknown policy": (["--target", "kir", "--policy", "servr_score"], "did you mean server_score?"),
    "sure log": (["--target", "kir", "--explore", "0", "--temperature", "0"], "no estimate exists"),
    "explore": (["--target", "kir", "--explore", "1.5"], "explore=1.5 must be in [0, 1]"),
    "cold": (["--target", "kir", "--temperature", "1e-300"], "temperature=1e-300 must be in [0.01, 100]"),
    "hot": (["--target", "kir", "--target-temperature", "nan"], "temperature=nan must be in"),
    "reward": (["--target", "kir", "--reward", "joy"], "reward 'joy' must be one of effective_view"),
    "clip": (["--target", "kir", "--clip", "0"], "clip=0.0 must be >= 1"),
    "few": (["--target", "kir", "--users", "5"], "users=5 must be >= 20"),
    "one candidate": (["--target", "kir", "--set", "server.candidates=1", "--set", "server.page_size=1"], "2 or more"),
    "every": (["--target", "edgerec@every=5", "--users", "20", "--minutes", "1"], "every=1 chooses at every one"),
    "out": (["--target", "kir", "--out", "/etc/passwd/x"], "--out"),
}


@pytest.mark.parametrize("case", NONSENSE)
def test_nonsense_is_refused_in_a_line(case, capsys):
    arguments, words = NONSENSE[case]
    assert main(["off-policy", "-q", *arguments]) == 2
    err = capsys.readouterr().err
    assert words in err and err.count("\n") == 1, err


def test_picks_come_as_often_as_their_chances_say(two):
    """Theory: over decisions, the sum of chances of what was picked is the sum of their squares over candidates."""
    del two
    world = build_world(WORLD, edge=True, seed=2, window_us=60_000_000, queue_waits=np.zeros(1, np.int64))
    policy, seen = LoggingPolicy("server_score", Spread(0.2, 0.7), world), []

    def decide(w, rows):
        choice = policy.choose(w, rows)
        assert np.allclose(choice.chance.sum(1), 1) and not choice.chance[~choice.live].any()
        seen.extend(zip(choice.chance[np.arange(len(rows)), choice.picked], (choice.chance**2).sum(1), strict=True))
        return module.to_scores(choice)

    run_batch(world, decide, end_us=1_200_000_000)
    picked, expected = np.array(seen).T
    miss = picked - expected
    assert len(miss) > 60 and abs(miss.mean()) < 4 * miss.std() / np.sqrt(len(miss))
