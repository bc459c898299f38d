"""Checkpoints of trained models: folders of safetensors and one JSON. Reading one runs no code, whoever wrote it.

    run/step-000000131072/checkpoint.json       what it is: step, facts of its own, SHA-256 of each file and of itself
    run/step-000000131072/model.safetensors     weights
    run/step-000000131072/training.safetensors  what training needs to go on, if it can

A checkpoint appears whole or not at all; the newest few and the best are kept; one that was damaged is passed over for
the one before. Called by `policies/rl.py` and the training code in `experiments/train*.py`.
"""

import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from nextone.sim.inputs.errors import UserError, not_saved

FORMAT = 1
KEEP = 2  # of the newest; the best is kept besides
RECORD = "checkpoint.json"
MODEL, TRAINING = "model", "training"
MOST_JSON, MOST_TENSORS = 4 << 20, 8 << 30  # bytes
NAME = re.compile(r"step-(\d{12})")
UNFINISHED = ".unfinished-"  # folders on their way in or out

Tensors = Mapping[str, NDArray[Any]]


class CheckpointError(UserError):
    """No checkpoint can be used; one line says which and why."""


class Checkpoint(NamedTuple):
    """A checkpoint whose every byte was checked."""

    path: Path
    step: int
    about: dict[str, Any]
    tensors: dict[str, dict[str, NDArray[Any]]]  # by file, then by name


def save_checkpoint(run: Path, step: int, about: Mapping[str, Any], tensors: Mapping[str, Tensors]) -> Path:
    """Write run/step-NNN with one safetensors file for each entry of `tensors`, then delete old ones.

    about: JSON; the best checkpoint is the one with the largest "score", if that is a number. If this process is
    killed, the folder holds what was there before, or the whole new checkpoint. Raises UserError if it cannot be
    written."""
    target = run / f"step-{step:012d}"
    try:
        _save(target, step, about, tensors)
    except OSError as error:
        raise not_saved(target, error, "make room, then go on with --resume or run it again") from error
    return target


