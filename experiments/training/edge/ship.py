"""Making the checkpoints that come with the package, and asking whether they earn their place: `make models`, or
`python -m nextone.experiments.training.edge.ship DIR EVIDENCE.md`.

For each shipped kind: samples of the default scenario with the pages that its system has, trainings with several seeds,
and the weights of the best, without what only a training needs, into policies/checkpoints. Then the same in a world
with strong intents, where the gates are, and in one with nothing to perceive. Samples and trainings are made side by
side, a process for each core, and are the same for any number of them. What is in DIR already is not made again.
"""

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple, Self

from nextone.experiments.runs.executor import results
from nextone.experiments.runs.files import write_text
from nextone.experiments.runs.names import check_name
from nextone.experiments.runs.shipping import Place
from nextone.experiments.training.state import torch_threads
from nextone.policies.checkpoint import MODEL, best_checkpoint, save_checkpoint
from nextone.policies.names import SHIPPED, shipped
from nextone.sim.config import Scenario
from nextone.sim.scenario import NAMED, NOTHING_TO_PERCEIVE, with_settings
from nextone.version import SEMANTICS, __version__

from .collect import CollectSettings, collect
from .gates import Better, Gain, Share, null_gate, offline_gate, online_gate
from .train import EdgeSettings, final_result, finish_edge, result_text

MOST_MB = 10.0  # of all of them together
EXPLORE = 0.3  # Assumed: share of decisions made at random while samples are collected
PAGES = {"kir": "kir", "context_aware": "kir", "edgerec": "edgerec"}
"""The named scenario whose pages a kind is trained with: page 6 of 20, or page 50 of 100 after 60 s."""
WORLDS = {"default": (), "strong": NAMED["strong_intent"], "nothing": NOTHING_TO_PERCEIVE}
ALSO = {"kir": (), "context_aware": (), "edgerec": ("@every=5",)}
"""Further ways to ask the same weights, with rows of their own among the online gates."""


class Effort(NamedTuple):
    """How much work goes into a model."""

    people: dict[str, int]  # by pages
    days: float
    seeds: int  # trainings of what is shipped; one of what only the gates ask for
    replications: int
    users: int  # people of a replication
    minutes: float
    workers: int  # processes


USUAL = Effort({"kir": 3_000, "edgerec": 800}, 1.0, 2, 12, 400, 30.0, os.cpu_count() or 1)
GATE_SEED = 20_260  # of the gates' people; any number
TOLD_IN = ("objective", "valid_play", "app_min")
MADE = "made.txt"


@dataclass(frozen=True)
class Step:
    """A task: samples or a training, made once, in a folder of its own."""

    name: str
    folder: Path
    make: Callable[[Path], str]  # into the folder; what is told of it

    def moved(self, place: Place) -> Self:
        """The step itself: it is made on this machine only."""
        del place
        return self

    def __str__(self) -> str:
        return self.name


def make_shipped(folder: Path, evidence: Path, effort: Effort = USUAL) -> None:
    """Collect and train in `folder`, replace the shipped checkpoints, ask the gates, and write the evidence."""
    for policy in (kind + how for kind in SHIPPED for how in ALSO[kind]):
        check_name(policy)  # before the work, not after it
    lines = made([samples_step(folder, world, pages, effort) for world in WORLDS for pages in effort.people], effort)
    trainings = [
        training_step(folder, world, kind, seed)
        for world in WORLDS
        for kind in SHIPPED
        for seed in range(effort.seeds if world == "default" else 1)
    ]
    lines += made(trainings, effort)
    for kind in SHIPPED:
        ship(kind, best_run(folder, kind, effort), shipped(kind))
    total = sum(_mb(shipped(kind)) for kind in SHIPPED)
    assert total <= MOST_MB, total
    lines.append(f"the shipped checkpoints together: {total:.2f} MB")
    write_text(evidence, "\n".join(evidence_lines(folder, effort, lines)))


def made(steps: list[Step], effort: Effort) -> list[str]:
    """Make all steps that are missing; returns one line on each."""
    lines: dict[str, str] = {}
    for step, line in results(steps, effort.workers, take):
        sys.stderr.write(line + "\n")
        lines[step.name] = line
    return [lines[step.name] for step in steps]


