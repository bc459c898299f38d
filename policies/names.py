"""Which names of policies there are, and what they stand for. `by_name.py` makes policies of them."""

import difflib
import os
import re
from pathlib import Path

from nextone.sim.inputs.errors import UserError

CLOUD_ONLY = "cloud_only"
NAMES = (CLOUD_ONLY, "server_score", "tag_momentum", "buffered_first", "random", "longest_first")
SHIPPED = ("edgerec", "kir", "context_aware")
"""Edge networks whose checkpoint comes with the package: a bare name plays it."""
KINDS = (*SHIPPED, "dnn", "dlcm")
"""Networks of `nextone train KIND`; `edgerec:results/edgerec` plays a checkpoint of one's own."""
ENGINES = {"onnx": "onnxruntime", "mnn": "MNN", "tflite": "ai-edge-litert"}
"""What may run a network on a phone, `kir@mnn`, and the package that does."""
TFLITE_FOLDER = "tflite_"
"""How the name of a folder begins that lies in a checkpoint's and holds its .tflite files."""


class EngineMissing(UserError):
    """The packages of the extra `edge` or `convert` are not installed."""


class UnknownPolicy(ValueError):
    """No policy has that name; the message suggests the nearest."""


def policy_names() -> tuple[str, ...]:
    """The baseline, and policies that need no training."""
    return NAMES


def is_trained(name: str) -> bool:
    """Whether it stands for a checkpoint: `edgerec`, `edgerec:DIR`, `rl:DIR`."""
    return name.startswith("rl:") or split_name(name)[0] in KINDS


def shipped(kind: str) -> Path:
    """The folder of the checkpoint that comes with the package."""
    return Path(__file__).parent / "checkpoints" / kind


def split_name(name: str) -> tuple[str, str, str]:
    """(kind, folder, how) of `kir:results/kir@mnn`: what is missing is empty.

    how: one of ENGINES, to run it; "k=3", beams of the context-aware search."""
    base, at, how = name.rpartition("@")
    if not at or not re.fullmatch(rf"{'|'.join(ENGINES)}|k=[1-9]\d?", how):
        base, how = name, ""
    kind, colon, folder = base.partition(":")
    whole = (colon and folder) or (not colon and kind in SHIPPED)
    fits = not how.startswith("k=") or kind == "context_aware"
    return (kind, folder, how) if kind in KINDS and whole and fits else ("", "", "")


def folder_of(name: str) -> str:
    """The folder that a name gives for its checkpoint; empty for shipped ones and for policies without any."""
    return name.removeprefix("rl:") if name.startswith("rl:") else split_name(name)[1]


def in_folder(name: str, home: str) -> str:
    """The name with its folder, if it is a relative one, taken as relative to `home`."""
    folder = folder_of(name)
    return name.replace(f":{folder}", f":{os.path.join(home, folder)}", 1) if folder else name


def unknown_name(name: str, known: tuple[str, ...]) -> str:
    """A line that names the nearest known name, or all of them."""
    close = difflib.get_close_matches(name[:100].lower(), known, n=1, cutoff=0.5)
    return f"unknown policy {name[:60]!r}; " + (f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}")
