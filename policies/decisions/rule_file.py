"""A file of decision rules, read and checked: docs/decision-rules.md has its words. A stranger may have written it.

It is data: its conditions reach features and nothing else, and it names neither files nor code. Whatever is wrong ends
in one line that names file, line and rule. Called by `policies/by_name.py` and `nextone rules`.
"""

import hashlib
import re
from pathlib import Path
from typing import Any, Literal, NamedTuple

from nextone.policies.names import CLOUD_ONLY, NAMES, SHIPPED, how_of, split_name
from nextone.sim.inputs.errors import UserError, fail, short
from nextone.sim.inputs.files import Limits, content, decoded
from nextone.sim.scenario import SettingError, nearest, read_toml

from .conditions import Condition, ConditionError, condition
from .features import FEATURES, MODEL_FEATURES
from .sequences import Sequence, sequence

Action = Literal["rerank", "ask", "swap", "hold"]
ACTIONS: dict[Action, str] = {
    "rerank": "reranks",
    "ask": "asks the cloud for a page",
    "swap": "brings forward the first video that is on the phone",
    "hold": "holds still",
}
LIMITS = Limits(1_000_000, 0, "a rule file has some dozens of lines")
MOST_BYTES, MOST_RULES = 64_000, 50
MOST_NAME = 60
MOST_COUNT = 10**6


class Rule(NamedTuple):
    """One rule, checked."""

    name: str
    priority: int  # higher first; of equal ones, the one that stands first in the file
    condition: Condition
    sequence: Sequence | None
    action: Action
    by: str  # the policy that ranks, for `rerank`
    most_per_session: int | None
    not_within_s: float | None  # of its own last time, in the same session
    not_within_impressions: int | None

    def sentence(self) -> str:
        """The rule in plain English."""
        when = [] if self.condition.words == "always" else [self.condition.words]
        when += [f"the last impressions had {self.sequence.words}"] if self.sequence else []
        start = f"When {', and '.join(when)}" if when else "At every decision"
        does = ACTIONS[self.action] + (f" by {self.by}" if self.by else "")
        caps = [
            "" if self.most_per_session is None
            else "at most once a session" if self.most_per_session == 1
            else f"at most {self.most_per_session} times a session",
            f"not within {self.not_within_s:g} s of its last time" if self.not_within_s is not None else "",
            f"not within {self.not_within_impressions} impressions of its last time"
            if self.not_within_impressions is not None else "",
        ]  # fmt: skip
        return ", ".join([f"{start}, the phone {does}", *filter(None, caps)]) + "."


class RuleFile(NamedTuple):
    """A file of rules, checked."""

    path: Path
    sha256: str
    rules: tuple[Rule, ...]  # the highest priority first
    model: str  # the policy whose scores conditions may name; empty: none
    interruptions_per_session: int | None  # reranks, asks and swaps together
    about: str

    @property
    def policies(self) -> tuple[str, ...]:
        """The names of policies that it needs, each once."""
        return tuple(dict.fromkeys(filter(None, (self.model, *(rule.by for rule in self.rules)))))

    @property
    def names(self) -> frozenset[str]:
        """The features that its conditions name."""
        return frozenset().union(*(rule.condition.names for rule in self.rules))


def read_rules(path: Path) -> RuleFile:
    """Read a file of rules. Raises UserError, one line."""
    data = content(path, LIMITS).data
    text = decoded(content(path, LIMITS)).decode()
    if len(data) > MOST_BYTES:
        fail(path, f"has {len(data):,} bytes, at most {MOST_BYTES:,}; {LIMITS.remedy}")
    try:
        table = read_toml(path)
    except SettingError as error:
        raise UserError(str(error).replace("scenario file", "file")) from None
    lines = [number for number, line in enumerate(text.splitlines(), 1) if re.match(r"\s*\[\[\s*rule\s*\]\]", line)]
    try:
        _words(table, TOP)
        given = table.get("rule", [])
        if not 1 <= len(given) <= MOST_RULES or not all(isinstance(each, dict) for each in given):
            raise UserError(f"must have 1 to {MOST_RULES} tables [[rule]]")
        model = _policy(table["model"], "model") if "model" in table else ""
    except UserError as error:
        fail(path, str(error))
    rules: list[Rule] = []
    for number, each in enumerate(given):
        try:
            rules.append(_rule(each, model))
            if sum(rule.name == rules[-1].name for rule in rules) > 1:
                raise UserError("has the name of another rule; give each its own")
        except UserError as error:
            named = each.get("name")
            which = repr(short(named, MOST_NAME)) if isinstance(named, str) else str(number + 1)
            fail(path, f"rule {which}: {error}", lines[number] if number < len(lines) else None)
    rules.sort(key=lambda rule: -rule.priority)
    networks = {split_name(rule.by)[0] for rule in rules} - {""}
    if len(networks) > 1:
        fail(path, f"reranks by {' and '.join(sorted(networks))}; one network a file, since phones download one model")
    return RuleFile(
        path, hashlib.sha256(data).hexdigest(), tuple(rules), model, table.get("interruptions_per_session"),
        table.get("about", ""),
    )  # fmt: skip