def take(step: Step) -> str:
    """Make a step if it is missing; returns a line on it, with the minutes it took."""
    note = step.folder / MADE
    if not note.exists():
        step.folder.mkdir(parents=True, exist_ok=True)
        wall, cpu = time.monotonic(), time.process_time()
        told = step.make(step.folder)
        wall, cpu = (time.monotonic() - wall) / 60, (time.process_time() - cpu) / 60
        write_text(note, f"{step.name}: {told}; {cpu:.1f} CPU min, {wall:.1f} min")
    return note.read_text(encoding="utf-8")


def samples_step(folder: Path, world: str, pages: str, effort: Effort) -> Step:
    """The step that collects samples of a world with these pages."""
    scenario = with_settings(Scenario(), (*NAMED[pages], *WORLDS[world]))
    settings = CollectSettings(scenario=scenario, users=effort.people[pages], days=effort.days, explore=EXPLORE)
    return Step(f"samples of {world}, {pages}", samples_in(folder, world, pages), partial(collected, settings))


def collected(settings: CollectSettings, folder: Path) -> str:
    """Collect samples; returns how many requests, in words."""
    told = collect(settings, folder)
    rows = ", ".join(f"{n:,} {split}" for split, n in told.rows.items())
    return f"{rows} requests, {_mb(folder):.0f} MB"


def samples_in(folder: Path, world: str, pages: str) -> Path:
    """The folder of the samples of a world."""
    return folder / f"samples-{world}-{pages}"


def training_step(folder: Path, world: str, kind: str, seed: int) -> Step:
    """The step of a training in a world."""
    make = partial(trained, EdgeSettings(kind=kind, seed=seed), samples_in(folder, world, PAGES[kind]))
    return Step(f"{world}, {kind}, seed {seed}", run_in(folder, world, kind, seed), make)


def trained(settings: EdgeSettings, data: Path, folder: Path) -> str:
    """Train; returns the result in words."""
    finish_edge(settings, data, folder)
    return result_text(final_result(folder)).partition(" Saved ")[0]


def run_in(folder: Path, world: str, kind: str, seed: int = 0) -> Path:
    """The folder of a training."""
    return folder / f"{kind}-{world}-{seed}"


def best_run(folder: Path, kind: str, effort: Effort) -> Path:
    """The training in the default world with the lowest loss on held-out people."""
    runs = [run_in(folder, "default", kind, seed) for seed in range(effort.seeds)]
    return max(runs, key=lambda run: best_checkpoint(run).about["score"])


def evidence_lines(folder: Path, effort: Effort, lines: list[str]) -> list[str]:
    """What was trained, and every gate with its answer, as Markdown."""
    return [
        "# Gates of the edge networks", "",
        "Written by `make models`; what each gate asks is in docs/edge-models.md. Online: "
        f"{effort.users} people, {effort.minutes:g} minutes, {effort.replications} replications, seed {GATE_SEED}. The "
        f"world: semantics {SEMANTICS}, nextone {__version__}.", "",
        "## Trained", "", *(f"- {line}" for line in lines), "",
        "Loss on held-out people in the default world, by seed of the training; the best is shipped.", "",
        "| model |" + "".join(f" seed {seed} |" for seed in range(effort.seeds)) + " shipped |",
        "|---|" + "---|" * (effort.seeds + 1), *(losses_line(folder, kind, effort) for kind in SHIPPED), "",
        "## Offline, where intents are strong", "",
        "| model | metric | rival | model | rival | better by | passed |",
        "|---|---|---|---|---|---|---|", *offline_lines(folder), "",
        "## Online: share of the reference filter's gain over the cloud", "",
        "| world | model | metric | gain, % | filter's gain, % | in standard errors | share | passed |",
        "|---|---|---|---|---|---|---|---|", *online_lines(folder, "strong", effort),
        *online_lines(folder, "default", effort), "",
        "## Online, where there is nothing to perceive", "",
        "| model, trained there | metric | against the cloud, % | passed |", "|---|---|---|---|",
        *null_lines(folder, effort), "",
    ]  # fmt: skip


