"""Tables of the reference that are made from the code: settings, metrics, policies, commands. Used by docs/conf.py."""

import re
import shlex
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import typer
from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from nextone.cli.main import app
from nextone.experiments.runs.metrics import LIMITS, METRICS, PRIMARY
from nextone.experiments.runs.names import MEANINGS
from nextone.policies.names import KINDS, options_told
from nextone.sim.config import Scenario, Section, said_of
from nextone.sim.scenario import bounds


class GeneratedTable(SphinxDirective):
    """A directive whose content is Markdown that `made` returns."""

    made: Callable[[], str]

    def run(self) -> list[nodes.Node]:
        self.env.note_reread()  # its page does not change when the code does
        return self.parse_text_to_nodes(self.made(), allow_section_headings=True)


def settings() -> str:
    """Every setting of a scenario by section: name, default with its unit, bounds, meaning, source."""
    parts = []
    for section, field in Scenario.model_fields.items():
        kind = field.annotation
        assert isinstance(kind, type) and issubclass(kind, Section)
        parts += [f"## `{section}`: {_line(kind.__doc__ or '').rstrip('.')}", ""]
        parts += _table(("setting", "default", "bounds", "meaning", "source"), _settings_of(section, kind)), ""
    return "\n".join(parts)


def _settings_of(section: str, kind: type[Section]) -> Iterator[tuple[str, ...]]:
    for name, field in kind.model_fields.items():
        said = said_of(field)
        yield (f"`{section}.{name}`", f"`{_shown(field.default)}` {said['unit']}", bounds(field) or "–",
               field.description or "", said["source"])  # fmt: skip


def _shown(value: object) -> str:
    return ", ".join(str(each) for each in value) if isinstance(value, tuple) else str(value) or "(empty)"


def metrics() -> str:
    """Every metric: name, unit, group, which direction is better, meaning."""
    arrows = {"more": "more", "fewer": "less", "neither": "depends"}
    rows = [
        (f"`{m.name}`" + " (primary)" * (m.name == PRIMARY), m.unit, m.group, arrows[m.better],
         m.meaning + (f"; guard rail: may get worse by {LIMITS[m.name]:g} %" if m.name in LIMITS else ""))
        for m in METRICS
    ]  # fmt: skip
    return _table(("metric", "unit", "group", "better", "meaning"), rows)


def policies() -> str:
    """Every policy, and the options that may follow its name after an @."""
    rows = ((f"`{name}`", meaning, options_told(name) if name in KINDS else "–") for name, meaning in MEANINGS.items())
    return _table(("policy", "what it does", "options after @"), rows)


def commands() -> str:
    """Every command with its options, as `--help` says them."""
    return "\n".join(_command("nextone", typer.main.get_command(app)))


def _command(words: str, command: Any) -> Iterator[str]:
    """A command of click, or all below a group of them."""
    for name, child in getattr(command, "commands", {}).items():
        yield from _command(f"{words} {name}", child)
    if not hasattr(command, "commands"):
        shown = [each for each in command.params if not getattr(each, "hidden", False)]
        yield from ("", f"## `{words}`", "", " ".join((command.help or "").split()), "")
        yield from (_table(("argument or option", "meaning"), [_option(each) for each in shown]), "")


def _option(parameter: Any) -> tuple[str, str]:
    names = [*parameter.opts, *parameter.secondary_opts]
    if parameter.param_type_name == "argument":
        names = [parameter.metavar or parameter.name.upper()]
    elif parameter.metavar:
        names = [f"{name} {parameter.metavar}" for name in names]
    default = parameter.default
    told = default is not None and not isinstance(default, bool) and not callable(default)
    text = re.sub(r" \[default: (.*)\]$", r" Default: \1.", _line(getattr(parameter, "help", None) or "–"))
    text += f" Default: `{shlex.quote(str(default))}`." * told
    return ", ".join(f"`{each}`" for each in names), text


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [heads, tuple("---" for _ in heads), *rows]
    return "\n".join("| " + " | ".join(each.replace("|", "\\|") for each in line) + " |" for line in lines)


def _line(text: str) -> str:
    """The first paragraph of a docstring, on one line."""
    return " ".join(text.strip().split("\n\n")[0].split())


TABLES = {"settings": settings, "metrics": metrics, "policies": policies, "commands": commands}
