"""A training as its newest checkpoint tells it: the looks at people it does not train on. No weights are read."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from nextone.experiments.training.progress import epochs_are_over
from nextone.policies.checkpoint import CheckpointError, newest_checkpoint


class Curve(NamedTuple):
    """A number over the looks, with an interval where the file holds one."""

    label: str
    values: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()


class Training(NamedTuple):
    """What is known of a training."""

    kind: str
    step: int
    over: bool
    far: str  # how far it is
    counted: str  # what the steps are
    steps: tuple[float, ...]  # of each look
    panels: tuple[tuple[str, tuple[Curve, ...]], ...]  # (what is measured, its curves)

    @property
    def sentences(self) -> tuple[str, ...]:
        """The first and the last value of each curve."""
        return tuple(
            f"{curve.label}: {_with(curve, 0)} at the first look, {_with(curve, -1)} at the last."
            for _, curves in self.panels for curve in curves
        )  # fmt: skip


def read_training(folder: Path) -> Training:
    """What the newest checkpoint in a folder says of its training. Raises CheckpointError if there is no whole
    checkpoint, or if it does not have what trainings write."""
    found = newest_checkpoint(folder, ())
    about = found.about
    try:
        looks: Sequence[Mapping[str, Any]] = about["looks"]
        settings: Mapping[str, Any] = about["settings"]
        of = _of_network if "valid" in looks[0] else _of_policy
        return of(str(about["kind"]), found.step, settings, looks)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"checkpoint {str(found.path)[:200]!r}: holds no learning curve ({str(error)[:80]})"
        ) from None


def _of_policy(kind: str, step: int, settings: Mapping[str, Any], looks: Sequence[Mapping[str, Any]]) -> Training:
    """By reinforcement learning: reward, and by how much more than each rule."""
    wanted = int(settings["steps"])
    rewards = Curve("reward an episode", _column(looks, "reward"))
    rules = [str(uplift["rule"]) for uplift in looks[0]["uplifts"]]
    over = []
    for place, rule in enumerate(rules):
        each = [look["uplifts"][place] for look in looks]
        over.append(Curve(f"over {rule}", *(_column(each, name) for name in ("diff", "low", "high"))))
    panels = (("reward an episode", (rewards,)), ("reward an episode more than a rule, paired", tuple(over)))
    return Training(
        kind, step, step >= wanted, f"{step:,} of {wanted:,} decisions", "decisions learned from",
        _column(looks, "step"), panels,
    )  # fmt: skip


def _of_network(kind: str, step: int, settings: Mapping[str, Any], looks: Sequence[Mapping[str, Any]]) -> Training:
    """On samples: losses after each epoch."""
    epochs = int(settings["epochs"])
    over = epochs_are_over(looks, epochs, int(settings["patience"]))
    losses = (Curve("loss on training samples", _column(looks, "train")),
              Curve("loss on held-out people", _column(looks, "valid")))  # fmt: skip
    return Training(
        kind, step, over, f"{len(looks)} of at most {epochs} epochs", "epoch", _column(looks, "epoch"),
        (("loss", losses),),
    )  # fmt: skip


def _column(rows: Sequence[Mapping[str, Any]], name: str) -> tuple[float, ...]:
    found = tuple(float(row[name]) for row in rows)
    if not all(map(math.isfinite, found)):
        raise ValueError(f"{name} is not finite")
    return found


def _with(curve: Curve, at: int) -> str:
    ends = f" [{curve.low[at]:.4g}, {curve.high[at]:.4g}]" if curve.low else ""
    return f"{curve.values[at]:.4g}{ends}"


def looks_of(found: Training) -> list[dict[str, float]]:
    """A row for each look."""
    columns = {found.counted: found.steps}
    for _, curves in found.panels:
        for curve in curves:
            columns[curve.label] = curve.values
            if curve.low:
                columns |= {f"{curve.label}, from": curve.low, f"{curve.label}, to": curve.high}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