def _save(target: Path, step: int, about: Mapping[str, Any], tensors: Mapping[str, Tensors]) -> None:
    run = target.parent
    folder = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=run))
    with suppress(OSError):  # some network drives have no permissions to set
        folder.chmod(0o755)
    files = {}
    for name, arrays in tensors.items():
        data = safetensors.numpy.save({key: np.asarray(array, order="C") for key, array in arrays.items()})
        _write(folder / f"{name}.safetensors", data)
        files[name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    record = {"format": FORMAT, "step": step, "about": dict(about), "files": files}
    text = json.dumps(record | {"sha256": _digest(record)}, indent=1, allow_nan=False)
    _write(folder / RECORD, text.encode())
    _sync(folder)
    if target.exists():  # written before, and damaged since or made anew
        _remove(target)
    folder.rename(target)
    _sync(run)
    _forget(run)


def read_checkpoint(path: Path | str, files: tuple[str, ...] = (MODEL,)) -> Checkpoint:
    """The checkpoint in a folder, with these of its files. Raises CheckpointError."""
    path = Path(path)
    try:
        record = _read_record(path)
        tensors = {}
        for name in files:
            if name not in record["files"]:
                raise ValueError(f"it has no {name}.safetensors")
            data = read_bytes(path / f"{name}.safetensors", MOST_TENSORS)
            if hashlib.sha256(data).hexdigest() != record["files"][name]["sha256"]:
                raise ValueError(f"{name}.safetensors does not match its checksum")
            tensors[name] = _parsed(data, name)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        reason = " ".join(((isinstance(error, OSError) and error.strerror) or str(error)).split())[:200]
        raise CheckpointError(f"checkpoint {str(path)[:200]!r} cannot be used: {reason}") from None
    return Checkpoint(path, record["step"], record["about"], tensors)


def newest_checkpoint(run: Path | str, files: tuple[str, ...] = (MODEL,)) -> Checkpoint:
    """The newest whole checkpoint of a run; damaged ones are passed over. Raises CheckpointError if there is none."""
    return _first(Path(run), sorted(_steps(run), reverse=True), files)


def best_checkpoint(path: Path | str) -> Checkpoint:
    """The whole checkpoint of a run with the highest score, the newest of equal ones; or the checkpoint that `path`
    itself is.

    Raises CheckpointError."""
    path = Path(path)
    if os.path.exists(path / RECORD):
        return read_checkpoint(path)
    return _first(path, sorted(_steps(path), key=lambda step: (_score(step), step), reverse=True), (MODEL,))


def has_checkpoints(run: Path | str) -> bool:
    """Whether the folder holds anything with the name of a checkpoint."""
    return any(True for _ in _steps(run))


def load_into(expected: Tensors, checkpoint: Checkpoint, file: str) -> None:
    """Copy the tensors of a checkpoint's file (MODEL or TRAINING) over `expected`, in place.

    Raises CheckpointError unless names, shapes and types are the same and every number is finite."""
    given, where = checkpoint.tensors[file], f"checkpoint {str(checkpoint.path)[:200]!r}: weights"
    missing, unknown = sorted(set(expected) - set(given)), sorted(set(given) - set(expected))
    if missing or unknown:
        raise CheckpointError(
            f"{where} do not fit this version's model (missing {missing[:2]!s:.90}, unknown {unknown[:2]!s:.90}); use "
            "the version that trained it, or train again"
        )
    for name, array in expected.items():
        new = given[name]
        if new.shape != array.shape or new.dtype != array.dtype:
            raise CheckpointError(
                f"{where} {name!r} are {new.dtype} {new.shape}, this model's {array.dtype} {array.shape}; train again"
            )
        if new.dtype.kind == "f" and not np.isfinite(new).all():
            raise CheckpointError(f"{where} {name!r} are not finite; use an earlier checkpoint")
        array[...] = new


def _first(run: Path, paths: list[Path], files: tuple[str, ...]) -> Checkpoint:
    problem = f"{str(run)[:200]!r} holds no checkpoint; give the --out folder of a training"
    for path in paths:
        try:
            return read_checkpoint(path, files)
        except CheckpointError as error:
            problem = str(error)
    raise CheckpointError(problem)


def _steps(run: Path | str) -> Iterator[Path]:
    try:
        yield from (Path(run, name) for name in os.listdir(run) if NAME.fullmatch(name))
    except (OSError, ValueError):  # no such folder, or no folder
        return


def _score(path: Path) -> float:
    try:
        score = _read_record(path)["about"].get("score")
        return float(score) if isinstance(score, int | float) else -np.inf
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return -np.inf


def _read_record(path: Path) -> dict[str, Any]:
    """checkpoint.json, checked against its own checksum."""
    record = json.loads(read_bytes(path / RECORD, MOST_JSON), parse_constant=_no_constant)
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise ValueError(f"{RECORD} is not of format {FORMAT}; it was not written by this version")
    digest = record.pop("sha256", None)
    if digest != _digest(record):
        raise ValueError(f"{RECORD} does not match its checksum")
    if not isinstance(record["step"], int) or not all(isinstance(record[key], dict) for key in ("about", "files")):
        raise ValueError(f"{RECORD} has other fields than this version's")
    return record


def _no_constant(name: str) -> float:
    raise ValueError(f"{RECORD} holds {name}, which is no number")


def _digest(record: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _parsed(data: bytes, name: str) -> dict[str, NDArray[Any]]:
    try:
        return {key: np.array(array) for key, array in safetensors.numpy.load(data).items()}
    except Exception as error:  # whatever hostile bytes bring about
        raise ValueError(f"{name}.safetensors is not a safetensors file ({type(error).__name__})") from None


def read_bytes(path: Path, most: int) -> bytes:
    """A plain file's bytes: no link is followed, no pipe waited for. Raises OSError, or ValueError if it has more than
    `most` of them."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    with open(os.open(path, flags), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f"{path.name} is not a plain file")
        if status.st_size > most:
            raise ValueError(f"{path.name} is larger than {most} bytes")
        return file.read()


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Make names in a folder last, where the system can: Windows and some network drives cannot."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _remove(path: Path) -> None:
    """Take a checkpoint away at once, then delete it."""
    bin_ = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=path.parent))
    path.rename(bin_ / path.name)
    shutil.rmtree(bin_)


def _forget(run: Path) -> None:
    """Delete all but the newest KEEP and the best, and what a kill left half written."""
    paths = sorted(_steps(run))
    best = max(paths, key=lambda step: (_score(step), step))
    for path in paths[:-KEEP]:
        if path != best:
            _remove(path)
    for name in os.listdir(run):
        if name.startswith(UNFINISHED):
            shutil.rmtree(run / name, ignore_errors=True)
