"""A scenario as text: TOML files, `section.field=value` settings, and the whole scenario written out with its sources.

Everything that a user can write about the world is read here. Every mistake becomes one SettingError in one line: where
it is, the name, the value, the rule, and what to do. Nothing is executed. It knows no number of `Scenario`.
"""

import difflib
import inspect
import json
import math
import os
import re
import stat
import textwrap
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from nextone.sim.inputs.errors import UserError

from .config import SIGNS, Scenario, rules_of, said_of
from .inputs.scenario_paths import beside, changes, digests, seen_from, with_paths
from .plausible import about_plausible

MAX_FILE_BYTES = 1 << 20
MAX_LINE = 4096  # tomllib takes quadratic time over one key of many dots: a line of 1 MB would hang
DIGESTS = "digests"  # the section of a saved scenario that tells which files it was saved with
MAX_WHOLE = 1 << 53  # beyond it a float and an int64 no longer mean the same number

NAMED: dict[str, tuple[str, ...]] = {
    "kir": ("server.page_size=6", "server.candidates=20"),
    "edgerec": ("server.page_size=50", "server.candidates=100", "server.feature_lag_s=60"),
    "strong_intent": ("interests.intent_sd=1.52", "server.assumed_intent_sd=1.52"),
}
"""Scenarios with names, as settings over the defaults: Kuaishou's case and Taobao's as published (EdgeRec's page of 50,
behaviour seen after a minute), and the strongest intents that the shipped fit's interval holds, known to the cloud."""
NOTHING_TO_PERCEIVE = (
    "interests.intent_sd=0", "server.assumed_intent_sd=0", "interests.reinforcement=0", "interests.satiation=0",
    "interests.mood_sd=0", "server.taste_correlation=1", "server.person_correlation=1",
)  # fmt: skip
"""A null world: nothing passes, and the cloud knows what lasts of a person. What it does not know of a video or a match
is drawn for each video apart, and no behaviour tells of it."""


class SettingError(UserError):
    """A setting, file or argument of the user cannot be used. The message is one line of at most 500 characters."""

    def __init__(self, message: str) -> None:
        line = "".join(c if c.isprintable() else " " for c in " ".join(message.split()))
        super().__init__(line if len(line) <= 500 else line[:497] + "...")


def load_scenario(path: str | os.PathLike[str]) -> Scenario:
    """Read a scenario: a name that ships (`NAMED`), or a TOML file. What it omits keeps its default.

    A path in the file is relative to the file, or, if nothing is there, to the working folder. Raises SettingError,
    which names file and line; also if the file holds digests of other files (`saved_scenario`) and one has changed."""
    if str(path) in NAMED:
        return with_settings(Scenario(), NAMED[str(path)])
    text = _read(Path(path))
    where = f"{path}:"
    try:
        table = _parse(text)
        held = table.pop(DIGESTS, None)
        scenario = with_paths(_validated(_given(table), {}), lambda written: beside(written, Path(path).parent))
        if held is not None:
            _check_digests(held, scenario)
        return scenario
    except _Located as error:
        line = error.line or _line_of(text, error.names)
        raise SettingError(f"{where}{line}: {error}") from None


def with_settings(scenario: Scenario, settings: Sequence[str] | Mapping[str, object]) -> Scenario:
    """A copy of the scenario with these settings changed, checked as a whole. Raises SettingError.

    settings: texts, `section.field=value`, or values by name, {"section.field": value}."""
    given: dict[tuple[str, str], object] = {}
    for name, value in _named(settings):
        if name in given:
            raise SettingError(f"{'.'.join(name)} is set twice; give it once")
        given[name] = value
    return _validated(given, scenario.model_dump())


def scenario_from(text: str) -> Scenario:
    """The scenario that `scenario_toml` wrote, perhaps in another version. Raises SettingError for unknown settings."""
    return _validated(_given(_parse(text)), {})


