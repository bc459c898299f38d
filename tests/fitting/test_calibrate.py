"""The fit of people to a log: it recovers what a log was made with, says how sure it is; other logs, other answers."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner
from worlds import scenario

from nextone.cli.main import app
from nextone.experiments.fitting.logs.user_log import UserLogError, read_user_log, shipped_log, write_generic
from nextone.experiments.fitting.people import calibrate as module
from nextone.experiments.fitting.people.calibrate import (
    KUAIRAND,
    calibrate,
    split_randomised,
)
from nextone.experiments.fitting.people.coverage import covered, one_round, run, text, verdict
from nextone.experiments.fitting.people.feedback_fit import ENOUGH, LEVELS, feedback_settings, needed_rates
from nextone.experiments.fitting.people.fit_file import check_sets, fit_path, load_fit, save_fit
from nextone.experiments.fitting.people.groups import ACTIVITY_CORRELATION, ACTIVITY_ROWS, ACTIVITY_SPREAD
from nextone.experiments.fitting.people.play_fit import LEVEL_STEP, PLAY, PlayModel, at_the_level, get
from nextone.experiments.fitting.people.robust import ROBUST, varied, verdicts
from nextone.experiments.fitting.people.thinning import (
    activity,
    activity_settings,
    dense_rows,
    session_settings,
    simulate_fortnight,
    thinned,
)
from nextone.experiments.runs.compare import Arm, compare
from nextone.sim.config import FEEDBACK, Scenario
from nextone.sim.scenario import SettingError, load_scenario, with_settings

FEW = dict(people=80, rounds=1, days=4.0)  # enough for what is asked of a fit here, in seconds
FEWER = dict(people=50, rounds=1, days=1.0)
EXAMPLE = Path(__file__).parents[2] / "docs" / "example_log.csv"
SAMPLES = 60  # random halves, of 200


@pytest.fixture(scope="module", autouse=True)
def few_samples():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "DRAWS", SAMPLES)
        yield


@pytest.fixture(scope="module")
def shipped():
    return shipped_log()


@pytest.fixture(scope="module")
def some(shipped):
    return shipped.select(shipped.user < 2_000)


@pytest.fixture(scope="module")
def fit(some):
    return calibrate(some, published=KUAIRAND, **FEW)


# -- planted parameters ------------------------------------------------------------------------------------------------


def test_planted_parameters_are_recovered():
    """Two rounds of simulation-based calibration: of 34 intervals about 31 hold what was planted."""
    hits = covered(np.array([one_round(seed) for seed in range(2)]))
    assert hits.mean() >= 0.7, hits  # P = .001, were they independent


def test_coverage_by_hand():
    """Ranks .01 and .5: one of the two lies within the central nine tenths; ranks spread evenly are uniform."""
    even = verdict([np.full(len(PLAY), (k + 0.5) / 20) for k in range(20)])
    assert even.rounds == 20 and even.coverage == pytest.approx(0.9) and even.rank_p.min() > 0.9
    half = verdict([np.full(len(PLAY), 0.01), np.full(len(PLAY), 0.5)] * 20)
    assert half.coverage == 0.5 and half.rank_p.max() < 0.001


@pytest.mark.long
def test_intervals_of_90_percent_cover_90_percent():
    """Over 200 rounds .85 to .95 of the intervals hold the truth, and ranks are uniform."""
    found = run(200)
    assert 0.85 <= found.coverage <= 0.95, text(found)
    assert found.rank_p.min() * len(PLAY) > 0.01, text(found)  # of 17 at once (Bonferroni)


# -- the shipped log ---------------------------------------------------------------------------------------------------


def test_the_defaults_are_the_fit_of_the_shipped_log(fit):
    """A fit that starts at the defaults stays near them: most of them within the interval of a small simulation."""
    near = [e.low <= e.before <= e.high for e in fit.estimates if e.low < e.high]
    assert np.mean(near) > 0.6, [e.name for e, ok in zip(fit.estimates, near, strict=False) if not ok]
    assert fit.cost < 200


def test_every_fitted_number_has_an_interval_around_it(fit):
    sampled = [e for e in fit.estimates if not e.name.startswith("sessions.")]
    assert {p.name for p in PLAY} < {e.name for e in sampled}
    for e in sampled:
        assert e.low < e.high and e.low - 0.5 * (e.high - e.low) < e.value < e.high + 0.5 * (e.high - e.low), e


def test_what_a_log_cannot_tell_is_named_and_left(shipped):
    """Without videos shown at random, without feedback columns: those stay, and the report says so."""
    bare = shipped.select(shipped.user < 600)
    bare = type(bare)(**{**vars(bare), "feedback": {}, "labels": {}})
    found = calibrate(bare, **FEWER)
    names = {e.name for e in found.estimates}
    assert not names & {"population.match_sd", "sessions.leave_per_min", *(f"feedback.{kind}" for kind in FEEDBACK)}
    text = "\n".join(found.missed)
    assert "match_sd" in text and "leave_per_min" in text and all(f"feedback.{kind}" in text for kind in FEEDBACK)
    assert found.scenario.population.match_sd == Scenario().population.match_sd
    assert found.scenario.feedback == Scenario().feedback


def test_halved_play_times_give_another_answer(some, fit):
    """Everybody leaves sooner: nobody decides for a shorter time, and who leaves early leaves earlier, beyond their
    intervals. How many stay is not told apart from how long they then stay."""
    halved = type(some)(**{**vars(some), "play_ms": some.play_ms // 2, "labels": {}})
    other = calibrate(halved, published=KUAIRAND, **FEW)
    mine, theirs = ({e.name: e for e in each.estimates} for each in (fit, other))
    for name in ("watching.dead_time_s", "watching.skip_log_mean"):
        assert theirs[name].value < mine[name].low, name  # the intervals of so few may overlap
        assert mine[name].value > theirs[name].high, name


def test_same_log_same_fit(shipped):
    few = shipped.select(shipped.user < 400)
    one, two = (calibrate(few, **FEWER) for _ in range(2))
    assert one == two


def test_videos_shown_at_random_are_kept_apart(shipped):
    flag = np.arange(len(shipped.user)) % 10 == 0
    log = type(shipped)(**{**vars(shipped), "randomised": flag})
    shares, rest = split_randomised(log)
    assert shares["random: valid play"] == pytest.approx(shipped.labels["valid play"][flag].mean())
    assert len(rest.user) == (~flag).sum() and rest.users == len(np.unique(shipped.user[~flag]))


# -- closed forms ------------------------------------------------------------------------------------------------------


def test_feedback_by_hand():
    """Rates of .01 short, .02 middling, .04 long, .08 completed, nothing suiting more: ratios .5, 2, 2."""
    levels = ("skip < 5 s", "a middling play", "a long view, not completed", "completion")
    told = {f"like given {what}": rate for what, rate in zip(levels, (0.01, 0.02, 0.04, 0.08), strict=True)}
    found = feedback_settings(told | {"like": 0.03, "impressions": 1e6}, np.ones((6, 4)))
    assert found["feedback.skip_ratio.like"] == pytest.approx(0.5)
    assert found["feedback.long_ratio.like"] == found["feedback.complete_ratio.like"] == pytest.approx(2)
    assert found["feedback.like"] == pytest.approx(0.451 * 0.01 + 0.196 * 0.02 + 0.169 * 0.04 + 0.184 * 0.08)
    rare = feedback_settings(told | {"like": 0.03, "impressions": 500}, np.ones((6, 4)))
    assert rare == {"feedback.like": 0.03}  # 15 likes do not say when


@pytest.mark.parametrize("missing", [0.015, -0.015])
def test_the_last_step_meets_the_level(missing):
    """If so many more plays should be valid, one step of `watching.stay`, and of nothing else, brings them, about; no
    step is wider than its slope."""
    world = scenario(population__users=100)
    lived = simulate_fortnight(world, 100, 0, days=1)
    log, row = dense_rows(lived, 0)
    model = PlayModel(world, log, lived.latent[row])
    wanted = model.facts(model.start())["valid play"] + missing
    x = at_the_level(model, {"valid play": wanted})
    assert np.flatnonzero(x != model.start()).tolist() == [0] and PLAY[0].name == "watching.stay"
    assert model.facts(x)["valid play"] == pytest.approx(wanted, abs=0.005)
    far = at_the_level(model, {"valid play": 10 * missing})
    assert abs(far[0] - model.start()[0]) == pytest.approx(LEVEL_STEP)


def test_sessions_by_hand():
    lived = simulate_fortnight(scenario(population__users=30), 30, 0, days=2)
    own = {"impressions a session": lived.session_impressions.mean()}
    same = session_settings(own, lived, Scenario())
    assert same["sessions.leave_per_min"] == pytest.approx(Scenario().sessions.leave_per_min)
    twice = session_settings({"impressions a session": 2 * own["impressions a session"]}, lived, Scenario())
    assert twice["sessions.leave_per_min"] == pytest.approx(same["sessions.leave_per_min"] / 2)


def test_rows_and_valid_play_by_hand():
    """Thinning blurs: against many drawn thinnings, and unchanged by more rows of everybody."""
    rng = np.random.default_rng(2)
    share = rng.beta(3, 3, 400)
    rows = np.ceil(300 * np.exp(0.8 * rng.normal(size=400) - 1.5 * share))
    told = thinned(rows, share, 7.0)
    assert told == pytest.approx(thinned(rows * 10, share, 7.0), abs=0.02)
    drawn = []
    for _ in range(200):
        kept = rng.binomial(rows.astype(int), 7.0 / rows.mean())
        some = kept > 0
        valid = rng.hypergeometric((rows * share).astype(int), (rows - (rows * share).astype(int)).astype(int), kept)
        log_rows = np.log(kept[some])
        drawn.append((np.corrcoef(log_rows, valid[some] / kept[some])[0, 1], log_rows.std()))
    assert told == pytest.approx(np.mean(drawn, axis=0), abs=0.02) and told[0] < -0.1
    many = thinned(rows, share, 1e3)  # of so many rows luck blurs nothing
    assert many == (pytest.approx(np.corrcoef(np.log(rows), share)[0, 1]), pytest.approx(np.log(rows).std()))
    assert thinned(rows, share, 90.0) == pytest.approx(many, abs=0.03)


def test_activity_is_fitted_to_who_sees_how_much():
    """A small fortnight lived by the clock alone: the settings it tells give about the wanted facts when lived."""
    world = with_settings(scenario(), ["sessions.leave_pace=0.2", "population.users=300"])
    lived = simulate_fortnight(world, 300, 0, days=4)
    known = {ACTIVITY_ROWS: 7.0, ACTIVITY_CORRELATION: 0.05, ACTIVITY_SPREAD: 0.75}
    found, more = activity_settings(known, lived, world)
    power = found["sessions.leave_pace"]
    assert 0.2 < power < 1.5
    assert activity_settings(known | {ACTIVITY_CORRELATION: 0.15}, lived, world)[0]["sessions.leave_pace"] > power
    moved = with_settings(world, [f"{name}={value}" for name, value in found.items()])
    again = simulate_fortnight(moved, 300, 0, days=4)
    wanted = (known[ACTIVITY_CORRELATION], known[ACTIVITY_SPREAD])
    before, after = (np.abs(np.subtract(thinned(*activity(f), 7.0), wanted)) for f in (lived, again))
    assert (after < 0.05).all() and (before > 0.05).all()
    sessions = [f.session_impressions.mean() for f in (lived, again)]
    expected = np.mean(lived.session_impressions * more[lived.person_of_session])
    assert sessions[1] == pytest.approx(expected, rel=0.1)


def test_chance_among_the_people_is_no_fact_of_theirs():
    """People who happen to open the app the more often the less they stay: that is taken out, and nothing else."""
    lived = simulate_fortnight(scenario(population__users=200), 200, 0, days=2)
    rows, share = activity(lived)
    by_chance = lived._replace(frequency=np.exp(np.log(lived.frequency) - 0.3 * of_people(lived)))
    counted = np.bincount(lived.person, minlength=200)
    slope = np.polyfit(of_people(lived), np.log(lived.frequency), 1)[0]
    np.testing.assert_allclose(rows, counted * np.exp(-slope * of_people(lived)), rtol=0.05)
    np.testing.assert_allclose(activity(by_chance)[0], rows * np.exp(0.3 * of_people(lived)), rtol=0.05)
    assert (activity(by_chance)[1] == share).all()


def of_people(lived):
    """The lasting effect of each person on staying, 0 of who saw nothing."""
    effect = np.zeros(len(lived.frequency))
    effect[lived.person] = lived.latent[:, 0]
    return effect


def test_feedback_is_fitted_to_those_who_give_it():
    """If the half of the people who give likes, and nobody else, is shown what appeals twice as much, two in place of
    one and a half likes come of the same rates: three quarters would be asked for, were 50 people enough to tell."""
    lived = simulate_fortnight(scenario(population__users=100), 100, 0, days=2)
    told = {f"like given {level}": 0.01 for level in LEVELS}
    gives = np.arange(100) % 2 == 0
    everybody = lived._replace(propensity=np.full((100, 6), 0.01), appeal=np.log(2.0) * gives[lived.person])
    half = everybody._replace(propensity=np.where(gives, 0.02, 0.0)[:, None] * np.ones(6))
    asked = [needed_rates(told, people, scenario())[0] for people in (everybody, half)]
    believed = 1 + (2 / 1.5 - 1) * 50 / (50 + ENOUGH)
    np.testing.assert_allclose(asked[1] / asked[0], 1 / believed, rtol=0.05)
    nobody = everybody._replace(propensity=np.zeros((100, 6)))
    np.testing.assert_allclose(needed_rates(told, nobody, scenario())[0], asked[0], rtol=1e-9)


# -- files and other fits ----------------------------------------------------------------------------------------------


def test_a_fit_is_written_read_and_refused_when_damaged(fit, tmp_path):
    path = tmp_path / "mine.toml"
    assert save_fit(fit, "a log", path) == [path, fit_path(path)]
    assert load_scenario(path) == fit.scenario
    again = load_fit(path)
    assert again.estimates == fit.estimates and len(again.draws) == len(fit.draws)
    text = fit_path(path).read_text()
    for broken in ("", "[]", "{}", text[: len(text) // 2], text.replace('"format": 1', '"format": 2'),
                   text.replace('"draws": [', '"draws": [[1.0],', 1), "[" * 100_000):  # fmt: skip
        fit_path(path).write_text(broken)
        with pytest.raises(SettingError, match="not a fit"):
            load_fit(path)
    with pytest.raises(SettingError, match="nextone calibrate"):
        load_fit(tmp_path / "other.toml")


def test_the_shipped_fit_is_about_the_defaults_and_its_sets_vary_them():
    """The defaults, rounded, lie within the fit's 95 % intervals."""
    shipped = load_fit(None)
    sampled = [e for e in shipped.estimates if e.low < e.high]
    beyond = [e.name for e in sampled if not e.low <= get(Scenario(), e.name) <= e.high]
    assert len(sampled) == 53 and beyond == []
    for e in sampled:
        sets = [draw[e.name] for draw in shipped.draws]
        assert min(sets) <= get(Scenario(), e.name) <= max(sets), e.name
    assert len(shipped.draws) >= 64
    other = varied(Scenario(), shipped, 3)
    assert [get(other, e.name) for e in sampled] == pytest.approx([shipped.draws[3][e.name] for e in sampled], rel=1e-4)
    with pytest.raises(SettingError, match="--robust=1 "):
        check_sets(shipped, 1)


