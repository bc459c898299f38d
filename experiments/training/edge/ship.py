"""Making the checkpoints that come with the package, and asking whether they earn their place: `make models`, or
`python -m nextone.experiments.training.edge.ship DIR EVIDENCE.md`.

For each shipped kind: samples of the default scenario with the pages that its system has, trainings with several seeds,
and the weights of the best, without what only a training needs, into policies/checkpoints. Then the same in a world
with strong intents, where the gates are, and in one with nothing to perceive. What is in DIR already is not made again.
"""

import shutil
import sys
import time
from pathlib import Path
from typing import NamedTuple

from nextone.experiments.runs.files import write_text
from nextone.policies.checkpoint import MODEL, best_checkpoint, save_checkpoint
from nextone.policies.names import SHIPPED, shipped
from nextone.sim.config import Scenario
from nextone.sim.scenario import NAMED, with_settings

from .collect import CollectSettings, collect
from .gates import Better, Share, offline_gate, online_gate
from .samples import FILE
from .train import EdgeSettings, final_result, finish_edge, result_text

MOST_MB = 10.0  # of all of them together
EXPLORE = 0.3  # Assumed: share of decisions made at random while samples are collected
PAGES = {"kir": "kir", "context_aware": "kir", "edgerec": "edgerec"}
"""The named scenario whose pages a kind is trained with: page 6 of 20, or page 50 of 100 after 60 s."""
NOTHING_TO_PERCEIVE = (
    "interests.intent_sd=0", "server.assumed_intent_sd=0", "interests.reinforcement=0", "interests.satiation=0",
    "interests.mood_sd=0", "server.taste_correlation=1", "server.person_correlation=1",
)  # fmt: skip
WORLDS = {"default": (), "strong": NAMED["strong_intent"], "nothing": NOTHING_TO_PERCEIVE}


class Effort(NamedTuple):
    """How much goes into a model."""

    people: dict[str, int]  # by pages
    days: float
    seeds: int  # trainings of what is shipped; one of what only the gates ask for
    replications: int
    users: int  # people of a replication
    minutes: float
    nulls: tuple[str, ...] = SHIPPED  # kinds that are trained and asked where there is nothing to perceive, too


USUAL = Effort({"kir": 3_000, "edgerec": 800}, 1.0, 1, 12, 400, 30.0)
GATE_SEED = 20_260  # of the gates' people; any number
TOLD_IN = ("objective", "valid_play", "app_min")
EQUAL = 0.3  # %: within which a model must be of the cloud where there is nothing to perceive


def make_shipped(folder: Path, evidence: Path | None = None, effort: Effort = USUAL) -> list[str]:
    """Collect, train and ask in `folder`, replace the shipped checkpoints; one line on each."""
    lines: list[str] = []
    for kind in SHIPPED:
        runs = []
        for seed in range(effort.seeds):
            runs.append(trained(folder, "default", kind, seed, effort, lines))
        best = max(runs, key=lambda run: best_checkpoint(run).about["score"])
        ship(kind, best, shipped(kind))
    total = sum(_mb(shipped(kind)) for kind in SHIPPED)
    assert total <= MOST_MB, total
    lines.append(f"together {total:.2f} MB in {shipped('')}")
    if evidence is not None:
        told = "\n".join(gate_lines(folder, effort, lines))
        write_text(evidence, told)
    return lines


def trained(folder: Path, world: str, kind: str, seed: int, effort: Effort, lines: list[str]) -> Path:
    """The folder of a training, made now if it is not there."""
    data, pages = folder / f"samples-{world}-{PAGES[kind]}", PAGES[kind]
    data.mkdir(parents=True, exist_ok=True)
    if not (data / FILE).exists():
        began = time.monotonic()
        scenario = with_settings(Scenario(), (*NAMED[pages], *WORLDS[world]))
        told = collect(
            CollectSettings(scenario=scenario, users=effort.people[pages], days=effort.days, explore=EXPLORE), data
        )
        rows = ", ".join(f"{n:,} {split}" for split, n in told.rows.items())
        lines.append(f"samples of {world}, {pages}: {rows} requests, {_mb(data):.0f} MB, {_minutes(began)}")
    began, run = time.monotonic(), folder / f"{kind}-{world}-{seed}"
    finish_edge(EdgeSettings(kind=kind, seed=seed), data, run, progress=sys.stderr.isatty())
    lines.append(f"{world}, seed {seed}: {result_text(final_result(run))}, {_minutes(began)}")
    return run


