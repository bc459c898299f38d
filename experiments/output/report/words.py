"""What reports say of any run: what it was made of, and which settings were changed."""

from collections.abc import Iterator, Mapping
from typing import Any

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
