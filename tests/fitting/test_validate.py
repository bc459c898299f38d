"""The scoreboard: facts by hand and against published ones, a log against itself and its half, what is printed."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from logs_by_hand import log_of
from scipy import stats

from nextone.cli import main as cli
from nextone.experiments.fitting.logs.user_log import shipped_log
from nextone.experiments.fitting.people import sampling
from nextone.experiments.fitting.people import validate as module
from nextone.experiments.fitting.people.claims import MARK, claims_markdown, parameters
from nextone.experiments.fitting.people.facts import (
    facts,
    intra_class,
    outcomes,
    sequence_facts,
    sequences,
    sum_up,
    video_facts,
)
from nextone.experiments.fitting.people.figures import save_figures
from nextone.experiments.fitting.people.play_distances import Distances, _Distance
from nextone.experiments.fitting.people.random_exposure import Exposure, at_level, random_exposure
from nextone.experiments.fitting.people.sampling import Measured, bootstrap
from nextone.experiments.fitting.people.scoreboard_table import (
    cells,
    save_scoreboard,
    scoreboard_json,
    scoreboard_markdown,
    verdict,
)
from nextone.experiments.fitting.people.spectrum import Spectrum
from nextone.experiments.fitting.people.thinning import simulate_fortnight, thin
from nextone.experiments.fitting.people.validate import INTERVAL, Within, compare, validate
from nextone.experiments.fitting.scoreboard import Row, row
from nextone.sim.config import FEEDBACK, Scenario
from nextone.sim.data import open_data
from nextone.sim.scenario import SettingError, with_settings

DOCS = Path(__file__).parents[2] / "docs"
PEOPLE = 16
USERS = 2_500  # of the shipped log, where its size is not what is tested


@pytest.fixture(scope="module")
def fortnight():
    return simulate_fortnight(Scenario(), PEOPLE, 0)


@pytest.fixture(scope="module")
def some():
    log = shipped_log()
    return log.select(log.user < USERS)


@pytest.fixture
def quick(monkeypatch, fortnight, some):
    """The scoreboard from one small fortnight and some people of the log, with few bootstrap samples."""
    monkeypatch.setattr(module, "simulate_fortnight", lambda *_, **__: fortnight)
    monkeypatch.setattr(module, "shipped_log", lambda: some)
    monkeypatch.setattr(module, "random_exposure", lambda *_: Exposure(0.2, 0.1, 0.5, 0.35))
    monkeypatch.setattr(module, "compare_network", lambda _: [])  # tests/fitting/test_network_facts.py
    monkeypatch.setattr(module, "largest_factor", lambda *_: Spectrum(1.0, 0.99, 1.01, 0.005, 0.5))  # test_lags.py
    monkeypatch.setattr(sampling, "BOOTSTRAPS", 8)
    monkeypatch.setattr(sampling, "HALVES", 4)


# ---- facts


def test_facts_of_ten_rows_by_hand():
    """Play times of ten videos of 90 s but for two of 10 s, which are watched to the end once."""
    play = [0.5, 1.5, 1.5, 2.5, 6, 8, 20, 10, 4, 90]
    length = [90, 90, 90, 90, 90, 90, 90, 10, 10, 90]
    like = [0, 0, 0, 0, 0, 1, 1, 0, 0, 0]
    found = facts(sum_up(log_of([0] * 10, play, length, like=like)))
    assert found["P(play < 1 s)"] == pytest.approx(0.1)
    assert found["P(play < 2 s)"] == pytest.approx(0.3)
    assert found["P(play < 10 s)"] == pytest.approx(0.7)
    assert found["hazard in second 0"] == pytest.approx(1 / 8)  # of the 8 long videos
    assert found["hazard in second 1"] == pytest.approx(2 / 7)
    assert found["hazard in second 2"] == pytest.approx(1 / 5)
    assert found["hazard in second 3"] == 0
    assert found["valid play"] == pytest.approx(0.4)  # 8, 20, 90 s and the short one's end
    assert found["long view"] == pytest.approx(0.3)  # 20, 90 s and the short one's end
    assert found["complete"] == pytest.approx(0.2)
    assert found["like"] == pytest.approx(0.2)
    assert found["like given long view"] == pytest.approx(1 / 3)
    assert found["like given skip < 5 s"] == 0  # of 5 plays
    assert math.isnan(found["spread between users: like"])  # of one person there is none


def test_a_labelled_log_counts_by_its_own_labels():
    log = log_of([0, 0], [8, 1], [90, 90])
    assert facts(sum_up(log))["valid play"] == 0.5
    labelled = replace(log, labels={"valid play": np.array([True, True])})
    assert facts(sum_up(labelled))["valid play"] == 1


def test_intra_class_correlation_finds_that_of_a_beta_binomial():
    """Theory: of beta(a, b) it is 1 / (a + b + 1); groups of all sizes; z-score from 40 repetitions."""
    rng = np.random.default_rng(1)
    a, b, found = 2.3, 4.4, []
    for _ in range(40):
        n = rng.integers(5, 30, 400)
        k = rng.binomial(n, rng.beta(a, b, 400))
        found.append(intra_class(n.sum(), k.sum(), (k**2 / n).sum(), (n**2).sum(), 400))
    assert abs(np.mean(found) - 1 / (a + b + 1)) < 3 * np.std(found) / np.sqrt(40)


def test_sequences_by_hand():
    """Ten items of one tag and ten of another: one bit; 18 of 19 neighbours alike. A short sequence has no entropy."""
    user = np.array([0] * 20 + [1] * 3)
    tag = np.array([3] * 10 + [4] * 10 + [7, -1, 7])
    of = sequences(user, tag, 2)
    assert of.entropy[0] == pytest.approx(1)
    assert np.isnan(of.entropy[1])
    assert sequence_facts(of) == pytest.approx({"tag entropy per user": 1, "next item same tag": (18 + 1) / (19 + 1)})


def test_facts_of_the_shipped_log_are_those_published_with_it():
    """Numbers of another count of the same rows, made from the source files before this project's code: shares of plays
    below t s, hazard on videos of 60 s and more, rates, rates by length, beta parameters of users and videos, tags."""
    found = facts(sum_up(shipped_log(), by_person=False))
    below = {1: 0.0544, 2: 0.238, 3: 0.34, 5: 0.4512, 7: 0.5157, 10: 0.5789, 20: 0.7014, 30: 0.7719, 60: 0.8773}
    hazard = [0.0497, 0.1807, 0.1267, 0.0945, 0.0782, 0.0659, 0.0526, 0.048, 0.04, 0.0343]
    targets = {f"P(play < {t} s)": share for t, share in below.items()}
    targets |= {f"hazard in second {t}": share for t, share in enumerate(hazard)}
    targets |= {
        "valid play": 0.4982, "long view": 0.3527, "complete": 0.1838, "like": 0.0188, "follow": 0.0015,
        "comment": 0.0029, "forward": 0.0009, "hate": 0.0008, "profile": 0.0216, "like given long view": 0.0333,
        "like given completion": 0.0418, "like given skip < 5 s": 0.0084, "profile given long view": 0.0454,
        "profile given no long view": 0.0086, "spread between users: long view": 0.1301,
        "spread between users: skip < 2 s": 0.1232, "spread between users: valid play": 0.1462,
        "spread between users: like": 0.1947, "spread between videos: long view": 0.0684,
        "spread between videos: like": 0.0271, "spread of long view by tag": 0.0744,
        "7 to 12 s: P(play < 2 s)": 0.2883, "over 300 s: P(play < 5 s)": 0.4848,
    }  # fmt: skip
    assert {name: round(found[name], 4) for name in targets} == pytest.approx(targets, abs=1.01e-4)


def test_diversity_of_the_shipped_histories():
    """Counted from the source files with both tags of a video: entropy 3.19 bits and next the same .179; here, of first
    tags alone, they are 3.16 and .182."""
    found = sequence_facts(sequences(*module.histories()))
    assert found["tag entropy per user"] == pytest.approx(3.19, abs=0.04)
    assert found["next item same tag"] == pytest.approx(0.179, abs=0.004)


def test_a_person_drawn_twice_is_not_spread_between_videos():
    """The interval of a spread between videos holds its value; one over people does not."""
    sums = sum_up(shipped_log())
    of_videos = [counts.sum(axis=0) for counts in sums.by_video]
    name = "spread between videos: long view"
    found = bootstrap(lambda w: video_facts(*of_videos, weight=w), len(of_videos[0]))[name]
    assert found.low < found.value < found.high
    twice = np.random.default_rng(0).multinomial(len(sums.over), np.full(len(sums.over), 1 / len(sums.over)))
    assert facts(sums, twice.astype(float))[name] > found.high


# ---- distances, rows


def test_distances_are_those_of_scipy():
    rng = np.random.default_rng(0)
    sample, other, user = rng.integers(1, 50, 300), rng.integers(5, 70, 200), np.arange(300)
    distance = _Distance(sample, user, other)
    ks, w1 = distance.simulated()
    assert ks == pytest.approx(stats.ks_2samp(sample, other).statistic)
    assert w1 == pytest.approx(stats.wasserstein_distance(sample, other) / sample.mean())
    weight = rng.integers(0, 3, 300)
    ks, w1 = distance.resampled(weight.astype(float))
    assert ks == pytest.approx(stats.ks_2samp(sample, np.repeat(sample, weight)).statistic)
    assert w1 == pytest.approx(stats.wasserstein_distance(sample, np.repeat(sample, weight)) / sample.mean())
    assert distance.resampled(np.ones(300)) == (0, 0)


def test_a_log_has_no_distance_from_itself_and_half_of_it_has(some):
    log = some
    own = Distances(log, log, 8.0).simulated()
    assert own == pytest.approx({name: 1.0 if "segments" in name else 0.0 for name in own})
    half = Distances(log, replace(log, play_ms=log.play_ms // 2), 8.0).simulated()
    assert half["play time: Wasserstein-1 / mean"] == pytest.approx(0.5, abs=0.001)
    assert half["segments by length and hour that fit"] == 0


def test_the_tolerance_of_a_row():
    known = Measured(0.5, 0.44, 0.58, 0.03)
    two_errors = compare("x", known, 0.55, Within(0.01))
    assert two_errors[:7] == ("x", 0.5, 0.44, 0.58, 0.55, 0.06, True) and math.isnan(two_errors.floors)
    assert compare("x", known, 0.55, Within(relative=0.2)).tolerance == 0.1
    assert compare("x", known._replace(floor=0.02), 0.55, Within(0.01)).floors == pytest.approx(2.5)
    assert compare("x", known, 9.0, Within(math.inf)).kind == "shown"
    assert compare("x", known, 0.57, INTERVAL).ok
    assert not compare("x", known, 0.43, INTERVAL).ok  # below by less than it may be above
    assert not compare("x", known, math.nan, INTERVAL).ok
    assert list(cells(row("x", 0.5, math.nan, math.nan, 0.51, 0.02))) == ["x", "0.500", "–", "0.510", "± 0.020", "–"]


def test_a_bootstrap_finds_the_standard_error_of_a_mean():
    x = np.random.default_rng(0).normal(3, 2, 400)
    found = bootstrap(lambda w: {"mean": float(w @ x / w.sum())}, 400)["mean"]
    assert found.value == pytest.approx(x.mean())
    assert found.error == pytest.approx(x.std() / 20, rel=0.15)  # 200 samples: 5 % each
    assert found.high - found.low == pytest.approx(3.92 * found.error, rel=0.2)


# ---- random against recommended


def test_odds_at_another_level_by_hand():
    """Odds 1:4 where the recommended have 1:1, so 1:2 where they have 2:1."""
    assert at_level(0.2, 0.5, 2 / 3) == pytest.approx(1 / 3)
    assert at_level(0.2, 0.5, 0.5) == pytest.approx(0.2)


def test_random_videos_do_as_well_where_all_videos_are_alike():
    small = ["catalogue.videos=7248"]
    spreads = ("catalogue.quality_sd", "catalogue.tag_quality", "watching.stay_shorter", "watching.stay_longer",
               "population.taste_sd", "population.match_sd", "interests.intent_sd")  # fmt: skip
    settings = [*small, *(f"{name}=0" for name in spreads), "interests.satiation=0"]
    alike = random_exposure(with_settings(Scenario(), settings), 1, 40, 0.25)
    assert alike.random_valid == pytest.approx(alike.valid, abs=0.03)
    usual = random_exposure(with_settings(Scenario(), small), 1, 40, 0.25)
    assert usual.random_valid < usual.valid - 0.1


# ---- the scoreboard


def test_a_log_matches_itself_and_its_half_does_not(quick, fortnight, monkeypatch):
    """The simulation's own log: every number is compared with its own like. With play times halved all distances are
    red."""
    log, rows = thin(fortnight, 12.0, 5, 8)
    monkeypatch.setattr(module, "thin", lambda *_, **__: (log, rows))
    monkeypatch.setattr(module, "dense_rows", lambda *_: (log, rows))
    own = validate(Scenario(), log, people=PEOPLE)
    level = own.sections["level, impression for impression"]
    assert [each.simulated for each in level] == pytest.approx([each.target for each in level])
    for title in ("play time", "activity", "spread", "interests and mood",
                  "the cloud's reaction"):  # fmt: skip
        assert own.sections[title]
        assert [each.simulated for each in own.sections[title]] == [each.target for each in own.sections[title]]
    assert {each.floors for each in own.sections["play time"] if math.isfinite(each.floors)} == {0.0}
    play = own.sections["play time"]
    assert all(each.ok for each in play)
    doctored = validate(Scenario(), replace(log, play_ms=log.play_ms // 2), people=PEOPLE)
    red = [each.quantity for each in doctored.sections["play time"] if not each.ok]
    distances = {each.quantity for each in play if "distance" in each.quantity}
    assert {name for name in red if "distance" in name} == distances
    assert {"P(play < 5 s)", "P(play < 10 s)"} <= set(red)
    level = {each.quantity for each in doctored.sections["level, impression for impression"] if not each.ok}
    assert level == {"valid play", "long view", "complete", "skip < 2 s", "mean play time, s"}


def refuse(word):
    raise AssertionError(f"{word} is not JSON")


def of_command(capsys, *arguments):
    assert cli.main(["validate", "--users", str(PEOPLE), "--json", *arguments]) == 0
    return json.loads(capsys.readouterr().out, parse_constant=refuse)


def test_the_command_and_the_same_log_by_hand(quick, capsys, tmp_path):
    """The shipped log written as KuaiRand's files are: the same rows, but for the histories, which no log holds."""
    shipped = of_command(capsys)
    assert len(shipped["rows"]) >= 60
    assert all(tuple(each) == Row._fields for each in shipped["rows"])
    assert len({each["quantity"] for each in shipped["rows"]}) == len(shipped["rows"])
    for each in shipped["rows"]:
        assert (each["tolerance"] is None) == (each["kind"] == "shown")
        if each["kind"] != "shown":
            near = each["simulated"] is not None and abs(each["simulated"] - each["target"]) <= each["tolerance"]
            assert each["ok"] == near
        assert each["low"] is None or each["low"] <= each["high"]
    assert set(shipped) == {"rows"}

    with open_data("kuairand/log.parquet") as file:
        table = pq.read_table(file)
    table = table.filter(pc.less(table["user"], USERS))
    names = (*(f"is_{kind}" for kind in FEEDBACK[:-1]), "is_profile_enter", "is_click", "long_view")
    flags = {name: (table["flags"].to_numpy() >> k & 1).astype(np.int8) for k, name in enumerate(names)}
    columns = {
        "user_id": table["user"], "video_id": table["video_id"], "time_ms": table["time_ms"],
        "duration_ms": table["duration_ms"], "play_time_ms": table["play_ms"],
        "comment_stay_time": table["comment_open_ms"], "tab": pa.array(np.ones(len(table), np.int8)),
    }  # fmt: skip
    pq.write_table(pa.table({**columns, **flags}), tmp_path / "log.parquet")
    video, first = np.unique(table["video_id"].to_numpy(), return_index=True)
    tag = [str(t) if t >= 0 else None for t in table["tag"].to_numpy()[first]]
    pq.write_table(pa.table({"video_id": video, "tag": tag}), tmp_path / "table.parquet")
    mine = of_command(capsys, "--log", str(tmp_path / "log.parquet"), "--videos", str(tmp_path / "table.parquet"))
    own = [each for each in shipped["rows"] if "random video" not in each["quantity"]]
    unknown = ("session", "request", "author")  # what a log of one's own lacks here
    own = [each for each in own if not any(word in each["quantity"] for word in unknown)]
    for a, b in zip(own, mine["rows"], strict=True):  # no published figures beside a log of one's own
        assert a["quantity"] == b["quantity"]
        if a["quantity"] not in ("tag entropy per user", "next item same tag"):
            assert (a["ok"], a["low"] is None) == (b["ok"], b["low"] is None)
            numbers = [name for name in ("target", "low", "high", "simulated", "tolerance") if a[name] is not None]
            assert [a[name] for name in numbers] == pytest.approx([b[name] for name in numbers], rel=1e-9)


