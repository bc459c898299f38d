"""Commands for edge networks: `nextone collect`, `nextone train edgerec` and others, `nextone offline-table`."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from . import common


def collect(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Write samples.parquet there.")],
    policy: Annotated[str, typer.Option(help="The policy that chooses where the choice is not random.")] = "cloud_only",
    users: Annotated[int, typer.Option(help="People.", min=1)] = 3000,
    minutes: common.Minutes = None,
    days: common.Days = None,
    explore: Annotated[float, typer.Option(help="Share of decisions that are made at random.")] = 0.2,
    temperature: Annotated[
        float, typer.Option(help="Of a softmax over its scores, in their standard deviations; 0 takes the best.")
    ] = 0.0,
    episodes: Annotated[
        bool, typer.Option("--episodes", help="Write episodes.parquet too, for offline reinforcement learning.")
    ] = False,
    dataset: Annotated[
        str | None, typer.Option("--as", metavar="minari|d3rlpy", help="Write it as a dataset of that library, too.")
    ] = None,
    reward: Annotated[
        str, typer.Option(help="The reward of that dataset, e.g. long_view or watch_s.")
    ] = "effective_view",
    workers: common.OneWorker = None,
    on: common.On = None,
    seed: common.Seed = 0,
    settings: common.Settings = None,
    scenario: common.ScenarioFile = None,
    as_json: common.Json = False,
    quiet: common.Quiet = False,
) -> None:
    """Write training samples, one row per rerank request.

    They come from people who are simulated under a logging policy."""
    world = common.chosen_scenario(scenario, settings)
    from nextone.experiments.runs.arms import check_run
    from nextone.experiments.runs.names import resolve_policy
    from nextone.experiments.training.edge.collect import CollectSettings
    from nextone.experiments.training.edge.collect import collect as run
    from nextone.experiments.training.edge.datasets import check_library, write_dataset
    from nextone.experiments.training.edge.episodes import write_episodes

    minutes = common.window(minutes, days)
    execute, workers = common.executor(on, workers), common.one_unless(workers, on)
    check_run(minutes=minutes, days=days, seed=seed)
    resolve_policy(policy, world)
    chosen = CollectSettings(
        scenario=world, policy=policy, users=users, minutes=minutes, days=days, explore=explore,
        temperature=temperature, seed=seed,
    )  # fmt: skip
    if dataset is not None:
        check_library(dataset, reward, out)
    common.prepare_folder(out)
    with common.progress_bar(as_json or quiet, "people") as progress:
        result = run(chosen, out, progress, workers=workers, execute=execute)
    if episodes:
        write_episodes(out)
    written = [] if dataset is None else [write_dataset(out, dataset, reward)]
    size = result.path.stat().st_size
    rows = ", ".join(f"{n:,} {split} ({result.people[split]:,} people)" for split, n in result.rows.items())
    common.deliver(
        lambda: [f"{rows} requests; {result.lost:,} came to nothing. Saved {result.path}, {size / 1e6:.1f} MB"],
        lambda: result._asdict() | {"path": str(result.path), "bytes": size}, lambda: written, as_json=as_json,
    )  # fmt: skip


def train_command(kind: str) -> Callable[..., None]:
    """The command `nextone train KIND`."""

    def train(
        data: Annotated[Path, typer.Option(metavar="DIR", help="Samples of `nextone collect`.")],
        out: Annotated[Path | None, typer.Option(metavar="DIR", help="Save checkpoints there.")] = None,
        ablation: Annotated[str | None, typer.Option(help="edgerec only: ie, ipv or huism.")] = None,
        seed: Annotated[int | None, typer.Option(help="Seed of first weights and shuffles (default 0).")] = None,
        epochs: Annotated[int | None, typer.Option(help="Most passes over the samples (default 60).", min=1)] = None,
        batch: Annotated[int | None, typer.Option(help="Requests in a batch (default 512).", min=1)] = None,
        learning_rate: Annotated[float | None, typer.Option(help="Learning rate of Adam.")] = None,
        resume: Annotated[
            Path | None, typer.Option(metavar="DIR", help="Continue the training in this folder.")
        ] = None,
        threads: Annotated[int | None, typer.Option(help="Threads of torch (default 1).", min=1)] = None,
        as_json: common.Json = False,
        quiet: common.Quiet = False,
    ) -> None:
        from dataclasses import replace

        from nextone.experiments.training.edge import train as code
        from nextone.sim.scenario import SettingError

        options: dict[str, object] = {
            "ablation": ablation, "seed": seed, "batch": batch, "learning_rate": learning_rate, "threads": threads
        }  # fmt: skip
        changed = [name for name, value in (options | {"out": out}).items() if value is not None]
        if resume is not None and changed:
            raise SettingError(f"--{changed[0].replace('_', '-')} cannot be changed with --resume; only --epochs can")
        folder = out or resume
        if folder is None:
            raise SettingError("--out is missing; give a folder for the checkpoints")
        given = {name: value for name, value in (options | {"epochs": epochs}).items() if value is not None}
        checkpoint = None
        if resume is not None:
            chosen, checkpoint = code.resume_from(resume)
            if chosen.kind != kind:
                raise SettingError(f"--resume {str(resume)!r} holds a training of {chosen.kind}, not {kind}")
            chosen = replace(chosen, **given)  # type: ignore[arg-type]
        else:
            chosen = code.EdgeSettings(kind=kind, **given)  # type: ignore[arg-type]
        common.prepare_folder(folder)
        code.train_edge(chosen, data, folder, resume=checkpoint, progress=not quiet and common.watched(as_json))
        result = code.final_result(folder)
        common.deliver(lambda: [code.result_text(result)], lambda: result, as_json=as_json)

    train.__doc__ = {
        "edgerec": "Train EdgeRec (HUBSM and CRBAN) on collected samples.",
        "kir": "Train the KIR-like network on collected samples.",
        "context_aware": "Train the context-aware reranker on collected samples.",
        "dnn": "Train DNN-rank, the cloud's baseline, on collected samples.",
        "dlcm": "Train DLCM, the cloud's list ranker, on collected samples.",
    }[kind]
    return train


def offline_table(
    data: Annotated[Path, typer.Option(metavar="DIR", help="Samples of `nextone collect`.")],
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder for trainings, and for the table as Markdown and JSON.")
    ],
    seeds: Annotated[int, typer.Option(help="Trainings of each method, at least 5.", min=5)] = 5,
    label: Annotated[str, typer.Option(help="What is predicted: effective_view or engaged.")] = "effective_view",
    epochs: Annotated[int | None, typer.Option(help="Most passes over the samples (default 60).", min=1)] = None,
    threads: Annotated[int, typer.Option(help="Threads of torch.", min=1)] = 1,
    workers: common.OneWorker = None,
    on: common.On = None,
    as_json: common.Json = False,
    quiet: common.Quiet = False,
) -> None:
    """Train every method and print EdgeRec's offline table.

    Trains with several seeds; the published table stands beside. Takes hours."""
    from nextone.experiments.training.edge import offline_table as code
    from nextone.sim.scenario import SettingError

    execute, workers = common.executor(on, workers), common.one_unless(workers, on)
    if label not in code.LABELS:
        raise SettingError(f"--label {label[:40]!r} must be one of {', '.join(code.LABELS)}")
    common.prepare_folder(out)
    table = code.offline_table(
        data, out, seeds=seeds, label=label, epochs=epochs, threads=threads, workers=workers, execute=execute,
        progress=not quiet and common.watched(as_json), said=lambda line: print(line, file=sys.stderr),
    )  # fmt: skip
    from rich.table import Table

    heads, lines, note = code.table_lines(table)
    shown = Table(*heads, title="EdgeRec's Table 2 and NextOne's", caption=note, caption_justify="left")
    for column in shown.columns[1:]:
        column.justify = "right"
    for line in lines:
        shown.add_row(*line)
    common.deliver(
        lambda: [shown], lambda: code.table_json(table), lambda: code.save_table(table, out), as_json=as_json, width=160
    )
