"""The .tflite files of a checkpoint, made beforehand: few machines have the converter, and all that have the extra
`edge` can run its files.

They lie beside the checkpoint's weights in a folder for each size of pool and history, with a record of the weights
that they were made from. Called by `policies.py` and `exporting.py`; those that come with the package are made by
`experiments/training/edge/ship_tflite.py`.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from torch import nn

from nextone.policies.checkpoint import CheckpointError, read_bytes
from nextone.policies.names import TFLITE_FOLDER, EngineMissing

from .engines import needs_to_export

FORMAT = 1
RECORD = "tflite.json"
MOST_BYTES = 64 << 20  # of a file; a phone's network is far smaller


def tflite_folder(checkpoint: Path, slots: int, rows: int) -> Path:
    """Where the files of a checkpoint are, for a pool of so many slots and so many past impressions."""
    return checkpoint / f"{TFLITE_FOLDER}{slots}x{rows}"


def weights_digest(network: nn.Module) -> str:
    """SHA-256 of all weights of a network, including the objective, with their names and shapes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def write_record(folder: Path, network: nn.Module, slots: int, rows: int, files: dict[str, Path]) -> None:
    """Say in `folder` what its files, by the name of their part, were made from and for."""
    parts = {name: {"file": file.name, "sha256": _sha256(file.read_bytes())} for name, file in files.items()}
    said = {"format": FORMAT, "weights": weights_digest(network), "slots": slots, "rows": rows, "parts": parts}
    (folder / RECORD).write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")


def files_made(checkpoint: Path, network: nn.Module, slots: int, rows: int) -> dict[str, Path]:
    """The checkpoint's .tflite files by the name of their part; empty if there are none and the converter is installed.

    Raises EngineMissing if there are none and none can be made; CheckpointError if they are damaged, or were made from
    other weights."""
    folder = tflite_folder(checkpoint, slots, rows)
    again = f"nextone export {checkpoint} --to tflite --out {folder}"
    if not (folder / RECORD).exists():
        try:
            needs_to_export("tflite")
        except EngineMissing as error:
            raise EngineMissing(
                f"no .tflite files for a pool of {slots} and {rows} past impressions; {error}, or where that is "
                f"installed, with this run's scenario: {again}"
            ) from None
        return {}
    try:
        return _checked(folder, weights_digest(network), slots, rows)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = " ".join(((isinstance(error, OSError) and error.strerror) or str(error)).split())[:200]
        raise CheckpointError(f"{str(folder)!r} cannot be used: {reason}; make them again: {again}") from None


def _checked(folder: Path, weights: str, slots: int, rows: int) -> dict[str, Path]:
    record: Any = json.loads(read_bytes(folder / RECORD, MOST_BYTES))
    if record["format"] != FORMAT:
        raise ValueError(f"{RECORD} is not of format {FORMAT}")
    if (record["slots"], record["rows"]) != (slots, rows):
        raise ValueError(f"its files are for a pool of {record['slots']} and {record['rows']} past impressions")
    if record["weights"] != weights:
        raise ValueError("its files were made from other weights than the checkpoint's, or for another objective")
    files = {}
    for name, said in record["parts"].items():
        file = folder / Path(said["file"]).name
        if _sha256(read_bytes(file, MOST_BYTES)) != said["sha256"]:
            raise ValueError(f"{file.name} does not match its checksum")
        files[name] = file
    return files


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
