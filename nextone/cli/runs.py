"""One run and what it leaves: `nextone run`, `replay`, `timeline`; what there is: `scenario`, `list`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import typer

from . import common


def run_once(
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Save impressions, requests and sessions there.")
    ] = None,
    as_log: Annotated[
        Path | None, typer.Option(metavar="FILE.csv", help="Write impressions as a log that nextone calibrate reads.")
    ] = None,
    policy: Annotated[str, typer.Option(help="The policy that chooses the next video.")] = "cloud_only",
    users: common.Users = None,
    minutes: common.Minutes = None,
    days: common.Days = None,
    replication: Annotated[int, typer.Option(help="Which replication of `compare` to run.", min=0)] = 0,
    seed: common.Seed = 0,
    settings: common.Settings = None,
    scenario: common.ScenarioFile = None,
    engine: common.Engine = "event",
    as_json: common.Json = False,
) -> None:
    """Run one policy once and save its logs as Parquet files.

    The files record how to repeat the run."""
    from nextone.experiments.runs.arms import check_run
    from nextone.experiments.runs.names import resolve_policy
    from nextone.sim.scenario import SettingError

    minutes = common.window(minutes, days)
    check_run(minutes=minutes, days=days, seed=seed)
    world = common.chosen_scenario(scenario, settings, users)
    resolve_policy(policy, world)
    if out is None and as_log is None:
        raise SettingError("--out is missing; give a folder for the logs, or --as-log FILE.csv")
    if out is not None:
        common.prepare_folder(out)
    if as_log is not None:
        common.prepare_file(as_log)
    from nextone.experiments.runs.replication import run_arm
    from nextone.experiments.runs.run_logs import Recipe, save_logs
    from nextone.experiments.runs.run_shown import run_json, run_line

    recipe = Recipe(policy, seed, replication, engine, minutes, days, policy)
    common.say_first_use()
    result = run_arm(
        world, policy, seed=seed, replication=replication, minutes=minutes, days=days, engine=engine
    )

    def save() -> Iterator[Path]:
        if out is not None:
            yield from save_logs(result, out, recipe)
        if as_log is not None:
            from nextone.experiments.fitting.logs.user_log import simulated_log, write_generic

            write_generic(as_log, simulated_log(result.whole, result.world))
            yield as_log

    common.deliver(lambda: [run_line(result, recipe)], lambda: run_json(result, recipe), save, as_json=as_json)


def replay(
    file: Annotated[
        Path, typer.Argument(metavar="FILE.parquet", help="A log of `nextone run`, or results.parquet of a sweep.")
    ],
    rows: Annotated[int, typer.Option(help="For results of a sweep: how many rows to repeat.", min=1)] = 10,
) -> None:
    """Repeat the run that a file records and compare every bit.

    Exit code 1 if any differs."""
    common.say_first_use()
    if file.name == "results.parquet":
        from nextone.experiments.sweeps.replay import replay_rows

        again = replay_rows(file, rows, workers=common.cores())
        print("\n".join(again.differences) or f"identical: {again.rows:,} replications, every bit of every metric")
        if again.differences:
            raise typer.Exit(1)
        return
    from nextone.experiments.runs.run_logs import replay as run_again

    result = run_again(file)
    print("\n".join(result.differences) or f"identical: {result.rows:,} {result.table}, every bit of every column")
    if result.differences:
        raise typer.Exit(1)


def list_names(
    what: Annotated[
        Literal["policies", "metrics"] | None, typer.Argument(help="What to list.  [default: both]")
    ] = None,
    as_json: common.Json = False,
) -> None:
    """List policies and metrics, with what they mean.

    Of a metric, it also says which way is better."""
    from nextone.experiments.runs.metrics import METRICS
    from nextone.experiments.runs.names import MEANINGS
    from nextone.policies.names import KINDS, options_told

    told: dict[str, list[dict[str, str]]] = {}
    if what != "metrics":
        told["policies"] = [
            {"name": name, "meaning": meaning, "options": options_told(name) if name in KINDS else ""}
            for name, meaning in MEANINGS.items()
        ]
    if what != "policies":
        fields = ("name", "unit", "group", "better", "meaning")
        told["metrics"] = [{field: getattr(metric, field) for field in fields} for metric in METRICS]

    def shown() -> Iterator[str]:
        for each in told.get("policies", ()):
            yield f"{each['name']}: {each['meaning']}" + (f"; after @: {each['options']}" if each["options"] else "")
        for each in told.get("metrics", ()):
            yield f"{each['name']} [{each['unit']}]: {each['meaning']}; {each['better']} is better"

    common.deliver(shown, lambda: told, as_json=as_json)


def scenario(
    show: Annotated[bool, typer.Option("--show", help="Print all settings as TOML, with units and sources.")] = False,
    file: common.ScenarioFile = None,
    settings: common.Settings = None,
    comments: Annotated[
        bool, typer.Option(help="Add meaning, unit, bounds, source and plausible range to each setting.")
    ] = True,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.toml", help="Save it there, with digests of the files that it names.")
    ] = None,
) -> None:
    """Check a scenario, and print or save it as TOML.

    --show prints and --out saves all its settings."""
    from nextone.sim.scenario import saved_scenario

    chosen = common.chosen_scenario(file, settings)
    if out is not None:
        common.prepare_file(out)
        from nextone.experiments.runs.files import write_text

        write_text(out, saved_scenario(chosen, out.parent, comments))
        print(f"Saved {out}")
    if show:
        print(saved_scenario(chosen, Path(), comments), end="")
    elif out is None:
        print("scenario is valid; --show prints it")


def timeline(
    user: Annotated[
        int | None, typer.Option(help="Whose session.  [default: the first who sees 20 to 100 videos]", min=0)
    ] = None,
    out: Annotated[Path, typer.Option(metavar="FILE.json", help="Where to write it.")] = Path("timeline.json"),
    policy: Annotated[str, typer.Option(help="The policy that chooses the next video.")] = "tag_momentum",
    seed: common.Seed = 0,
    settings: common.Settings = None,
    scenario: common.ScenarioFile = None,
    engine: Annotated[
        Literal["event", "batch"] | None,
        typer.Option(
            help="batch: the person alone; event: among all who queue for servers.  "
            "[default: event if server.workers is given]"
        ),
    ] = None,
) -> None:
    """Write one person's session as Chrome trace events.

    Its lanes are screen, link, pool, server and policy; ui.perfetto.dev shows them."""
    from nextone.experiments.runs.arms import check_run
    from nextone.experiments.runs.names import resolve_policy
    from nextone.sim.scenario import SettingError

    world = common.chosen_scenario(scenario, settings)
    check_run(seed=seed)
    if user is not None and user >= world.population.users:
        raise SettingError(f"--user {user} must be >= 0 and < population.users={world.population.users}")
    resolve_policy(policy, world)
    common.prepare_file(out)
    from nextone.experiments.output.timeline import make_timeline, timeline_sentence, worth_a_look, write_timeline

    common.say_first_use()
    chosen = worth_a_look(world, seed, policy) if user is None else user
    made = make_timeline(world, chosen, seed, policy, engine=engine)
    common.deliver(
        lambda: [
            timeline_sentence(made), "To open in any viewer of Chrome trace events, for example ui.perfetto.dev."
        ],
        save=lambda: [write_timeline(made, out)],
    )  # fmt: skip
