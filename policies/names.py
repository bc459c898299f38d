"""The names of policies, and what they stand for. `by_name.py` makes policies of them."""

import difflib
import os
import re
from pathlib import Path
from typing import NamedTuple

from nextone.sim.inputs.errors import UserError

CLOUD_ONLY = "cloud_only"
NAMES = (CLOUD_ONLY, "server_score", "tag_momentum", "buffered_first", "random", "longest_first")
SHIPPED = ("edgerec", "kir", "context_aware")
"""Edge networks whose checkpoint comes with the package: a bare name plays it."""
RL = "rl"
BARE = (*SHIPPED, RL)
"""All whose checkpoint comes with the package; what `nextone train rl` trained is no edge network of a system."""
RULES = "rules"
"""`rules:FILE.toml` plays the decision rules of a file, `rules:NAME` those that come with the package."""
TASK = "task"
"""`task:DIR` plays a task, a network and rules in a folder that `nextone task pack` made."""
SHIPPED_RULES = Path(__file__).parent / "decisions" / "shipped"
KINDS = (*SHIPPED, "dnn", "dlcm")
"""Networks of `nextone train KIND`; `edgerec:results/edgerec` plays a checkpoint of one's own."""
ENGINES = {"onnx": "onnxruntime", "mnn": "MNN", "tflite": "ai-edge-litert"}
"""What may run a network on a phone, `kir@mnn`, and the package that does."""
OWN = re.compile(r"(?P<file>.+\.py):(?P<name>[^\W\d]\w*)")
OPTION = re.compile(
    rf"(?P<engine>{'|'.join(ENGINES)})|k=(?P<beams>[1-9]\d?)|every=(?P<every>[1-9]\d?\d?)|(?P<ask>ask)|(?P<per_second>per_second)"
)
"""What may stand after an @ behind a network's name; several in any order, each once: `edgerec@every=5@tflite`."""
OPTIONS_OF = {
    "context_aware": {"beams": "k=1 to k=99, the beams of its search"},
    "edgerec": {
        "every": "every=1 to every=999, impressions without feedback after which it reranks",
        "ask": "ask, to ask for a page when its heads say so",
    },
    "kir": {"per_second": "per_second, to rank by what is worth most for each second of play"},
}
"""Options that only one kind has, and what they mean."""
TFLITE_FOLDER = "tflite_"
"""How the name of a folder begins that lies in a checkpoint's and holds its .tflite files."""


class How(NamedTuple):
    """How a network is run, as its name says after @; None: as usual."""

    engine: str | None = None  # one of ENGINES
    beams: int | None = None  # of the context-aware search
    every: int | None = None  # impressions without feedback that make EdgeRec rerank
    ask: bool = False  # whether EdgeRec's heads ask for pages
    per_second: bool = False  # whether KIR ranks by what a video is worth per second of play


AS_USUAL = How()


class EngineMissing(UserError):
    """The packages of the extra `edge` or `convert` are not installed."""


class UnknownPolicy(ValueError):
    """No policy has that name; the message suggests the nearest."""


def policy_names() -> tuple[str, ...]:
    """The baseline, and policies that need no training."""
    return NAMES


def is_trained(name: str) -> bool:
    """Whether it stands for a checkpoint: `edgerec`, `edgerec:DIR`, `rl`, `rl:DIR`."""
    return name == RL or name.startswith(f"{RL}:") or split_name(name)[0] in KINDS


def shipped(kind: str) -> Path:
    """The folder of the checkpoint of this kind that comes with the package."""
    return Path(__file__).parent / "checkpoints" / kind


def is_rules(name: str) -> bool:
    """Whether it stands for decision rules: `rules:FILE.toml`, or some that come with the package, `rules:NAME`."""
    return name.startswith(f"{RULES}:") and (name.endswith(".toml") or name in shipped_rules())


def is_task(name: str) -> bool:
    """Whether it stands for a task: `task:DIR`."""
    return name.startswith(f"{TASK}:") and name != f"{TASK}:"


def is_made(name: str) -> bool:
    """Whether it stands for something that is read from files: a checkpoint, decision rules, a task."""
    return is_trained(name) or is_rules(name) or is_task(name)


def rules_path(name: str) -> Path:
    """The file of decision rules of that name."""
    given = name.removeprefix(f"{RULES}:")
    return Path(given) if given.endswith(".toml") else SHIPPED_RULES / f"{given}.toml"


def shipped_rules() -> tuple[str, ...]:
    """The decision rules that come with the package, by name."""
    return tuple(f"{RULES}:{file.stem}" for file in sorted(SHIPPED_RULES.glob("*.toml")))


def split_name(name: str) -> tuple[str, str, str]:
    """(kind, folder, how) of a name such as `kir:results/kir@mnn`; a part that is missing is empty. how: options, for
    `how_of`."""
    base, options = name, dict[str | None, str]()
    while found := OPTION.fullmatch(base.rpartition("@")[2]):
        left, at, option = base.rpartition("@")
        if not at or found.lastgroup in options:
            break
        base, options[found.lastgroup] = left, option
    kind, colon, folder = base.partition(":")
    whole = (colon and folder) or (not colon and kind in SHIPPED)
    others = {option for of, theirs in OPTIONS_OF.items() if of != kind for option in theirs}
    how = "@".join(reversed(options.values()))
    return (kind, folder, how) if kind in KINDS and whole and not others & options.keys() else ("", "", "")


def how_of(how: str) -> How:
    """The options "every=5@tflite" that `split_name` found behind a name."""
    found = [match for option in how.split("@") if (match := OPTION.fullmatch(option))]
    given = {str(match.lastgroup): match[str(match.lastgroup)] for match in found}
    numbers = {option: int(given[option]) for option in ("beams", "every") if option in given}
    return How(engine=given.get("engine"), ask="ask" in given, per_second="per_second" in given, **numbers)


def engine_of(name: str) -> str | None:
    """The engine that runs the network of that name, one of ENGINES; None: it runs compiled."""
    return how_of(split_name(name)[2]).engine


def options_told(kind: str) -> str:
    """Which options the name of a policy of that kind may have after @, for messages."""
    return ", ".join((f"an engine ({', '.join(ENGINES)})", *OPTIONS_OF.get(kind, {}).values()))


def folder_of(name: str) -> str:
    """The folder that a name gives for its checkpoint, or its file of rules; empty for shipped ones and for policies
    without any."""
    if is_rules(name):
        return str(rules_path(name)) if name.endswith(".toml") else ""
    if is_task(name):
        return name.removeprefix(f"{TASK}:")
    return name.removeprefix(f"{RL}:") if name.startswith(f"{RL}:") else split_name(name)[1]


def in_folder(name: str, home: str) -> str:
    """The name, with its folder seen from `home` if that is a relative path."""
    folder = folder_of(name)
    return name.replace(f":{folder}", f":{os.path.join(home, folder)}", 1) if folder else name


def own_file(name: str) -> tuple[str, str]:
    """(file, name in it) of `FILE.py:NAME`, a policy in a file of the user; both are empty for other names."""
    found = OWN.fullmatch(name)
    return (found["file"], found["name"]) if found else ("", "")


def unknown_name(name: str, known: tuple[str, ...]) -> str:
    """A line for messages that names the nearest known name, or all of them; or that says who may name code."""
    if own_file(name)[0]:
        return (
            f"policy {name[:100]!r} is code in a file: only --policies and --arm of nextone compare load such, never a "
            "file or another command; from Python, give the policy itself"
        )
    close = difflib.get_close_matches(name[:100].lower(), known, n=1, cutoff=0.5)
    return f"unknown policy {name[:60]!r}; " + (f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}")
