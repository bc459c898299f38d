"""`nextone must-be-true`: what it varies comes from the fit; at a tiny size the far end is a win; numbers by hand."""

import json

import numpy as np
import pytest
from PIL import Image

from nextone.cli import main as cli
from nextone.experiments.fitting.people.fit_file import load_fit
from nextone.experiments.questions.must_be_true import (
    DEFAULT,
    OF_THE_BOUND,
    PAGES,
    SHOWN,
    TRUE,
    People,
    arms_of,
    ask,
    asked_of,
    must_be_true_json,
    wins,
)
from nextone.experiments.questions.must_be_true_shown import must_be_true_figure, must_be_true_table, verdicts
from nextone.experiments.questions.ranges import Agreeing, intents_that_agree
from nextone.experiments.runs.metrics import column_of
from nextone.experiments.runs.statistics import paired
from nextone.sim.config import Scenario
from nextone.sim.scenario import SettingError, with_settings

SMALL = with_settings(Scenario(), ["population.users=60", "catalogue.videos=7248"])
FIT = load_fit(None)


def fit_with(low, high, *untold):
    estimates = [e._replace(low=low, high=high) if e.name == "interests.intent_sd" else e for e in FIT.estimates]
    return FIT._replace(estimates=tuple(estimates), untold=untold)


@pytest.fixture(scope="module")
def found():
    """No passing interests and the far end, all else as it is. The far end is 3 logit whatever is shipped: over seven
    seeds the gain lay 9 to 20 standard errors from 0 at this size."""
    asked = asked_of(SMALL, fit_with(0.5, 1.5))
    few = asked._replace(strengths=(0.0, 3.0), half_lives=(asked.usual.half_life_min,), dims=(asked.usual.dims,))
    return ask(few, SMALL, minutes=6.0, replications=10)


def test_the_bound_and_what_agrees_are_the_fits():
    assert intents_that_agree(fit_with(0.51234, 1.6)) == Agreeing(0.512, 1.6, FIT.log)
    none = "interests.intent_sd: not excluded: 0 (squared errors +0.1); at most 1.6"
    assert intents_that_agree(fit_with(0.5, 1.6, "other", none)).low == 0.0
    asked = asked_of(Scenario(), fit_with(0.5, 1.6))
    assert asked.strengths == tuple(pytest.approx(1.6 * x) for x in OF_THE_BOUND) and asked.strengths[-1] == 3.2
    with pytest.raises(SettingError, match="has no interests"):
        intents_that_agree(FIT._replace(estimates=()))


def test_each_thing_is_varied_about_the_scenario_at_every_strength():
    asked = asked_of(Scenario(), FIT)
    own = Scenario().interests.intent_half_life_min, Scenario().catalogue.content_dims
    assert own[0] in asked.half_lives and own[1] in asked.dims and len(asked.half_lives) == len(asked.dims) == 3
    assert len(asked.people) == len(set(asked.people)) == len(asked.strengths) * (3 + 3 - 1)
    assert all(p.half_life_min == own[0] or p.dims == own[1] for p in asked.people)
    arms = arms_of(asked, Scenario())
    assert len({arm.label for arm in arms}) == len(arms) == len(asked.people) * 2 * 2 * 2
    for arm in arms:
        s = arm.scenario
        assumed = s.server.assumed_intent_sd, s.server.assumed_half_life_min
        if arm.label.endswith(TRUE):
            assert assumed == (s.interests.intent_sd, s.interests.intent_half_life_min)
        else:
            assert assumed == (Scenario().server.assumed_intent_sd, Scenario().server.assumed_half_life_min)
        assert (s.server.page_size, s.server.candidates) in ((6, 20), (50, 100))
    assert arms[0].scenario.interests.intent_sd == 0.0


def test_the_canary_wins_at_the_far_end(found):
    for page in PAGES:
        assert wins(found.canary(page)), page
        assert found.canary(page) == found.gain(found.asked.usual, page, TRUE, "valid_play")
        assert found.needed(page, TRUE, "valid_play") in (0.0, 3.0)
    assert not wins(None)


def test_gains_by_hand(found):
    values = {arm.label: block for arm, block in zip(found.result.arms, found.result.values, strict=True)}
    people = found.asked.usual
    for metric in SHOWN:
        cloud, phone = (
            next(v for k, v in values.items() if k.startswith(f"{name}, 6 of 20, sd 3,") and k.endswith(DEFAULT))
            for name in ("cloud_only", "reference_filter")
        )
        m = column_of(metric)
        assert found.gain(people, "6 of 20", DEFAULT, metric) == paired(cloud[:, m], phone[:, m])


def test_where_a_gain_begins_by_hand(found):
    strengths = (0.0, 1.0, 2.0, 3.0)

    def needed(*low):
        class Stub(type(found)):
            def gain(self, people, page, assumes, metric):
                d = paired(np.full(10, 2.0), np.full(10, 3.0))
                return d and d._replace(diff_pct_low=low[strengths.index(people.strength)])

        return Stub(found.asked._replace(strengths=strengths), found.result).needed("6 of 20", TRUE, "valid_play")

    assert needed(-1, -1, 1, 2) == 2.0
    assert needed(1, -1, -1, 2) == 3.0, "a gain that goes again does not count"
    assert needed(1, 1, 1, -1) is None
    assert needed(1, 1, 1, 1) == 0.0


def test_table_figure_and_json(found, tmp_path):
    table = must_be_true_table(found)
    assert table.row_count == len(PAGES) * (1 + 2) and "luck and people" in str(table.caption)
    said = verdicts(found)
    assert len(said) == 6 and sum("canary" in line and "as it must" in line for line in said) == 2
    must_be_true_figure(found, tmp_path / "x.png")
    pixels = np.asarray(Image.open(tmp_path / "x.png").convert("L"))
    assert pixels.shape[0] > 1000 and pixels.min() < 100 and pixels.max() == 255
    told = json.loads(json.dumps(must_be_true_json(found), allow_nan=False))
    assert all(told["canary"][page]["wins"] for page in PAGES)
    assert len(told["rows"]) == 2 * 2 * 2 * len(SHOWN)
    assert {row["strength"]: row["agrees_with_the_log"] for row in told["rows"]} == {0.0: False, 3.0: False}
    gain = found.gain(People(3.0, *found.asked.usual[1:]), "50 of 100", TRUE, "valid_play")
    (row,) = (r for r in told["rows"] if (r["strength"], r["page"], r["assumes"], r["metric"])
              == (3.0, "50 of 100", TRUE, "valid_play"))  # fmt: skip
    assert (row["gain_pct"], row["gain_low"]) == (gain.diff_pct, gain.diff_pct_low)


def test_the_command_refuses_before_it_runs(capsys):
    assert cli.main(["must-be-true", "--replications", "9"]) == 2
    assert "replications=9 must be >= 10" in capsys.readouterr().err


@pytest.mark.long
def test_the_command(capsys, tmp_path):
    few = ["must-be-true", "--users", "2", "--minutes", "1", "--replications", "10", "--workers", "1",
           "--set", "catalogue.videos=7248", "--set", "sessions.leave_per_min=0.5"]  # fmt: skip
    assert cli.main([*few, "--out", str(tmp_path / "a"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["people"] == 2
    assert (tmp_path / "a" / "must_be_true.png").is_file()