def read_toml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The tables of another TOML file of ours. Raises SettingError that names file and line."""
    try:
        return _parse(_read(Path(path)))
    except _Located as error:
        raise SettingError(f"{path}:{error.line or 1}: {error}") from None


def setting_text(value: object) -> str:
    """A value as settings and TOML files write it: what `section.field=...` reads back equal."""
    return _toml(value)


def scenario_toml(scenario: Scenario, comments: bool = True) -> str:
    """The whole scenario as TOML, which `load_scenario` reads back as an equal one. Comments give the meaning, unit,
    bounds and source of each setting, and the plausible range of an assumed one."""
    blocks = []
    for section, model in _sections().items():
        values = getattr(scenario, section)
        lines = _comment(inspect.cleandoc(model.__doc__ or ""), comments) + [f"[{section}]"]
        for name, field in model.model_fields.items():
            lines += _comment(_about(field), comments) + [f"{name} = {_toml(getattr(values, name))}"]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n"


def saved_scenario(scenario: Scenario, folder: Path, comments: bool = True) -> str:
    """`scenario_toml` for a file in this folder: paths relative to it, and digests of the files they point to.

    Raises TraceError if a path has no files."""
    text = scenario_toml(with_paths(scenario, lambda path: seen_from(path, folder)), comments)
    for what, files in digests(scenario).items():
        lines = [f"{_toml(name)} = {_toml(digest)}" for name, digest in files.items()]
        text += "\n".join([f"\n[{DIGESTS}.{_toml(what)}]", *lines]) + "\n"
    return text


def nearest(name: str, known: Sequence[str], prefix: str = "") -> str:
    """`; did you mean X?` or `; known: ...`, to end a message about an unknown name."""
    close = difflib.get_close_matches(name[:100].lower(), known, n=1, cutoff=0.55)
    return f"; did you mean {prefix}{close[0]}?" if close else f"; known: {', '.join(known)}"


class _Located(SettingError):
    """A SettingError that knows which names it is about, so that a file's line can be found."""

    def __init__(self, message: str, *names: str, line: int = 0) -> None:
        super().__init__(message)
        self.names = names
        self.line = line


def _read(path: Path) -> str:
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):
            raise SettingError(f"{path}:1: is not a file; give a TOML scenario file")
        if about.st_size > MAX_FILE_BYTES:
            raise SettingError(f"{path}:1: has {about.st_size:,} bytes, more than {MAX_FILE_BYTES:,}; not a scenario")
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SettingError(f"{path}:{line}: is not UTF-8 text; give a TOML scenario file") from None
    except (OSError, ValueError) as error:
        if isinstance(error, SettingError):
            raise
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise SettingError(
            f"scenario file {str(path)[:200]!r}: {reason}; give a TOML file that can be read, or {', '.join(NAMED)}"
        ) from None
    for number, line_text in enumerate(text.splitlines(), start=1):
        if len(line_text) > MAX_LINE:
            raise SettingError(f"{path}:{number}: line of {len(line_text):,} characters; at most {MAX_LINE:,}")
    return text


def _parse(text: str) -> dict[str, object]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        found = re.search(r"\(at line (\d+), column \d+\)", message)
        line = int(found[1]) if found else text.count("\n") + 1
        reason = re.sub(r" *\(at [^)]*\)", "", message)
        raise _Located(f"not TOML: {reason}; write [section] and field = value lines", line=line) from None
    except RecursionError:
        raise _Located("nested too deeply; a scenario has sections and fields, nothing deeper") from None
    except ValueError as error:  # a number of thousands of digits
        raise _Located(f"not TOML: {error}; write a smaller number") from None


def _check_digests(held: object, scenario: Scenario) -> None:
    """Raises _Located if a file that the scenario points to is not the one that it was saved with."""
    good = isinstance(held, dict) and all(isinstance(files, dict) for files in held.values())
    if not (good and isinstance(held, dict)):
        raise _Located("digests must be sections of names and digests, as nextone scenario writes them", DIGESTS)
    for wrong in changes(held, digests(scenario)):
        name = f"{DIGESTS}.{wrong.what}.{wrong.file}"
        raise _Located(
            f"{wrong} since this scenario was saved; put the file back, or delete the section {DIGESTS} to accept it",
            name, f"{DIGESTS}.{wrong.what}", DIGESTS,
        )  # fmt: skip