class _Word(NamedTuple):
    """What may stand behind a word of the file."""

    kinds: tuple[type, ...]
    low: float = 0
    high: float = MOST_COUNT


TOP = {
    "about": _Word((str,), 0, 2_000), "model": _Word((str,)), "interruptions_per_session": _Word((int,)),
    "rule": _Word((list,)),
}  # fmt: skip
WORDS = {
    "name": _Word((str,), 1, MOST_NAME), "when": _Word((str,)), "sequence": _Word((list,)), "within": _Word((int,)),
    "then": _Word((str,)), "by": _Word((str,)), "priority": _Word((int,), -MOST_COUNT),
    "most_per_session": _Word((int,), 1), "not_within_s": _Word((int, float)), "not_within_impressions": _Word((int,)),
}  # fmt: skip
SAID = {str: "text", int: "a whole number", float: "a number", list: "an array"}


def _words(table: dict[str, Any], known: dict[str, _Word]) -> None:
    """Raises UserError for a word that is not known, or has a value of a wrong type or size."""
    for name, value in table.items():
        if name not in known:
            raise UserError(f"unknown word {short(name, 60)!r}{nearest(name, tuple(known))}")
        word = known[name]
        if isinstance(value, bool) or not isinstance(value, word.kinds):
            raise UserError(f"{name}={_shown(value)} must be {SAID[word.kinds[-1]]}")
        if isinstance(value, str) and not word.low <= len(value) <= word.high:
            raise UserError(f"{name} has {len(value):,} characters, must have {word.low:g} to {word.high:g}")
        if isinstance(value, (int, float)) and not word.low <= value <= word.high:
            raise UserError(f"{name}={_shown(value)} must be {word.low:,g} to {word.high:,g}")


def _shown(value: object) -> str:
    try:
        return short(value, 40)
    except ValueError:  # Python writes no number of thousands of digits
        return "a huge number"


def _rule(given: dict[str, Any], model: str) -> Rule:
    _words(given, WORDS)
    for word in ("name", "then"):
        if word not in given:
            raise UserError(f"{word} is missing")
    if not given["name"].isprintable():
        raise UserError("name must be one printable line")
    if "when" not in given and "sequence" not in given:
        raise UserError("when is missing; write a condition, or a sequence")
    action = given["then"]
    if action not in ACTIONS:
        raise UserError(f"then={short(action, 40)!r}{nearest(action, tuple(ACTIONS))}")
    if (action == "rerank") != ("by" in given):
        raise UserError('by="POLICY" goes with then="rerank", and with nothing else')
    if ("within" in given) != ("sequence" in given):
        raise UserError("within goes with a sequence: among how many impressions it must lie")
    return Rule(
        given["name"], given.get("priority", 0), _condition(given.get("when", "true"), model),
        sequence(given["sequence"], given["within"]) if "sequence" in given else None,
        action, _policy(given["by"], "by") if "by" in given else "",
        *(given.get(word) for word in ("most_per_session", "not_within_s", "not_within_impressions")),
    )  # fmt: skip


def _condition(text: str, model: str) -> Condition:
    features = {feature.name: feature for feature in FEATURES}
    of_model = {feature.name: feature for feature in MODEL_FEATURES}
    try:
        found = condition(text, features | of_model)
    except ConditionError as error:
        raise UserError(f"when: {error}") from None
    if found.names & of_model.keys() and not model:
        name = min(found.names & of_model.keys())
        raise UserError(f'when: {name} needs a model; write model = "tag_momentum" on top')
    return found


def _policy(name: str, word: str) -> str:
    """A policy that a rule file may name: it comes with the package, runs compiled, and only ranks."""
    kind, folder, how = split_name(name)
    chosen, given = how_of(how), f"{word}={short(name, 60)!r}"
    if name in RANKERS and kind != "edgerec":
        return name
    if kind not in SHIPPED or folder:
        raise UserError(f"{given} must be a policy of the package{nearest(name, RANKERS)}")
    if chosen.engine is not None:
        raise UserError(f"{given}: leave @{chosen.engine} out; rules rank with compiled networks")
    if chosen.ask:
        raise UserError(f'{given}: leave @ask out; a rule asks by then="ask"')
    if word == "model" and kind == "edgerec":
        raise UserError(f"{given} scores only at its own triggers; take {', '.join(MODELS)}")
    return name


RANKERS = (*(name for name in NAMES if name != CLOUD_ONLY), *SHIPPED)
MODELS = tuple(name for name in RANKERS if name != "edgerec")