def losses_line(folder: Path, kind: str, effort: Effort) -> str:
    """The row of a kind in the table of losses."""
    losses = [-best_checkpoint(run_in(folder, "default", kind, seed)).about["score"] for seed in range(effort.seeds)]
    cells = "".join(f" {loss:.4f} |" for loss in losses)
    return f"| {kind} |{cells} seed {losses.index(min(losses))} |"


def offline_lines(folder: Path) -> Iterator[str]:
    """The rows of the table of offline gates."""
    for kind in SHIPPED:
        with torch_threads(1):  # the same on any machine
            gates = offline_gate(kind, run_in(folder, "strong", kind), samples_in(folder, "strong", PAGES[kind]))
        yield from (offline_line(kind, found) for found in gates)


def offline_line(kind: str, found: Better) -> str:
    """A row of the table of offline gates."""
    judged = {True: "yes", False: "**no**"}[found.passed] if found.rival != "reference" else "not asked"
    return (
        f"| {kind} | {found.metric} | {found.rival} | {found.network:.4f} | {found.of_rival:.4f} | "
        f"{found.difference:+.4f} ±{found.half:.4f} | {judged} |"
    )


def online_lines(folder: Path, world: str, effort: Effort) -> Iterator[str]:
    """The rows of the table of online gates: kinds with the same pages share the arms with which they are compared."""
    for pages in effort.people:
        policies = {
            f"{kind if world == 'default' else f'{kind}:{run_in(folder, world, kind)}'}{how}": f"{kind}{how}"
            for kind in SHIPPED
            if PAGES[kind] == pages
            for how in ("", *ALSO[kind])
        }
        found = online_gate(
            [*policies], gate_world(world, pages, effort), metrics=TOLD_IN, seed=GATE_SEED,
            replications=effort.replications, minutes=effort.minutes, workers=effort.workers,
        )  # fmt: skip
        for policy, shares in found.items():
            judged = world == "strong" and policies[policy] in SHIPPED
            yield from (online_line(world, policies[policy], share, judged) for share in shares)


def online_line(world: str, model: str, share: Share, judged: bool) -> str:
    """A row of the table of online gates."""
    told = f"{share.share:.2f} [{share.low:.2f}, {share.high:.2f}]" if share.told else "filter gains too little to tell"
    passed = ("yes" if share.passed else "**no**") if judged and share.told else "not asked"
    return (
        f"| {world} | {model} | {share.metric} | {share.gain:+.2f} | {share.of_filter:+.2f} | {share.filter_sd:.1f} | "
        f"{told} | {passed} |"
    )


def null_lines(folder: Path, effort: Effort) -> Iterator[str]:
    """The rows of the table of the world with nothing to perceive."""
    for pages in effort.people:
        policies = {f"{k}:{run_in(folder, 'nothing', k)}": k for k in SHIPPED if PAGES[k] == pages}
        found = null_gate(
            [*policies], gate_world("nothing", pages, effort), seed=GATE_SEED, replications=effort.replications,
            minutes=effort.minutes, workers=effort.workers,
        )  # fmt: skip
        yield from (null_line(policies[policy], gain) for policy, gain in found.items())


def null_line(kind: str, gain: Gain) -> str:
    """A row of the table of the world with nothing to perceive."""
    return f"| {kind} | objective | {gain.mean:+.2f} ±{gain.half:.2f} | {'yes' if gain.is_none else '**no**'} |"


def gate_world(world: str, pages: str, effort: Effort) -> Scenario:
    """The scenario of the online gates."""
    settings = (*NAMED[pages], *WORLDS[world], f"population.users={effort.users}", "server.workers=100000")
    return with_settings(Scenario(), settings)


def ship(kind: str, run: Path, target: Path) -> None:
    """Replace the checkpoint in `target` by the weights of a run's best checkpoint."""
    best = best_checkpoint(run)
    assert best.about["kind"] == kind
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    save_checkpoint(target, best.step, best.about, {MODEL: best.tensors[MODEL]})


def _mb(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6


if __name__ == "__main__":
    make_shipped(Path(sys.argv[1]), Path(sys.argv[2]))