def gate_lines(folder: Path, effort: Effort, lines: list[str]) -> list[str]:
    """The evidence: what was trained, and every gate with its answer, as Markdown."""
    offline, online, null = [], [], []
    for kind in SHIPPED:
        run = trained(folder, "strong", kind, 0, effort, lines)
        data = folder / f"samples-strong-{PAGES[kind]}"
        offline += [offline_line(kind, found) for found in offline_gate(kind, run, data)]
        for world, policy in (("strong", f"{kind}:{run}"), ("default", kind)):
            shares = asked(world, kind, policy, effort)
            online += [online_line(world, kind, share, world == "strong") for share in shares]
        if kind in effort.nulls:
            run = trained(folder, "nothing", kind, 0, effort, lines)
            null.append(null_line(kind, asked("nothing", kind, f"{kind}:{run}", effort)[0]))
    return [
        "# Gates of the edge networks", "",
        "Written by `make models`; what each gate asks is in docs/edge-models.md. Online: "
        f"{effort.users} people, {effort.minutes:g} minutes, {effort.replications} replications, seed {GATE_SEED}.", "",
        "## Trained", "", *(f"- {line}" for line in lines), "",
        "## Offline, where intents are strong", "",
        "| model | metric | rival | model | rival | better by | passed |",
        "|---|---|---|---|---|---|---|", *offline, "",
        "## Online: share of the reference filter's gain over the cloud", "",
        "| world | model | metric | gain, % | filter's gain, % | in standard errors | share | passed |",
        "|---|---|---|---|---|---|---|---|", *online, "",
        "## Online, where there is nothing to perceive", "",
        "| model, trained there | metric | against the cloud, % | passed |", "|---|---|---|---|", *null, "",
    ]  # fmt: skip


def asked(world: str, kind: str, policy: str, effort: Effort) -> list[Share]:
    """What a policy gains in a world, with the pages of its kind."""
    scenario = with_settings(
        Scenario(), (*NAMED[PAGES[kind]], *WORLDS[world], f"population.users={effort.users}", "server.workers=100000")
    )
    return online_gate(
        policy, scenario, metrics=TOLD_IN, seed=GATE_SEED, replications=effort.replications, minutes=effort.minutes
    )


def offline_line(kind: str, found: Better) -> str:
    """A row of the table."""
    judged = {True: "yes", False: "**no**"}[found.passed] if found.rival != "reference" else "not asked"
    return (
        f"| {kind} | {found.metric} | {found.rival} | {found.network:.4f} | {found.of_rival:.4f} | "
        f"{found.difference:+.4f} ±{found.half:.4f} | {judged} |"
    )


def online_line(world: str, kind: str, share: Share, judged: bool) -> str:
    """A row of the table."""
    told = f"{share.share:.2f} [{share.low:.2f}, {share.high:.2f}]" if share.told else "filter gains too little to tell"
    passed = ("yes" if share.passed else "**no**") if judged and share.told else "not asked"
    return (
        f"| {world} | {kind} | {share.metric} | {share.gain:+.2f} | {share.of_filter:+.2f} | {share.filter_sd:.1f} | "
        f"{told} | {passed} |"
    )


def null_line(kind: str, share: Share) -> str:
    """A row of the table."""
    within = abs(share.gain) + share.gain_half <= EQUAL
    return f"| {kind} | {share.metric} | {share.gain:+.2f} ±{share.gain_half:.2f} | {'yes' if within else '**no**'} |"


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
    evidence = Path(sys.argv[2]) if len(sys.argv) > 2 else None
    sys.stdout.write("\n".join(make_shipped(Path(sys.argv[1]), evidence)) + "\n")
