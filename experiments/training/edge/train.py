"""Training an edge network, or one of the cloud's rankers, on collected samples: `nextone train edgerec` and others.

From samples to a folder of checkpoints that `edgerec:DIR` plays. An epoch takes one request of each page, another each
epoch, with the labels of all that was shown from then on; after it the network looks at held-out people, and stops
when it no longer gets better there. Killed at any moment, it goes on from the newest whole checkpoint to the same
weights. Shuffles are keyed by seed and epoch; there is no other chance in it.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.utils.tensorboard import SummaryWriter

from nextone.experiments.training.progress import Shown, brought_nothing, epochs_are_over
from nextone.experiments.training.state import begin_moments, moments_of, torch_threads, weights_of
from nextone.policies.checkpoint import (
    MODEL,
    TRAINING,
    Checkpoint,
    CheckpointError,
    best_checkpoint,
    has_checkpoints,
    load_into,
    newest_checkpoint,
    save_checkpoint,
)
from nextone.policies.names import KINDS
from nextone.policies.networks.behaviours import megabytes
from nextone.policies.networks.blend import EdgeNetwork
from nextone.policies.networks.cloud_ranks.network import CloudRank, DlcmDense
from nextone.policies.networks.context_aware.network import CORRECTED, TASKS, ContextAware
from nextone.policies.networks.edgerec.network import ABLATIONS, HEADS, EdgeRec
from nextone.policies.networks.kir.network import OTHERS, Kir
from nextone.policies.networks.loading import load_network, make_network
from nextone.policies.trained import check_features, features_hash
from nextone.sim.scenario import SettingError
from nextone.version import __version__

from .lives import LIVED, Lives, carried_into, lives_of
from .samples import RATED, Array, Samples, read_samples

Read = Callable[[Path, str, tuple[str, ...]], Samples]
SEES = ("candidates", "history", "context", "live")
READ = (*SEES, *LIVED, "page", "shown_after", *RATED, *OTHERS, *HEADS)
OTHERS_OF: dict[type[nn.Module], tuple[str, ...]] = {Kir: OTHERS, ContextAware: TASKS[CORRECTED:]}
"""What a network predicts besides the server's rates, of each candidate."""
HEADS_WEIGHT = 0.1  # Assumed: of the heads on the user state against the rerank's loss
LOOKED_AT = 512  # requests of held-out people at a time
LEARNING_RATE = {"edgerec": 0.005, "dlcm": 0.005, "dnn": 0.005, "kir": 0.003, "context_aware": 0.003}
"""To begin with. EdgeRec's is published, and used for the baselines of its table; the others are Assumed."""
SLOWER = 0.3
"""Assumed: what the learning rate is multiplied by after an epoch that brought nothing."""


