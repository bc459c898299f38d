"""EdgeRec's offline table, theirs beside ours: `nextone offline-table`.

Each method is trained with several seeds on the same samples. As in the paper, a group is what one request ranks: all
impressions of a page, scored by the page's first request. (Each with the score of its own swipe would punish who
learns: a later score knows the labels it is compared with; it rises after a success, and so stands above it.)
`gauc_full` is over all live candidates of one request a page, any of its swipes, with the labels they would have had
if shown then: no log holds them. Trainings already finished in the folder are not repeated.
"""

import functools
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from nextone.experiments.runs.executor import Execute, results
from nextone.experiments.runs.files import write_text, write_whole
from nextone.experiments.runs.shipping import WEIGHTS, Place, weights
from nextone.policies.checkpoint import best_checkpoint
from nextone.policies.networks.behaviours import RATES
from nextone.policies.networks.loading import load_network
from nextone.version import SEMANTICS, __version__

from .gates import column_of
from .lives import LIVED, Lives, lives_of
from .ranking_metrics import (
    Measured,
    auc_by_line,
    auc_of_all,
    mean_over_seeds,
    ndcg_by_line,
    two_classes,
    weighted_mean,
)
from .samples import FILE, Array, Samples, read_samples
from .train import SEES, EdgeSettings, batches, finish_edge, heads_of, one_of_each_page


class Method(NamedTuple):
    """A row of the table: a network of a kind, or a column of the samples, which no network makes. published: GAUC in
    EdgeRec's Table 2."""

    name: str
    kind: str = ""
    ablation: str = ""
    published: float | None = None
    column: str = ""

    @property
    def folder(self) -> str:
        """The name of the folder of its trainings."""
        return f"{self.kind}_{self.ablation}" if self.ablation else self.kind


SHOWN = "shown_after"
METHODS = (
    Method("the order that was shown", column=SHOWN),
    Method("the cloud's score", column="score"),
    *(Method(f"{name} alone", column=name) for name in RATES),
    Method("DNN-rank", "dnn", "", 0.62531),
    Method("DLCM", "dlcm", "", 0.63552),
    Method("EdgeRec, exposures only", "edgerec", "ie", 0.63818),
    Method("EdgeRec, page views only", "edgerec", "ipv", 0.64039),
    Method("EdgeRec, items only (HUISM)", "edgerec", "huism", 0.64283),
    Method("EdgeRec", "edgerec", "", 0.64825),
    Method("KIR-like", "kir"),
    Method("context-aware", "context_aware"),
    Method("reference filter", column="reference"),
)
BASE = "DLCM"
METRICS = ("gauc", "auc", "ndcg_1", "ndcg_5", "gauc_full")
READ = (*SEES, *LIVED, "page", SHOWN, "engaged", "effective_view", "would_engage", "would_effective_view", "reference")
LABELS = {"engaged": "would_engage", "effective_view": "would_effective_view"}
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Seeded:
    """A task: the training of one method with one seed."""

    name: str
    settings: EdgeSettings
    data: Path
    folder: Path  # of its checkpoints; what is there already is gone on with
    elsewhere: bool = False  # the folder is a copy to start from, not the place to write to
    progress: bool = False

    def moved(self, place: Place) -> "Seeded":
        """The same task, with the samples, and what is trained already, from another place."""
        data, start = place(str(self.data), samples), place(str(self.folder), weights)
        return replace(self, data=Path(data), folder=Path(start), elsewhere=True)

    def __str__(self) -> str:
        return f"{self.name}, seed {self.settings.seed}"


class Cell(NamedTuple):
    """A metric of a method: the mean over seeds, standard errors over people and over seeds, and the value of each
    seed."""

    mean: float
    half: float  # of the 95 % interval, by people and seeds
    seed_sd: float
    seeds: list[float]


class Row(NamedTuple):
    """A method: its cells by metric, and its GAUC against DLCM's, in % with half the paired interval."""

    method: Method
    cells: dict[str, Cell]
    against: tuple[float, float]


class Table(NamedTuple):
    """The table and what it is based on."""

    rows: list[Row]
    label: str
    seeds: int
    pages: int
    impressions: int
    people: int
    dropped: float  # share of impressions on pages whose labels are all the same
    dropped_full: float  # share of candidates in such requests


