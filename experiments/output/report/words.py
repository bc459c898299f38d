"""What reports say of any run: what it was made of, and which settings were changed."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nextone.experiments.runs.arms import Arm
from nextone.experiments.runs.names import listing, quoted
from nextone.sim.config import Scenario
from nextone.sim.scenario import setting_text

from .page import Cell, Section, Table


def made_of(provenance: Mapping[str, Any]) -> Section:
    """Versions, window and digests of all files that the numbers depend on."""
    rows = [
        [Cell(name), Cell(str(provenance[name]))]
        for name in ("version", "semantics", "seed", "replications", "minutes", "days", "engine", "folder")
        if provenance.get(name) not in (None, "")
    ]
    rows += [[Cell(name), Cell(number)] for name, number in provenance.get("libraries", {}).items()]
    rows += [
        [Cell(f"{what}: {file}"), Cell(digest)]
        for what, files in provenance.get("inputs", {}).items()
        for file, digest in files.items()
    ]
    text = "What it takes to run it again, and the first 32 digits of the SHA-256 of each file that was read."
    return Section("What it was made of", (text,), table=Table(("", ""), rows, 2), folded=True)


def changed(base: Scenario, shipped: Scenario | None = None) -> Iterator[str]:
    """`section.field=value` of every field that differs from another scenario, the shipped one unless given."""
    shipped = shipped or Scenario()
    for section in Scenario.model_fields:
        own = getattr(base, section)
        for field in type(own).model_fields:
            value = getattr(own, field)
            if value != getattr(getattr(shipped, section), field):
                yield f"{section}.{field}={setting_text(value)}"


def asked_arms(arms: Sequence[Arm]) -> Iterator[str]:
    """The words of a command that give these arms, whose policies have names, and the scenario of the first."""
    base = arms[0]
    plain = [arm for arm in arms if arm.label == arm.policy and arm.scenario == base.scenario]
    yield from ("--policies", listing(arm.label for arm in plain))
    for arm in arms:
        if arm not in plain:
            told = [f"{arm.label}={quoted(str(arm.policy))}", *changed(arm.scenario, base.scenario)]
            yield from ("--arm", " ".join(told))
    for text in changed(base.scenario):
        yield from ("--set", text)