def test_what_a_log_does_not_say_is_told(quick, fortnight, tmp_path):
    log, _ = thin(fortnight, 12.0, 5, 8)
    poor = replace(log, tag=None, feedback={"like": log.feedback["like"]})
    found = validate(Scenario(), poor, people=PEOPLE)
    needed = {name: needed for needed, names in found.missing.items() for name in names}
    assert needed["profile"] == "needs a column profile (KuaiRand: is_profile_enter)"
    assert "--videos FILE" in needed["tag entropy per user"] and "--videos FILE" in needed["spread of long view by tag"]
    assert "randomised" in needed["random video: valid play"] and "session" in needed["sessions per user and day"]
    assert not {each.quantity for each in found.rows} & set(needed)
    assert not any(math.isnan(each.target) for each in found.rows)
    notes = scoreboard_json(found)["notes"]
    assert [line for line in notes if line.startswith("not made, needs tags: a column tag, or --videos FILE")]
    assert not [line for line in notes if "KuaiRand-27K" in line]
    files = save_scoreboard(found, tmp_path) + save_figures(found, tmp_path)
    assert {file.name for file in files} == {file.name for file in tmp_path.iterdir()}
    assert all(file.stat().st_size > 1000 for file in files)
    saved = json.loads((tmp_path / "scoreboard.json").read_text(), parse_constant=refuse)
    table = pq.read_table(tmp_path / "scoreboard.parquet")
    assert [each["quantity"] for each in saved["rows"]] == table["quantity"].to_pylist()
    judged = table.filter(pc.equal(table["kind"], "judged"))
    assert verdict(found).startswith(f"{sum(judged['ok'].to_pylist())} of {judged.num_rows} rows within tolerance; ")