def _given(table: Mapping[str, object]) -> dict[tuple[str, str], object]:
    given: dict[tuple[str, str], object] = {}
    for section, fields in table.items():
        if section not in _sections():
            raise _Located(f"unknown section [{section}]{nearest(section, tuple(_sections()))}", section)
        if not isinstance(fields, dict):
            raise _Located(f"{section}={_shown(fields)} must be a section; write [{section}] and its fields", section)
        given |= {(section, name): value for name, value in fields.items()}
    return given


def _setting(text: str) -> tuple[tuple[str, str], object]:
    """`section.field=value` taken apart; the value is a TOML number, array, string or a bare word."""
    name, equals, value = (part.strip() for part in text.partition("="))
    if not equals or not all(name.partition(".")):
        raise SettingError(f"setting {_shown(text)} must read section.field=value, for example server.page_size=8")
    if len(value) > MAX_LINE or not value.isprintable():
        raise SettingError(f"{name}={_shown(value)} must be one printable line of at most {MAX_LINE:,} characters")
    try:
        parsed = _parse(f"value = {value}")
    except SettingError:
        if not value or value[0] in "\"'[{":
            raise SettingError(f"{name}={_shown(value)} is no TOML value; write a number, a word or [a, b]") from None
        parsed = {"value": value}
    return _name(name), parsed["value"]


def _named(settings: Sequence[str] | Mapping[str, object]) -> Iterator[tuple[tuple[str, str], object]]:
    """((section, field), value) of each setting."""
    if isinstance(settings, Mapping):
        yield from ((_name(name), value) for name, value in settings.items())
    else:
        yield from map(_setting, settings)


def _name(text: object) -> tuple[str, str]:
    """(section, field) of `section.field`."""
    section, _, field = text.partition(".") if isinstance(text, str) else ("", "", "")
    if not section or not field:
        raise SettingError(f"setting {_shown(text)} must be named section.field, for example server.page_size")
    return section, field


def _validated(given: Mapping[tuple[str, str], object], base: Mapping[str, dict[str, object]]) -> Scenario:
    merged = {section: dict(base.get(section, {})) for section in _sections()}
    for (section, name), value in given.items():
        field = _field(section, name)
        _check_kind(f"{section}.{name}", value, field)
        merged[section][name] = value
    try:
        return Scenario.model_validate(merged)
    except ValidationError as error:
        raise _explained(error) from None
    except (ArithmeticError, TypeError) as error:  # a validator of ours that met a number it did not expect
        raise _Located(f"settings do not fit together: {error}") from None


def _field(section: str, name: str) -> FieldInfo:
    sections = _sections()
    if section not in sections:
        raise _Located(f"unknown section in {section}.{name}{nearest(section, tuple(sections))}", section)
    fields = sections[section].model_fields
    if name in fields:
        return fields[name]
    elsewhere = [f"{other}.{name}" for other, model in sections.items() if name in model.model_fields]
    hint = f"; did you mean {elsewhere[0]}?" if elsewhere else nearest(name, tuple(fields), f"{section}.")
    raise _Located(f"unknown setting {section}.{name}{hint}", f"{section}.{name}", section)


def _check_kind(name: str, value: object, field: FieldInfo) -> None:
    """Strict about types where pydantic would convert (true is not 1, "0.5" is not 0.5), and about NaN."""

    def wrong(rule: str) -> _Located:
        return _Located(f"{name}={_shown(value)} must be {rule}; the default is {_toml(field.get_default())}", name)

    kind = field.annotation
    if kind is float and not _is_number(value):
        raise wrong("a number")
    if kind is int and (isinstance(value, bool) or not isinstance(value, int)):
        raise wrong("a whole number")
    if kind is bool and not isinstance(value, bool):
        raise wrong("true or false")
    if kind is str and not (isinstance(value, str) and value.isprintable()):
        raise wrong("a printable string")
    if get_origin(kind) is Literal and value not in get_args(kind):
        choices = tuple(str(choice) for choice in get_args(kind))
        hint = nearest(value, choices) if isinstance(value, str) else ""
        raise wrong(f"one of {', '.join(choices)}" + (hint if "did you mean" in hint else ""))
    if get_origin(kind) is tuple:
        size = len(get_args(kind))
        if isinstance(value, list) and len(value) != size:
            raise wrong(f"an array of {size} numbers, or one number for all of them")
        for part in value if isinstance(value, list | tuple) else (value,):
            if not _is_number(part):
                raise wrong("a number or an array of numbers")
    for part in value if isinstance(value, list | tuple) else (value,):
        if isinstance(part, float) and math.isnan(part):
            raise wrong("a number, not NaN")
        if isinstance(part, int) and abs(part) > MAX_WHOLE:
            raise wrong("a number of ordinary size")


