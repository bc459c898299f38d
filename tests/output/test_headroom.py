"""`nextone headroom`: a ladder whose steps add one thing each, climbed at a tiny size, and its numbers by hand."""

import json

import numpy as np
import pytest
from PIL import Image

from nextone.answers import of_headroom
from nextone.api import load
from nextone.cli import main as cli
from nextone.experiments.fitting.people.fit_file import SHIPPED, fit_path, load_fit
from nextone.experiments.questions.headroom import SHOWN, climb, headroom_json, intent_bound, steps, worlds
from nextone.experiments.questions.headroom_shown import headroom_figure, headroom_sentences, headroom_tables
from nextone.experiments.runs.metrics import METRICS
from nextone.experiments.runs.statistics import mean_interval, paired
from nextone.sim.config import Scenario
from nextone.sim.data import open_data
from nextone.sim.scenario import SettingError, with_settings

TINY = ["catalogue.kind=synthetic", "catalogue.videos=600", "server.recall=500", "server.kept=300",
        "server.arrivals_per_min=0", "sessions.leave_per_min=0.3"]  # fmt: skip
KNOWN = ["server.taste_correlation=1.0", "server.person_correlation=1.0", "server.quality_correlation=1.0",
         "server.match_correlation=1.0", "server.embedding_correlation=1.0", "server.pxtr_noise=0.0",
         "interests.mood_sd=0.0", "interests.satiation=0.0", "server.assumed_intent_sd=0.0"]  # fmt: skip


@pytest.fixture(scope="module")
def found():
    """In the world without intents there is nothing to perceive: all is known at once."""
    return climb(with_settings(Scenario(), ["population.users=4", *TINY, *KNOWN]), 1.5, minutes=3.0)


def test_each_step_adds_to_one_before_it_and_keeps_what_that_one_has():
    ladder = steps(Scenario())
    labels = [step.label for step in ladder]
    assert len(set(labels)) == len(labels) == 10 and ladder[0].over == "" and ladder[0].settings == ""
    for n, step in enumerate(ladder[1:], 1):
        before = ladder[labels[:n].index(step.over)]
        kept = {text for text in before.settings.split() if "arrivals_every" not in text}
        assert kept <= set(step.settings.split())
        assert (step.policy == before.policy) != (step.settings == before.settings), "a step changes one thing"
    assert f"server.arrivals_every={Scenario().server.page_size}" in ladder[3].settings  # as seldom as configured
    assert "arrivals_every" not in ladder[4].settings


def test_no_intent_is_imagined_and_the_upper_bound_is_known():
    none, own, most = (
        with_settings(Scenario(), world.settings.split()) for world in worlds(Scenario(), 1.7)
    )  # fmt: skip
    default = Scenario()
    assert (none.interests.intent_sd, none.server.assumed_intent_sd) == (0.0, default.server.assumed_intent_sd)
    assert own == default
    assert (most.interests.intent_sd, most.server.assumed_intent_sd) == (1.7, 1.7)


def test_the_bound_is_the_fits(tmp_path):
    (high,) = (e.high for e in load_fit(None).estimates if e.name == "interests.intent_sd")
    mine = tmp_path / "mine.toml"
    assert intent_bound(None) == intent_bound(mine) == pytest.approx(high, rel=5e-3)
    with open_data(SHIPPED) as file:
        fit = json.load(file)
    for parameter in fit["parameters"]:
        if parameter["name"] == "interests.intent_sd":
            parameter["high"] = 3.14159
    fit_path(mine).write_text(json.dumps(fit))
    assert intent_bound(mine) == 3.14
    fit["parameters"] = [p | {"name": p["name"].replace("intent_sd", "other")} for p in fit["parameters"]]
    fit_path(mine).write_text(json.dumps(fit))
    with pytest.raises(SettingError, match="has no interests"):
        intent_bound(mine)


def test_worth_and_gain_by_hand(found):
    values = {arm.label: block for arm, block in zip(found.result.arms, found.result.values, strict=True)}
    for name in SHOWN:
        m = [metric.name for metric in METRICS].index(name)
        for world in ("no intent", "default", "upper bound"):
            cloud = values[f"{world}: cloud_only"][:, m]
            score, own = (values[f"{world}: phone, cloud's {what}"][:, m] for what in ("score", "filter"))
            step = found.steps[6]
            assert step.label == "phone, cloud's filter"
            assert found.level(world, step.label, name) == mean_interval(own)
            assert found.worth(world, step, name) == paired(score, own)
            assert found.gain(world, step, name) == paired(cloud, own)
            assert found.worth(world, found.steps[0], name) is found.gain(world, found.steps[0], name) is None


def test_who_knows_all_gains_nothing_by_asking_at_every_swipe(found):
    """So that step is credited with nothing but what is learnt sooner: no transport, no other page."""
    features, freed, swipe = found.steps[1:4]
    for name in SHOWN:
        worth = found.worth("no intent", swipe, name)
        assert worth.diff == worth.low == worth.high == 0.0, name
        assert found.worth("no intent", features, name).diff == 0.0
    assert found.worth("no intent", freed, "app_min").diff != 0.0
    assert found.worth("upper bound", swipe, "valid_play").diff != 0.0


def test_a_saved_ladder_is_read_back_as_one(found, tmp_path):
    of_headroom(found).save(tmp_path)
    again = load(tmp_path)
    assert again == of_headroom(found)
    assert again.found.steps == found.steps and again.found.worlds == found.worlds
    gain = found.gain("default", found.steps[7], "app_min")
    assert f"{gain.diff_pct:.2f}".lstrip("-") in again.verdict[0] and "upper bound" in again.verdict[0]


def test_tables_figure_and_json(found, tmp_path):
    phone, told = headroom_sentences(found)
    gain = found.gain("upper bound", found.steps[7], "app_min")
    assert f"{gain.diff_pct:.2f}".lstrip("-") in phone and "(upper bound)." in phone
    assert told.startswith("Told the passing interests")
    what, worth = headroom_tables(found)
    assert what.row_count == 10 and worth.row_count == 3 * 10 and len(worth.columns) == 1 + 2 * 3
    assert "4 people, 3 min, 10 replications" in str(worth.caption) and "sd of 1.5 logit" in str(worth.caption)
    headroom_figure(found, tmp_path / "headroom.png")
    pixels = np.asarray(Image.open(tmp_path / "headroom.png").convert("L"))
    assert pixels.shape[0] > 800 and pixels.min() < 100 and pixels.max() == 255
    told = json.loads(json.dumps(headroom_json(found), allow_nan=False))
    assert len(told["rows"]) == 3 * 10 * len(SHOWN) and told["primary"] == "app_min"
    row = next(r for r in told["rows"] if (r["world"], r["step"]) == ("default", "oracle of intents"))
    gain = found.gain("default", found.steps[8], "app_min")
    assert (row["gain_pct"], row["gain_low"], row["mean"] > 0) == (gain.diff_pct, gain.diff_pct_low, True)


def test_the_command(capsys, tmp_path):
    small = [part for each in TINY for part in ("--set", each)]
    few = ["headroom", "--users", "3", "--minutes", "1", "--workers", "1", *small]
    assert cli.main([*few, "--out", str(tmp_path / "a"), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["steps"]) == 10
    assert {file.name for file in (tmp_path / "a").iterdir()} == {
        "comparison.parquet", "replications.parquet", "scenario.toml", "headroom.png",
    }  # fmt: skip
    assert cli.main([*few, "--replications", "9"]) == 2
    assert "replications=9 must be >= 10" in capsys.readouterr().err