@dataclass(frozen=True, kw_only=True)
class EdgeSettings:
    """Everything that a training depends on, besides the samples."""

    kind: str
    ablation: str = ""
    seed: int = 0
    batch: int = 512  # samples, about: candidates shown, in whole requests; Source: EdgeRec 3.2
    learning_rate: float | None = None  # Adam's, to begin with; by kind if None
    epochs: int = 60  # at most
    patience: int = 3  # epochs that bring nothing, after which it ends
    threads: int = 1  # of torch; another number may give other bits

    def __post_init__(self) -> None:
        for name, least in (("batch", 1), ("epochs", 1), ("patience", 1), ("threads", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise SettingError(f"{name}={getattr(self, name)} must be >= {least}")
        if self.kind not in KINDS:
            raise SettingError(f"kind={self.kind!r} must be one of {', '.join(KINDS)}")
        if self.ablation and (self.kind != "edgerec" or self.ablation not in ABLATIONS):
            raise SettingError(f"ablation={self.ablation!r} is for edgerec, and must be ie, ipv or huism")
        if self.learning_rate is not None and not 0 < self.learning_rate <= 1:
            raise SettingError(f"learning_rate={self.learning_rate} must be > 0 and <= 1")


@dataclass
class Training:
    """A network that is being trained."""

    network: EdgeNetwork
    optimiser: torch.optim.Optimizer
    looks: list[dict[str, float]]  # after each epoch: epoch, train and valid loss, step


def train_edge(
    settings: EdgeSettings,
    data: Path,
    out: Path,
    *,
    resume: Checkpoint | None = None,
    progress: bool = False,
    read: Read = read_samples,
) -> Training:
    """Train on the samples in `data`, into the folder `out`.

    resume: a checkpoint of the same settings, with its training file, to go on from. Raises SettingError if `out`
    already holds another training, SampleError, CheckpointError if `resume` does not fit."""
    if resume is None and has_checkpoints(out):
        raise SettingError(f"--out {str(out)!r} already holds a training; go on with --resume, or give another folder")
    train, valid = (read(data, split, READ) for split in ("train", "valid"))
    if resume is not None and resume.about.get("samples") != train.about:
        raise CheckpointError(f"checkpoint {str(resume.path)!r} was trained on other samples than {str(data)!r}'s")
    out.mkdir(parents=True, exist_ok=True)
    with torch_threads(settings.threads):
        training = begin(settings)
        if resume is not None:
            restore(training, resume)
        while not epochs_are_over(training.looks, settings.epochs, settings.patience):
            run_epoch(training, settings, train, valid, progress)
            tell(out, training.looks[-1])
            save(training, settings, train, out)
    return training


def finish_edge(
    settings: EdgeSettings, data: Path, out: Path, *, progress: bool = False, read: Read = read_samples
) -> None:
    """`train_edge`, unless the training is finished already; one that was broken off goes on. Raises what `train_edge`
    raises."""
    resume = None
    if has_checkpoints(out):
        there, resume = resume_from(out)
        if there != settings:
            raise CheckpointError(f"{str(out)!r} holds a training with other settings; give another folder")
    train_edge(settings, data, out, resume=resume, progress=progress, read=read)


def begin(settings: EdgeSettings) -> Training:
    """A fresh network, whose first weights depend on the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        network = make_network(settings.kind, settings.ablation)
    return Training(network, torch.optim.Adam(network.parameters(), rate_of(settings)), [])


def rate_of(settings: EdgeSettings) -> float:
    """The learning rate at the beginning."""
    return settings.learning_rate or LEARNING_RATE[settings.kind]


def run_epoch(
    training: Training, settings: EdgeSettings, train: Samples, valid: Samples, progress: bool = False
) -> None:
    """One pass over the pages, and a look at held-out people."""
    epoch = len(training.looks)
    for group in training.optimiser.param_groups:
        group["lr"] = rate_of(settings) * SLOWER ** brought_nothing(training.looks)
    rows = one_of_each_page(train, settings.seed, epoch)
    size = max(1, round(settings.batch * train.rows / (train.columns["shown_after"] >= 0).sum()))  # requests
    lives = lives_of(train) if isinstance(training.network, EdgeRec) else None
    total, step = 0.0, training.looks[-1]["step"] if training.looks else 0
    shown = Shown(-(-len(rows) // size), "batches", wanted=progress)
    for k, batch in enumerate(batches(rows, size), start=1):
        loss = loss_of(training.network, train, batch, lives)
        training.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        training.optimiser.step()
        total, step = total + loss.item() * len(batch), step + 1
        shown.at(k)
    lives = lives_of(valid) if lives else None
    with torch.inference_mode():
        parts = [(loss_of(training.network, valid, part, lives).item(), len(part))
                 for part in batches(np.arange(valid.rows), LOOKED_AT)]  # fmt: skip
    valid_loss = sum(loss * n for loss, n in parts) / valid.rows
    training.looks.append({"epoch": epoch + 1, "step": step, "train": total / len(rows), "valid": valid_loss})
    shown.tell(f"epoch {epoch + 1}: loss {total / len(rows):.4f}, on held-out people {valid_loss:.4f}")
    shown.close()


def one_of_each_page(samples: Samples, seed: int, epoch: int) -> Array:
    """Rows of one request of each page, shuffled; keyed by seed and epoch.

    They are shuffled again at the end. Ordered by their first request, pages with few requests would come last, and the
    last steps of each epoch would learn from the ends of sessions alone."""
    draw = np.random.Generator(np.random.Philox(key=[seed, epoch]))
    person, page = samples.of("person", "page")
    order = draw.permutation(samples.rows)
    _, first = np.unique((person[order] << 32) + page[order], return_index=True)
    rows: Array = draw.permutation(order[first])
    return rows


def batches(rows: Array, size: int) -> Iterator[Array]:
    """Rows in blocks of this size."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def loss_of(network: EdgeNetwork, samples: Samples, rows: Array, lives: Lives | None = None) -> Tensor:
    """The loss: for each thing that a network predicts, of the candidates that were shown and of the person, the mean
    cross-entropy where it is known; their sum. lives: see `heads_of`."""
    told = (*RATED, *OTHERS_OF.get(type(network), ()))
    candidates, history, context, live, *known = columns_of(samples, rows, (*SEES, "shown_after", *told))
    after, labels = known[0], torch.stack(known[1:], -1)
    if isinstance(network, EdgeRec):
        logits, person = edgerec_heads(network, samples, rows, lives)
        heads = columns_of(samples, rows, HEADS)
        return known_loss(logits, labels) + HEADS_WEIGHT * known_loss(person, torch.stack(heads, -1))
    if isinstance(network, CloudRank) and isinstance(network.dense, DlcmDense):
        return known_loss(network.heads(candidates, history, context, live), labels)
    # the others look at no candidates but those that were shown: leaving out the rest changes nothing but the time
    places = places_of(after)
    shown, labels = at_places(candidates, places), at_places(labels, places)
    live, after = torch.gather(live, 1, places), torch.gather(after, 1, places)
    if isinstance(network, ContextAware):
        return known_loss(network.in_lists(shown, history, context, live, *placed_before(after)), labels)
    return known_loss(network.heads(shown, history, context, live), labels)


def heads_of(network: EdgeNetwork, samples: Samples, rows: Array, lives: Lives | None = None) -> Tensor:
    """A network's predictions for the candidates (N, P, K), as on a phone. lives: what people did before the past
    impressions of their rows, which EdgeRec's encoders carry along; None: nothing."""
    if isinstance(network, EdgeRec):
        return edgerec_heads(network, samples, rows, lives)[0]
    return network.heads(*columns_of(samples, rows, SEES))


def edgerec_heads(network: EdgeRec, samples: Samples, rows: Array, lives: Lives | None) -> tuple[Tensor, Tensor]:
    """EdgeRec's predictions for the candidates and for the person, see `EdgeRec.all_heads`."""
    carried = None if lives is None else torch.from_numpy(carried_into(network, lives, samples, rows))
    candidates, history, context, live = columns_of(samples, rows, SEES)
    return network.all_heads(candidates, history, context, live, carried)


def columns_of(samples: Samples, rows: Array, names: tuple[str, ...]) -> list[Tensor]:
    """These columns of these rows, float32."""
    return [torch.from_numpy(samples.columns[name][rows].astype(np.float32, copy=False)) for name in names]


def places_of(after: Tensor) -> Tensor:
    """Slots (N, S), first of those that were shown, then of others. S: the most that were shown in one request."""
    most = int((after >= 0).sum(1).max())
    return torch.argsort(torch.where(after >= 0, 0, 1), stable=True)[:, :most]


def at_places(rows: Tensor, places: Tensor) -> Tensor:
    """Rows (N, P, F) at slots (N, S), (N, S, F)."""
    return torch.gather(rows, 1, places[..., None].expand(-1, -1, rows.shape[-1]))


def placed_before(after: Tensor) -> tuple[Tensor, Tensor]:
    """Which candidates come before each one in the list that was shown, (N, P, P), and the places (N, P) of all.

    after: `shown_after`, -1 if not shown."""
    before = (after[:, None] >= 0) & (after[:, None] < after[:, :, None])
    return before.float(), after.clamp(min=0).float()


def known_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """For each label (..., K) the mean cross-entropy where it is known, not -1, and 0 if it is known nowhere; their
    sum."""
    known, around = (labels >= 0).float(), tuple(range(labels.dim() - 1))
    losses = binary_cross_entropy_with_logits(logits, labels.clamp(min=0), reduction="none")
    return ((losses * known).sum(around) / known.sum(around).clamp(min=1)).sum()


def tell(out: Path, look: dict[str, float]) -> None:
    """Write the results of one epoch to TensorBoard."""
    with SummaryWriter(str(out / "tensorboard")) as board:
        for name in ("train", "valid"):
            board.add_scalar(f"loss/{name}", look[name], look["step"])


def save(training: Training, settings: EdgeSettings, samples: Samples, out: Path) -> None:
    """Write a checkpoint after an epoch; the best has the lowest loss on held-out people."""
    look = training.looks[-1]
    dense_mb = megabytes(training.network.get_submodule("dense"))
    about = {
        "kind": settings.kind, "ablation": settings.ablation, "version": __version__, "features": features_hash(),
        "scenario": samples.about["run"]["scenario"], "samples": samples.about, "settings": asdict(settings),
        "score": -look["valid"], "looks": training.looks, "dense_mb": dense_mb,
    }  # fmt: skip
    tensors = {MODEL: weights_of(training.network), TRAINING: moments_of(training.optimiser)}
    save_checkpoint(out, int(look["step"]), about, tensors)


def restore(training: Training, checkpoint: Checkpoint) -> None:
    """Bring a fresh network to where a checkpoint was. Raises CheckpointError if it does not fit."""
    load_into(weights_of(training.network), checkpoint, MODEL)
    begin_moments(training.optimiser)
    load_into(moments_of(training.optimiser), checkpoint, TRAINING)
    training.looks = [dict(look) for look in checkpoint.about["looks"]]


def resume_from(run: Path) -> tuple[EdgeSettings, Checkpoint]:
    """The newest whole checkpoint of a training and its settings. Raises CheckpointError."""
    checkpoint = newest_checkpoint(run, (MODEL, TRAINING))
    check_features(checkpoint)
    try:
        settings = EdgeSettings(**checkpoint.about["settings"])
        numbers = ("epoch", "step", "train", "valid")
        losses = [float(look[name]) for look in checkpoint.about["looks"] for name in numbers]
        if not losses or not np.isfinite(losses).all():
            raise ValueError("it has no looks")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"checkpoint {str(checkpoint.path)!r}: its settings do not suit: {reason}") from None
    return settings, checkpoint


def final_result(run: Path) -> dict[str, Any]:
    """The best checkpoint of a training and its sizes, JSON."""
    best = best_checkpoint(run)
    network = load_network(best.about["kind"], best)
    return {
        "checkpoint": str(best.path), "kind": best.about["kind"], "ablation": best.about["ablation"],
        "epochs": len(newest_checkpoint(run).about["looks"]), "best_epoch": len(best.about["looks"]),
        "valid_loss": -best.about["score"], "dense_mb": megabytes(network.get_submodule("dense")),
        "embeddings_mb": megabytes(network.get_submodule("embeddings")),
    }  # fmt: skip


def result_text(result: dict[str, Any]) -> str:
    """The result of a training as text for the terminal."""
    name = result["kind"] + (f" --ablation {result['ablation']}" if result["ablation"] else "")
    return (
        f"{name}: best of {result['epochs']} epochs is {result['best_epoch']}, loss on held-out people "
        f"{result['valid_loss']:.4f}. On the phone {result['dense_mb']:.3f} MB (dense), in the cloud "
        f"{result['embeddings_mb']:.3f} MB (embeddings). Saved {result['checkpoint']}"
    )