def test_videos_shown_at_random_and_sessions_of_one_s_own_have_rows(quick, fortnight):
    """One row in ten was random: these are the target of the random rows and count nowhere else."""
    log, _ = thin(fortnight, 12.0, 5, 8)
    flag = np.arange(len(log.user)) % 10 == 0
    session = np.unique(log.user * 100 + log.time_ms // 86_400_000, return_inverse=True)[1]
    full = replace(log, randomised=flag, session=session.astype(np.int32))
    found = validate(Scenario(), full, people=PEOPLE)
    target = {each.quantity: each.target for each in found.rows}
    assert target["random video: valid play"] == pytest.approx(np.mean(outcomes(log)["valid play"][flag]))
    assert target["valid play"] == pytest.approx(np.mean(outcomes(log)["valid play"][~flag]))
    rest = session[~flag]
    assert target["impressions per session"] == pytest.approx(len(rest) / len(np.unique(rest)))
    of_kuairand = validate(Scenario(), log, people=PEOPLE, kuairand=True)  # a half of the shipped log, say
    assert {each.quantity: each.target for each in of_kuairand.rows}["random video: valid play"] == module.RANDOM_VALID


def test_links_and_page_sizes_are_not_counted(quick, monkeypatch):
    """Links are drawn from the traces they are compared with."""
    monkeypatch.setattr(module, "compare_network", lambda _: ["a link"])
    monkeypatch.setattr(module, "link_rows", lambda _: [row("throughput: median", 1, 0.9, 1.1, 1, 0.1)])
    found = validate(Scenario(), people=PEOPLE)
    checks = {each.quantity for each in found.rows if each.kind == "self-check"}
    assert "impressions per request" in checks and {each.quantity for each in found.sections["links"]} < checks
    assert len(found.judged) + len(checks) + sum(each.kind == "shown" for each in found.rows) == len(found.rows)
    assert "= | throughput" in scoreboard_markdown(found)


def test_what_cannot_be_compared_is_refused(capsys, tmp_path):
    assert cli.main(["validate", "--log", str(tmp_path / "none.csv")]) == 2
    assert cli.main(["validate", "--users", "5"]) == 2
    assert cli.main(["validate", "--set", "catalogue.kind=synthetic"]) == 2
    assert cli.main(["validate", "--utc-offset", "1"]) == 2
    assert cli.main(["held-out", "--videos", "videos.csv"]) == 2
    assert cli.main(["validate", "--log", str(DOCS / "example_log.csv"), "--utc-offset", "100"]) == 2
    assert cli.main(["validate", "--log", str(DOCS / "example_log.csv"), "--utc-offset", "nan"]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 7
    assert "must be >= -12 and <= 14, the hours by which" in errors[-1] and "give one" in errors[3]
    assert all(line.startswith("nextone: ") for line in errors)
    with pytest.raises(SettingError, match="must be >= 500 to compare; give more --users"):
        validate(with_settings(Scenario(), ["sessions.gap_hours=1000"]), people=1)


# ---- the documentation


def test_every_parameter_has_a_range_and_a_source():
    for each in parameters():
        assert each.range, each.name
        assert each.source.split(":", 1)[1].strip(), each.name


def test_the_page_lists_the_parameters_as_they_are():
    """Contract: docs/what-may-be-claimed.md; `python -m nextone.experiments.fitting.people.claims` writes it."""
    assert (DOCS / "what-may-be-claimed.md").read_text().partition(MARK)[2].strip() == claims_markdown().strip()