def _explained(error: ValidationError) -> _Located:
    """The first of pydantic's complaints in our words: name=value, the rule and the remedy."""
    first = error.errors(include_url=False)[0]
    place = tuple(str(part) for part in first["loc"])
    cause = first.get("ctx", {}).get("error")
    text = str(cause) if first["type"] == "value_error" and cause is not None else first["msg"]
    section, name = (*place, "", "")[:2]
    field = _sections()[section].model_fields.get(name) if section in _sections() else None
    if field is None:  # a rule across fields says itself what it is about
        return _Located(text, *re.findall(r"\b[a-z]+\.[a-z]\w*", text), *place)
    full = f"{section}.{name}"
    rule = f"must be {bounds(field)}" if first["type"] in _BOUND_ERRORS else text
    meaning = f"{full}={_shown(first['input'])} {rule} ({_meaning(field)})"
    return _Located(f"{meaning}; the default is {_toml(field.get_default())}", full, section)


_BOUND_ERRORS = {"greater_than", "greater_than_equal", "less_than", "less_than_equal"}


def _sections() -> dict[str, type[BaseModel]]:
    kinds = {name: field.annotation for name, field in Scenario.model_fields.items()}
    return {name: kind for name, kind in kinds.items() if isinstance(kind, type) and issubclass(kind, BaseModel)}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _shown(value: object) -> str:
    text = _toml(value) if isinstance(value, int | float | list | tuple) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value) if abs(value) < 10**30 else f"{'-' if value < 0 else ''}a number of over 30 digits"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list | tuple):
        return f"[{', '.join(_toml(part) for part in value)}]"
    return repr(value)


def _meaning(field: FieldInfo) -> str:
    unit = said_of(field).get("unit")
    return f"{field.description or ''}{f' [{unit}]' if unit else ''}".strip()


def bounds(field: FieldInfo) -> str:
    """`>= 1 and <= 100`, of the number or of each entry of a list; empty without bounds."""
    return " and ".join(f"{SIGNS[sign]} {_plain(limit)}" for sign, limit in rules_of(field).items())


def _plain(limit: object) -> str:
    return f"{int(limit):,}" if isinstance(limit, int | float) and limit == int(limit) else str(limit)


def _about(field: FieldInfo) -> str:
    kind = field.annotation
    rule = f"one of {', '.join(map(str, get_args(kind)))}" if get_origin(kind) is Literal else bounds(field)
    parts = (_meaning(field), rule, str(said_of(field).get("source", "")), about_plausible(field))
    return ". ".join(part for part in parts if part)


def _comment(text: str, wanted: bool) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(text, 110, break_on_hyphens=False)] if wanted else []


def _line_of(text: str, names: Sequence[str]) -> int:
    """The line (from 1) that gives the first of the names that the file gives; 1 if none."""
    lines: dict[str, int] = {}
    for number, name in _named_lines(text):
        lines.setdefault(name, number)
    return next((lines[name] for name in names if name in lines), 1)


def _named_lines(text: str) -> Iterator[tuple[int, str]]:
    """(line, name) for every `[section]` and `key =` of a TOML text, the key with its section in front."""
    section = ""
    for number, line in enumerate(text.split("\n"), start=1):
        header = re.match(r"\s*\[+([^\]=]*)\]", line)
        key = re.match(r"\s*([^=#\[]+?)\s*=", line)
        if header:
            section = _bare(header[1])
            yield number, section.split(".")[0]
            yield number, section
        elif key:
            name = _bare(key[1])
            full = f"{section}.{name}" if section else name
            yield number, full
            yield number, ".".join(full.split(".")[:2])
            yield number, full.split(".")[0]


def _bare(key: str) -> str:
    return ".".join(part.strip().strip("\"'") for part in key.split("."))
