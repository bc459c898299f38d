"""Making the checkpoints that come with the package: `make models`, or
`python -m nextone.experiments.training.edge.ship DIR`.

Samples of the default scenario, a training of each shipped network with default settings, and the best epoch's
weights, without what only a training needs, into policies/checkpoints. What is in DIR already is not made again.
"""

import shutil
import sys
import time
from pathlib import Path

from nextone.policies.checkpoint import MODEL, best_checkpoint, save_checkpoint
from nextone.policies.names import SHIPPED, shipped

from .collect import CollectSettings, collect
from .samples import FILE
from .train import EdgeSettings, final_result, finish_edge, result_text

MOST_MB = 10.0  # of all of them together


def make_shipped(folder: Path) -> list[str]:
    """Collect and train in `folder`, replace the shipped checkpoints; one line on each."""
    data, lines = folder / "samples", []
    data.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    if not (data / FILE).exists():
        collect(CollectSettings(), data)
    lines.append(f"samples: {_mb(data):.1f} MB, {_minutes(began)}")
    for kind in SHIPPED:
        began, run = time.monotonic(), folder / kind
        finish_edge(EdgeSettings(kind=kind), data, run, progress=sys.stderr.isatty())
        ship(kind, run, shipped(kind))
        lines.append(f"{result_text(final_result(run))}, {_minutes(began)}")
    total = sum(_mb(shipped(kind)) for kind in SHIPPED)
    assert total <= MOST_MB, total
    return [*lines, f"together {total:.2f} MB in {shipped('')}"]


def ship(kind: str, run: Path, target: Path) -> None:
    """Put the weights of a run's best checkpoint into `target`, in place of what is there."""
    best = best_checkpoint(run)
    assert best.about["kind"] == kind
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    save_checkpoint(target, best.step, best.about, {MODEL: best.tensors[MODEL]})


def _mb(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6


def _minutes(began: float) -> str:
    return f"{(time.monotonic() - began) / 60:.1f} min"


if __name__ == "__main__":
    sys.stdout.write("\n".join(make_shipped(Path(sys.argv[1]))) + "\n")
