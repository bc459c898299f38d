"""The domain of the model: every number has a range of validity, and a setting outside it is told."""

import json

import pytest

from nextone.cli import main as cli
from nextone.experiments.fitting.people.domain import DAYS, NAMED, domain_of, entries, fields, limits, outside, warning
from nextone.experiments.fitting.people.fit_file import load_fit
from nextone.sim.config import Scenario
from nextone.sim.scenario import with_settings

DRAWS = load_fit(None).draws


def world(*settings):
    return with_settings(Scenario(), settings)


def test_every_number_has_a_domain_around_its_default_within_what_is_accepted():
    seen = set()
    for name, field in fields():
        seen.add(name)
        if isinstance(field.default, str):
            continue
        for entry, value in entries(name, field.default):
            domain, accepted = domain_of(entry, name, field, DRAWS), limits(field)
            assert domain.low <= domain.high and domain.holds(value), entry
            assert accepted.low <= domain.low and domain.high <= accepted.high, entry
    assert set(NAMED) <= seen
    assert outside(Scenario(), DRAWS, days=DAYS) == []


@pytest.mark.parametrize(
    ("settings", "setting"),
    [
        (["watching.stay=0"], "watching.stay"),  # fitted: -3.1 to -2.7
        (["feedback.like=0.2"], "feedback.like"),
        (["interests.intent_sd=4"], "interests.intent_sd"),  # bounded by a log
        (["sessions.stall_pain=5"], "sessions.stall_pain"),  # assumed: to four times
        (["server.candidates=60", "server.page_size=60"], "server.page_size"),
        (["network.constant_mbps=5"], "network.constant_mbps"),  # off by default
        (["feedback.long_ratio=[1.44, 1.35, 7.64, 3.65, 0.616, 25.0]"], "feedback.long_ratio.profile"),
    ],
)
def test_a_setting_outside_is_found(settings, setting):
    assert setting in [found.setting for found in outside(world(*settings), DRAWS)]


def test_a_longer_run_than_the_log_is_outside():
    assert [found.setting for found in outside(Scenario(), DRAWS, days=15)] == ["--days"]


def test_parameter_sets_of_another_fit_are_another_domain():
    moved = tuple(draw | {"watching.stay": draw["watching.stay"] + 3} for draw in DRAWS)
    assert outside(world(f"watching.stay={Scenario().watching.stay + 3}"), moved) == []
    assert [found.setting for found in outside(Scenario(), moved)] == ["watching.stay"]


def test_compare_warns_once_for_each_arm_and_says_so_in_json(capsys):
    arguments = ["compare", "--policies", "cloud_only", "--arm", "bad=random sessions.stall_pain=9", "--users", "3",
                 "--minutes", "1", "--engine", "batch", "--workers", "1", "--json"]  # fmt: skip
    assert cli.main(arguments) == 0
    out, err = capsys.readouterr()
    told = json.loads(out)["outside_domain"]
    assert told["cloud_only"] == [] and [found["setting"] for found in told["bad"]] == ["sessions.stall_pain"]
    assert err.splitlines() == [warning("bad", outside(world("sessions.stall_pain=9"), DRAWS))]
    assert "sessions.stall_pain=9 (0 to 2)" in err
