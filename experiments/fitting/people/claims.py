"""What may be claimed: what answers depend on, and the basis and the ranges of every parameter, for the documentation.

    python -m nextone.experiments.fitting.people.claims docs/what-may-be-claimed.md

writes the page's last part from the shipped table of `nextone sensitivity` and from `sim/config.py`. A test checks that
the page is up to date.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple, get_args, get_origin

from pydantic.fields import FieldInfo

from nextone.experiments.questions.ranges import ends_of
from nextone.experiments.questions.sensitivity_file import Table, shipped_table, table_markdown
from nextone.sim.config import said_of
from nextone.sim.plausible import Plausible, end_text
from nextone.sim.scenario import bounds

from .domain import domain_of, entries, fields
from .fit_file import FitFile, load_fit

MARK = "<!-- written by python -m nextone.experiments.fitting.people.claims: do not edit below -->"
MEASURED_IN = ("KuaiRand", "pam2025", "bts", "sabre", "encodings")
UNTOLD = ("no public", "no licensed", "no data", "weakly identified")
MEANINGS = {
    "measured": "fitted to, or read off, public data; the scoreboard shows how well",
    "published": "stated in a paper or a talk about such a system",
    "assumed": "a choice; enter your own system's value if you know it, else vary it",
    "unidentifiable": "no public data bears on it; vary it widely before you believe an answer that depends on it",
}


class Parameter(NamedTuple):
    """A field of the scenario and where it comes from."""

    name: str
    value: str
    unit: str
    range: str
    domain: str  # within which claims hold
    plausible: str  # other values it might have, if it is assumed, or why it is not varied
    basis: str
    source: str


def parameters() -> Iterator[Parameter]:
    """Every field of the scenario, in order."""
    fit = load_fit(None)
    for name, field in fields():
        unit, source = (str(said_of(field)[what]) for what in ("unit", "source"))
        domain, plausible = _domain(name, field, fit.draws), _plausible(name, field, fit)
        yield Parameter(name, _value(field), unit, _range(field), domain, plausible, basis(source), source)


def basis(source: str) -> str:
    """measured, published, assumed or unidentifiable: by the words of the source."""
    if any(word in source for word in UNTOLD):
        return "unidentifiable"
    if source.startswith("Assumed:"):
        return "assumed"
    return "measured" if any(data in source for data in MEASURED_IN) else "published"


def claims_markdown() -> str:
    """What answers depend on, then the parameters by their basis, as Markdown."""
    every = list(parameters())
    parts = [depends_markdown(shipped_table())]
    for kind, meaning in MEANINGS.items():
        of_kind = [p for p in every if p.basis == kind]
        varied = any(p.plausible for p in of_kind)
        head, rule = ("| plausible ", "|---") if varied else ("", "")
        lines = [
            f"### {kind.capitalize()}: {len(of_kind)} of {len(every)} parameters",
            "",
            f"{meaning[0].upper()}{meaning[1:]}.",
            "",
            f"| parameter | default | unit | accepted | claims hold within {head}| where from |",
            f"|---|---|---|---|---{rule}|---|",
            *(
                f"| `{p.name}` | {p.value} | {p.unit} | {p.range} | {p.domain} "
                + (f"| {p.plausible} " if varied else "") + f"| {p.source} |" for p in of_kind
            ),
        ]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def depends_markdown(table: Table) -> str:
    """The table of `nextone sensitivity`, with a note if the scenario has changed since it was made."""
    now = {name: end_text(field.default) for name, field in fields()}
    changed = [f"`{row.setting}` ({row.default})" for row in table.rows if now.get(row.setting) != row.default]
    tables = "`nextone sensitivity` makes these tables. " + table_markdown(table).rstrip()
    lines = ["### What the answers depend on", "", tables]
    if changed:
        lines += ["", f"They were made with other defaults of {', '.join(changed)}: run the command again."]
    return "\n".join(lines)


def _plausible(name: str, field: FieldInfo, fit: FitFile) -> str:
    found = ends_of(name, field, field.default, fit)
    return f"{found}: {found.reason}" if isinstance(found, Plausible) else found and f"not varied: {found}"


def _value(field: FieldInfo) -> str:
    value = field.default
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _domain(name: str, field: FieldInfo, draws: tuple[dict[str, float], ...]) -> str:
    """Of each entry of a list, once if they are alike."""
    if isinstance(field.default, str):
        return _range(field) if get_origin(field.annotation) is Literal else "traces that `validate` was run with"
    each = [str(domain_of(entry, name, field, draws)) for entry, _ in entries(name, field.default)]
    return ", ".join(each[:1] if len(set(each)) == 1 else each)


def _range(field: FieldInfo) -> str:
    kind = field.annotation
    if get_origin(kind) is Literal:
        return " or ".join(map(str, get_args(kind)))
    return bounds(field) or ("any" if kind is str else "")


if __name__ == "__main__":
    page = Path(sys.argv[1])
    written, _, _ = page.read_text(encoding="utf-8").partition(MARK)
    page.write_text(f"{written}{MARK}\n\n{claims_markdown()}", encoding="utf-8")
