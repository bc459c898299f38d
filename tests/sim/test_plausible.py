"""What else an assumed setting might be: every one says it, or why not, and the world accepts both ends."""

import pytest

from nextone.experiments.fitting.people.domain import entries, fields
from nextone.sim.config import Scenario
from nextone.sim.plausible import AGREES, Plausible, is_assumed, plausible_of
from nextone.sim.scenario import scenario_toml, setting_text, with_settings

ASSUMED = {name: field for name, field in fields() if is_assumed(field)}
FOUND = {name: plausible_of(field, field.default) for name, field in ASSUMED.items()}


@pytest.mark.parametrize("name", [name for name, found in FOUND.items() if isinstance(found, Plausible)])
def test_the_default_lies_between_two_ends_that_the_world_accepts(name):
    found, default = FOUND[name], ASSUMED[name].default
    assert found.low != found.high and found.reason
    for end in (found.low, found.high):
        world = with_settings(Scenario(), [f"{name}={setting_text(end)}"])
        section, field = name.split(".")
        assert getattr(getattr(world, section), field) == end
    if isinstance(default, str):
        assert default in (found.low, found.high)
        return
    low, value, high = (dict(entries(name, x)) for x in (found.low, default, found.high))
    if not isinstance(default, tuple):
        assert all(low[entry] <= value[entry] <= high[entry] for entry in value)


def test_what_has_no_ends_says_why():
    without = {name: found for name, found in FOUND.items() if not isinstance(found, Plausible)}
    assert all(without.values())
    assert {"interests.intent_sd", "server.filter_use"} <= {name for name, found in without.items() if found == AGREES}
    measured = {name: field for name, field in fields() if not is_assumed(field)}
    assert measured and all(plausible_of(field, field.default) == "" for field in measured.values())


def test_the_rule_by_hand():
    chain, doublings = ASSUMED["server.chain_ms"], ASSUMED["client.backoff_doublings"]
    assert plausible_of(chain, 300.0)[:2] == (150.0, 600.0)
    assert plausible_of(doublings, 6)[:2] == (3, 12)


def test_the_scenario_written_out_says_them():
    text = " ".join(scenario_toml(Scenario()).replace("\n#", "").split())
    assert "Plausible: 0 to 0.2 (no fatigue, to a fifth of a logit" in text
    assert "Not varied: how many are simulated moves intervals" in text and AGREES in text
    assert "Plausible" not in scenario_toml(Scenario(), comments=False)