def offline_table(
    data: Path,
    out: Path,
    *,
    seeds: int = 5,
    label: str = "effective_view",
    epochs: int | None = None,
    threads: int = 1,
    workers: int = 1,
    execute: Execute | None = None,
    progress: bool = False,
    said: Progress = lambda line: None,
) -> Table:
    """Train what is missing in `out`, and measure. execute: how trainings are run; `on_ray()` on Ray, `run_all` if
    None. said: called with a line on progress. Raises SampleError, CheckpointError, RunFailed."""
    networks = [method for method in METHODS if method.kind]
    asked_for = EdgeSettings(kind=networks[0].kind, threads=threads)
    asked_for = asked_for if epochs is None else replace(asked_for, epochs=epochs)
    trainings = [
        Seeded(
            method.name, replace(asked_for, kind=method.kind, ablation=method.ablation, seed=seed), data,
            out / method.folder / f"seed-{seed}", progress=progress and workers == 1,
        )
        for seed in range(seeds)
        for method in networks
    ]  # fmt: skip
    for training, files in results(trainings, workers, trained, execute):
        for name, data_of in files.items():
            path = training.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, functools.partial(Path.write_bytes, data=data_of))
        best = best_checkpoint(training.folder)
        said(f"{training}: {-best.about['score']:.5f} after {best.step} steps")
    _read_once.cache_clear()
    test = read_samples(data, "test", READ)
    asked, lives = asked_about(test), lives_of(test)
    measured: dict[str, list[dict[str, Measured]]] = {}
    for method in METHODS:
        measured[method.name] = []
        for seed in range(seeds if method.kind else 1):
            scores = (
                _scores(method.kind, out / method.folder / f"seed-{seed}", asked.samples, lives)
                if method.kind
                else column_scores(asked.samples, method.column)
            )
            measured[method.name].append(measure(scores, asked, label))
        said(f"{method.name} measured")
    return _table(measured, asked, label, seeds)


def trained(task: Seeded) -> dict[str, bytes]:
    """Finish a training in its folder; if the folder is elsewhere, in a copy of it. Returns the files of the
    checkpoints, by their names within the folder."""
    if not task.elsewhere:
        finish_edge(task.settings, task.data, task.folder, progress=task.progress, read=_read_once)
        return {}
    with tempfile.TemporaryDirectory(prefix="nextone-training-") as place:
        run = Path(place) / "run"
        if task.folder.is_dir():
            shutil.copytree(task.folder, run)
        finish_edge(task.settings, task.data, run, read=_read_once)
        files = (file for file in run.rglob("*") if file.suffix in WEIGHTS)
        return {file.relative_to(run).as_posix(): file.read_bytes() for file in sorted(files)}


def samples(folder: Path) -> list[Path]:
    """The file of samples in a folder; empty if there is none."""
    return [file for file in [folder / FILE] if file.is_file()]


_read_once = functools.cache(read_samples)  # in each process, for all its trainings


def _scores(kind: str, run: Path, test: Samples, lives: Lives) -> Array:
    """The best checkpoint's scores of all candidates, (N, P) float64."""
    network = load_network(kind, best_checkpoint(run)).eval()
    parts = []
    with torch.inference_mode():
        for rows in batches(np.arange(test.rows), 512):
            parts.append(network.dense.blend(heads_of(network, test, rows, lives)).double().numpy())
    return np.concatenate(parts)


def column_scores(samples: Samples, name: str) -> Array:
    """A column as scores (N, P) float64. What was shown first is above what was shown later, and that above the
    others."""
    if name == SHOWN:
        after = samples.columns[SHOWN].astype(np.float64)
        return np.where(after < 0, -np.inf, -after)
    return column_of(samples, name)


class Asked(NamedTuple):
    """The requests of test people that are scored."""

    samples: Samples
    starts: Array  # (N,) bool: the first request of its page
    drawn: Array  # (N,) bool: one request of its page, any


def asked_about(test: Samples) -> Asked:
    """The first request of each page, and one drawn by key."""
    groups = (test.columns["person"] << 32) + test.columns["page"]
    _, starts = np.unique(groups, return_index=True)  # rows are in the order of people and their lives
    drawn = one_of_each_page(test, 0, 0)
    rows = np.union1d(starts, drawn)
    columns = {name: column[rows] for name, column in test.columns.items()}
    return Asked(Samples(columns, test.about), np.isin(rows, starts), np.isin(rows, drawn))


def measure(scores: Array, asked: Asked, label: str) -> dict[str, Measured]:
    """Every metric for scores (N, P)."""
    people, person = np.unique(asked.samples.columns["person"], return_inverse=True)
    lines, labels, whose = scores[asked.starts], _known(asked.samples, label, asked.starts), person[asked.starts]
    there = ~np.isnan(labels)
    found = {"auc": auc_of_all(lines[there], labels[there], np.repeat(whose, there.sum(1)), len(people))}
    mixed = two_classes(labels)
    weights, of_mixed = there.sum(1)[mixed].astype(np.float64), whose[mixed]
    found["gauc"] = weighted_mean(auc_by_line(lines[mixed], labels[mixed]), weights, of_mixed, len(people))
    for most in (1, 5):
        ndcg = ndcg_by_line(lines[mixed], labels[mixed], most)
        found[f"ndcg_{most}"] = weighted_mean(ndcg, weights, of_mixed, len(people))
    would = _known(asked.samples, LABELS[label], asked.drawn)
    mixed = two_classes(would)
    live = (~np.isnan(would)).sum(1)[mixed].astype(np.float64)
    full = auc_by_line(scores[asked.drawn][mixed], would[mixed])
    found["gauc_full"] = weighted_mean(full, live, person[asked.drawn][mixed], len(people))
    return found