def test_other_fits_leave_what_the_user_set():
    shipped = load_fit(None)
    world = varied(scenario(watching__stay=0.5), shipped, 3)
    assert world.watching.stay == 0.5
    assert world.watching.skip_log_sd == pytest.approx(shipped.draws[3]["watching.skip_log_sd"], rel=1e-4)


def test_robust_means_nine_in_ten():
    """Ten sets, the arm better in nine or in eight of them."""
    arms = [Arm(x, x, scenario(population__users=3, catalogue__videos=10_000)) for x in ("cloud_only", "random")]
    few = compare(arms, replications=10, minutes=2, engine="batch")
    base = few.values[0]
    better = np.stack([base, base + 1.0])
    result = replace(few, values=better)
    for worse, robust in ((1, True), (2, False)):
        sets = np.stack([np.stack([base, base + (-1.0 if k < worse else 1.0)]) for k in range(10)])
        found = {v.metric: v for v in verdicts(result, sets)}["impressions"]
        assert (found.sign, found.agree, found.robust) == (1, 1 - worse / 10, robust)
    assert ROBUST == 0.9


# -- the command -------------------------------------------------------------------------------------------------------


def test_the_example_is_too_short_to_fit_to_and_says_so():
    with pytest.raises(UserLogError, match=r"200 impressions of 16 users are too few .*; give at least 2,000"):
        calibrate(read_user_log(EXAMPLE))


def test_the_command_writes_a_scenario_that_compare_takes(shipped, tmp_path):
    log, out = tmp_path / "log.csv", tmp_path / "mine.toml"
    write_generic(log, shipped.select(shipped.user < 400))
    small = ["--set", "catalogue.videos=10000"]
    run = CliRunner().invoke(app, ["calibrate", str(log), "--users", "50", *small, "--out", str(out), "--json"])
    assert run.exit_code == 0, run.output
    told = json.loads(run.stdout)
    assert {"name", "value", "low", "high", "before"} == set(told["parameters"][0]) and told["not_identified"]
    arguments = ["compare", "--scenario", str(out), "--policies", "cloud_only,random", "--users", "3", "--minutes", "2"]
    run = CliRunner().invoke(app, [*arguments, "--engine", "batch", "--workers", "1", "--robust", "2", "--json"])
    assert run.exit_code == 0, run.output
    told = json.loads(run.stdout)
    assert told["parameter_sets"] == 2 and {"arm", "metric", "sign", "agree", "robust"} == set(told["robust"][0])
