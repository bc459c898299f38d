"""A checkpoint's network as files that a phone runs, with what they cost: parity, size, time of one person's inference.

Called by `nextone export`.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nextone.policies.checkpoint import CheckpointError, best_checkpoint
from nextone.policies.names import KINDS, SHIPPED, shipped
from nextone.policies.networks.behaviours import megabytes
from nextone.sim.engine.chance import uniform, world_key

from .costs import PartCost
from .engines import on_engine
from .loading import Objective, load_version
from .policies import OnEngine, Part
from .tflite_files import write_record

TRIED = 20  # random inputs on which engine and torch are compared
TIMED = 50


class File(NamedTuple):
    """A part of the network, exported."""

    path: Path
    bytes: int
    inputs: tuple[tuple[int, ...], ...]  # shapes
    parity: float  # largest difference from torch, over TRIED random inputs
    engine_ms: float  # of one inference, median
    torch_ms: float


class Exported(NamedTuple):
    """All files of a network, and what stays in the cloud."""

    kind: str
    engine: str
    files: tuple[File, ...]
    embeddings_mb: float  # in the cloud's embedding server

    @property
    def on_device_mb(self) -> float:
        """Size of all files, MB."""
        return sum(file.bytes for file in self.files) / 1e6


def export_policy(
    source: str, engine: str, out: Path, slots: int, rows: int, objective: Objective = None
) -> Exported:
    """Write the parts of a checkpoint (a folder, or a name that is shipped) for a pool of so many slots and so many
    past impressions; objective: see `load_edge`.

    Raises CheckpointError, EngineMissing, UserError if the engine lacks an operation."""
    path = shipped(source) if source in SHIPPED else Path(source)
    kind = best_checkpoint(path).about.get("kind")
    if kind not in KINDS:
        raise CheckpointError(f"checkpoint {source[:200]!r} holds no edge network, but {kind!r}; train one of {KINDS}")
    policy = load_version(str(kind), path, str(kind), objective=objective)
    assert not isinstance(policy, OnEngine)
    out.mkdir(parents=True, exist_ok=True)
    files = {
        name: _export(part, example, engine, out, f"{kind}_{name}")
        for name, (part, example) in policy.parts(slots, rows).items()
    }
    if engine == "tflite":
        write_record(out, policy.network, slots, rows, {name: file.path for name, file in files.items()})
    return Exported(str(kind), engine, tuple(files.values()), megabytes(policy.network.embeddings))


def parts_cost(parts: dict[str, Part], engine: str) -> dict[str, PartCost]:
    """What each part costs on an engine: milliseconds of one inference, bytes of its file. Raises EngineMissing, or
    UserError if the engine lacks an operation."""
    with tempfile.TemporaryDirectory() as folder:
        return {
            name: PartCost(
                round(milliseconds(on_engine(part, example, engine, Path(folder), name), example), 3),
                (Path(folder) / f"{name}.{engine}").stat().st_size,
            )
            for name, (part, example) in parts.items()
        }


def _export(part: nn.Module, example: tuple[Tensor, ...], engine: str, out: Path, name: str) -> File:
    real = on_engine(part, example, engine, out, name)
    path = out / f"{name}.{engine}"
    with torch.inference_mode():
        worst = max(_difference(part(*inputs), real(*inputs)) for inputs in map(_like(example), range(TRIED)))
        times = [milliseconds(module, example) for module in (real, part.eval())]
    if engine == "mnn":
        (out / f"{name}.onnx").unlink()
    return File(path, path.stat().st_size, tuple(tuple(tensor.shape) for tensor in example), worst, *times)


def _like(example: tuple[Tensor, ...]) -> Callable[[int], tuple[Tensor, ...]]:
    """Inputs of the same shapes, in [0, 1); what was all ones (masks) stays."""
    key = world_key(0, 0)

    def drawn(number: int) -> tuple[Tensor, ...]:
        return tuple(
            tensor if bool((tensor == 1).all()) else torch.tensor(
                [uniform(key, 0, number, k, n) for n in range(tensor.numel())]
            ).reshape(tensor.shape)
            for k, tensor in enumerate(example)
        )  # fmt: skip

    return drawn


def _difference(a: Tensor | tuple[Tensor, ...], b: Tensor | tuple[Tensor, ...]) -> float:
    pairs = zip(*(x if isinstance(x, tuple) else (x,) for x in (a, b)), strict=True)
    return max(float((x - y).abs().max()) for x, y in pairs)


@torch.inference_mode()
def milliseconds(module: nn.Module, inputs: tuple[Tensor, ...]) -> float:
    """Time of one inference, the median of TIMED."""
    for _ in range(3):
        module(*inputs)
    took = []
    for _ in range(TIMED):
        start = perf_counter()
        module(*inputs)
        took.append(perf_counter() - start)
    return 1e3 * median(took)