def _known(samples: Samples, label: str, rows: Array) -> Array:
    """Labels (G, P) of some rows, NaN where nothing is known."""
    labels = samples.columns[label][rows].astype(np.float64)
    known: Array = np.where(labels < 0, np.nan, labels)
    return known


def _table(measured: dict[str, list[dict[str, Measured]]], asked: Asked, label: str, seeds: int) -> Table:
    base, base_seeds = mean_over_seeds([each["gauc"] for each in measured[BASE]])
    rows = []
    for method in METHODS:
        cells = {}
        for metric in METRICS:
            mean, of_seeds = mean_over_seeds([each[metric] for each in measured[method.name]])
            values = [each[metric].value for each in measured[method.name]]
            cells[metric] = Cell(
                mean.value, 1.96 * float(np.hypot(mean.sd, of_seeds)), of_seeds * len(values) ** 0.5, values
            )
        ours, our_seeds = mean_over_seeds([each["gauc"] for each in measured[method.name]])
        difference = Measured(ours.value - base.value, ours.influence - base.influence)
        half = 1.96 * float(np.hypot(difference.sd, np.hypot(our_seeds, base_seeds)))
        against = (0.0, 0.0) if method.name == BASE else (difference.value / base.value, half / base.value)
        rows.append(Row(method, cells, against))
    labels, would = _known(asked.samples, label, asked.starts), _known(asked.samples, LABELS[label], asked.drawn)
    size, live = (~np.isnan(labels)).sum(1), (~np.isnan(would)).sum(1)
    return Table(
        rows, label, seeds, len(labels), int(size.sum()), len(np.unique(asked.samples.columns["person"])),
        float(size[~two_classes(labels)].sum() / size.sum()), float(live[~two_classes(would)].sum() / live.sum()),
    )  # fmt: skip


def table_lines(table: Table) -> tuple[list[str], list[list[str]], str]:
    """Heads, cells and the note below, as texts."""
    heads = ["method", "paper GAUC", "paper vs DLCM", "GAUC", "vs DLCM", "AUC", "NDCG@1", "NDCG@5", "gauc_full"]
    published = next(m.published for m in METHODS if m.name == BASE)
    assert published is not None
    lines = []
    for row in table.rows:
        paper = row.method.published
        theirs = ["–", "–"] if paper is None else [f"{paper:.5f}", f"{100 * (paper / published - 1):+.2f} %"]
        relative, half = row.against
        ours = "0" if row.method.name == BASE else f"{100 * relative:+.2f} ±{100 * half:.2f} %"
        told = [f"{row.cells[m].mean:.4f} ±{row.cells[m].half:.4f}" for m in METRICS]
        lines.append([row.method.name, *theirs, told[0], ours, *told[1:]])
    note = (
        f"Label: {table.label}. {table.impressions:,} impressions on {table.pages:,} pages of {table.people:,} test "
        f"people, {table.seeds} training seeds. ± is half a 95 % interval over people and seeds. Pages with one class "
        f"have no AUC and are dropped, {100 * table.dropped:.1f} % of impressions; of gauc_full's candidates "
        f"{100 * table.dropped_full:.1f} %. The world: semantics {SEMANTICS}, nextone {__version__}."
    )
    return heads, lines, note


def markdown(table: Table) -> str:
    """The table as Markdown, for the documentation."""
    heads, lines, note = table_lines(table)
    rows = [heads, ["---"] * len(heads), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + f"\n\n{note}\n"


def table_json(table: Table) -> dict[str, Any]:
    """The table and everything it is based on, as JSON."""
    return table._asdict() | {
        "rows": [
            row.method._asdict() | {m: cell._asdict() for m, cell in row.cells.items()}
            | {"gauc_against_dlcm": row.against}
            for row in table.rows
        ]
    }  # fmt: skip


def save_table(table: Table, out: Path) -> list[Path]:
    """Write offline_table.md and .json into `out`."""
    texts = {"md": markdown(table), "json": json.dumps(table_json(table), allow_nan=False, indent=1) + os.linesep}
    files = []
    for kind, text in texts.items():
        files.append(out / f"offline_table.{kind}")
        write_text(files[-1], text)
    return files
