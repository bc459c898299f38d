"""The command line. Heavy packages are imported inside the commands, so that help answers at once.

Whatever a user can get wrong ends in one line on standard error and exit code 2; Ctrl-C in 130; a bug in a traceback.
"""

import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from nextone import __version__

from .held_out import held_out

if TYPE_CHECKING:
    from nextone.experiments.arms import Arm, Progress
    from nextone.sim.config import Scenario

CANCELLED = 130  # typer's exit code for Ctrl-C
DEFAULT_POLICIES = "cloud_only,tag_momentum,server_score,random"

app = typer.Typer(
    help="What happens to users, servers and network when the next short video is chosen on the phone.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

training = typer.Typer(help="Train policies for NextOne and look at them.", no_args_is_help=True)
app.add_typer(training, name="train")

ScenarioFile = Annotated[
    Path | None, typer.Option("--scenario", metavar="FILE.toml", help="Scenario file; what it omits keeps its default.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.FIELD=VALUE", help="Change a field, e.g. server.page_size=8. Repeatable."),
]
Users = Annotated[int | None, typer.Option(help="People simulated.  [default: 1000]")]
Minutes = Annotated[float | None, typer.Option(help="Window in which everyone opens once.  [default: 60]")]
Days = Annotated[float | None, typer.Option(help="Instead: whole days, with people coming back.")]
Engine = Annotated[
    Literal["event", "batch"], typer.Option(help="SimPy with server queues, or people in parallel without.")
]
Seed = Annotated[int, typer.Option(help="Fixes people and luck; replications and arms derive theirs from it.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else on standard output.")]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    try:
        code = int(app(args=arguments, prog_name="nextone", standalone_mode=False) or 0)
    except KeyboardInterrupt:
        code = CANCELLED
    except Exception as error:
        message = _message(error)
        if message is None:
            raise
        print(f"nextone: {message}", file=sys.stderr)
        code = 2
    if code == CANCELLED:
        print("nextone: cancelled", file=sys.stderr)
    return code


def _message(error: Exception) -> str | None:
    """One line about an error the user can mend; None for a bug."""
    if hasattr(error, "format_message"):  # typer's usage errors
        return " ".join(str(error.format_message()).split())
    module = sys.modules.get
    expected = [
        (module("nextone.sim.scenario"), "SettingError"),
        (module("nextone.sim.traces"), "TraceError"),
        (module("nextone.experiments.log_file"), "UserLogError"),
        (module("nextone.experiments.statistics"), "TooFewReplications"),
        (module("nextone.policies.checkpoint"), "CheckpointError"),
        (module("nextone.experiments.samples"), "SampleError"),
    ]
    known = tuple(getattr(home, name) for home, name in expected if home is not None)
    return " ".join(str(error).split()) if isinstance(error, known) else None


def _version(wanted: bool) -> None:
    if wanted:
        print(f"nextone {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None: ...


@app.command()
def compare(
    policies: Annotated[
        str, typer.Option(help="Comma-separated; cloud_only, if there, is the baseline, else the first.")
    ] = DEFAULT_POLICIES,
    arm: Annotated[
        list[str] | None,
        typer.Option(metavar="'LABEL=POLICY FIELD=VALUE ...'", help="An arm with settings of its own. Repeatable."),
    ] = None,
    users: Users = None,
    minutes: Minutes = None,
    days: Days = None,
    replications: Annotated[int, typer.Option(help="Independent worlds, at least 10.")] = 10,
    seed: Seed = 0,
    settings: Settings = None,
    scenario: ScenarioFile = None,
    engine: Engine = "event",
    workers: Annotated[int | None, typer.Option(help="Processes.  [default: one per core]")] = None,
    robust: Annotated[
        int | None,
        typer.Option(metavar="K", help="Repeat it under K parameter sets that fit the log: do signs hold? Usual: 32."),
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Save Parquet tables and a figure there.")] = None,
    as_json: Json = False,
) -> None:
    """Compare policies: same people, phones, links and luck; paired differences with 95 % intervals."""
    base = _scenario(scenario, settings, users)  # what is wrong with it is told before the compiled model is loaded
    from nextone.experiments.arms import check_run
    from nextone.experiments.compare import compare as run

    workers = _cores() if workers is None else workers
    minutes = 60.0 if minutes is None and days is None else minutes
    check_run(replications=replications, minutes=minutes, days=days, seed=seed, workers=workers)
    arms = _arms(policies, arm or [], base.with_workers(minutes, days))
    from nextone.experiments.domain import draws_beside, outside, warning

    draws = draws_beside(scenario)
    leaves = {each.label: outside(each.scenario, draws, days) for each in arms}
    for label, found in leaves.items():
        if found:
            print(warning(label, found), file=sys.stderr)
    fit = None
    if robust is not None:
        from nextone.experiments.fit_file import check_sets, load_fit

        fit = load_fit(scenario)
        check_sets(fit, robust)
    if out is not None:
        prepare_folder(out)
    with _progress(as_json) as progress:
        result = run(
            arms,
            seed=seed,
            replications=replications,
            minutes=minutes,
            days=days,
            engine=engine,
            workers=workers,
            progress=progress,
        )
    verdicts = None
    if fit is not None and robust is not None:
        from nextone.experiments.robust import robust_table, robustness

        with _progress(as_json, "parameter sets × replications × arms") as progress:
            verdicts = robustness(result, fit, robust, workers=workers, progress=progress)
    from nextone.experiments import figures, present

    files: list[Path] = []
    if out is not None:
        files = present.save_tables(result, out) + [out / "uplift.png"]
        figures.uplift_figure(result, files[-1])
    if as_json:
        told = present.comparison_json(result)
        told |= {"outside_domain": {label: [o._asdict() for o in found] for label, found in leaves.items()}}
        if verdicts is not None:
            told |= {"parameter_sets": robust, "robust": [v._asdict() for v in verdicts]}
        print(json.dumps(told, allow_nan=False))
    else:
        from rich.console import Console

        console = Console()
        if not console.is_terminal:  # a pipe or a file has no width to fit
            console.width = 160
        console.print(present.comparison_table(result))
        if verdicts is not None and robust is not None:
            console.print(robust_table(verdicts, robust))
        if files:
            console.print("Saved " + ", ".join(map(str, files)), highlight=False, soft_wrap=True)


@app.command("run")
def run_once(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Save impressions, requests and sessions there.")],
    policy: Annotated[str, typer.Option(help="Who chooses the next video.")] = "cloud_only",
    users: Users = None,
    minutes: Minutes = None,
    days: Days = None,
    replication: Annotated[int, typer.Option(help="Which of the worlds that `compare` runs.", min=0)] = 0,
    seed: Seed = 0,
    settings: Settings = None,
    scenario: ScenarioFile = None,
    engine: Engine = "event",
) -> None:
    """Run one policy once and save its logs, as Parquet files that explain and can replay themselves."""
    from nextone.experiments.arms import check_run
    from nextone.experiments.names import resolve_policy

    minutes = 60.0 if minutes is None and days is None else minutes
    check_run(minutes=minutes, days=days, seed=seed)
    world = _scenario(scenario, settings, users)
    resolve_policy(policy, world)
    prepare_folder(out)
    from nextone.experiments.logs import Recipe, save_logs
    from nextone.experiments.replication import run_arm

    recipe = Recipe(policy, seed, replication, engine, minutes, days, policy)
    result = run_arm(
        world, policy, seed=seed, replication=replication, minutes=minutes, days=days, engine=engine
    )
    files = save_logs(result, out, recipe)
    counts = ", ".join(f"{len(table):,} {name}" for name, table in result.records._asdict().items())
    print(f"{counts}. Saved {', '.join(map(str, files))}")


@app.command()
def replay(
    file: Annotated[
        Path, typer.Argument(metavar="FILE.parquet", help="A log of `nextone run`, or results.parquet of a sweep.")
    ],
    rows: Annotated[int, typer.Option(help="Of a sweep's results: so many of its rows.", min=1)] = 10,
) -> None:
    """Run again what a file says of itself, and compare every bit; exit code 1 if any differs."""
    if file.name == "results.parquet":
        from nextone.experiments.sweep_replay import replay_rows

        again = replay_rows(file, rows, workers=_cores())
        print("\n".join(again.differences) or f"identical: {again.rows:,} replications, every bit of every metric")
        if again.differences:
            raise typer.Exit(1)
        return
    from nextone.experiments.logs import replay as run_again

    result = run_again(file)
    print("\n".join(result.differences) or f"identical: {result.rows:,} {result.table}, every bit of every column")
    if result.differences:
        raise typer.Exit(1)


@app.command()
def scenario(
    show: Annotated[bool, typer.Option("--show", help="Print all of it as TOML, with units and sources.")] = False,
    file: ScenarioFile = None,
    settings: Settings = None,
    comments: Annotated[bool, typer.Option(help="Meaning, unit, bounds and source of each field.")] = True,
) -> None:
    """Check a scenario; with --show, print all of it as TOML that loads back equal."""
    from nextone.sim.scenario import scenario_toml

    chosen = _scenario(file, settings, None)
    print(scenario_toml(chosen, comments) if show else "scenario is valid; --show prints it", end="" if show else "\n")


@app.command()
def timeline(
    user: Annotated[int, typer.Option(help="Whose session: 0 to population.users - 1.")] = 7,
    out: Annotated[Path, typer.Option(metavar="FILE.json", help="Where to write it.")] = Path("timeline.json"),
    policy: Annotated[str, typer.Option(help="Who chooses the next video.")] = "tag_momentum",
    seed: Seed = 0,
    settings: Settings = None,
    scenario: ScenarioFile = None,
) -> None:
    """Write one person's session as Chrome trace events: screen, link, pool, server, policy."""
    from nextone.experiments.arms import check_run
    from nextone.experiments.names import resolve_policy
    from nextone.sim.scenario import SettingError

    world = _scenario(scenario, settings, None)
    check_run(seed=seed)
    if not 0 <= user < world.population.users:
        raise SettingError(f"--user {user} must be >= 0 and < population.users={world.population.users}")
    resolve_policy(policy, world)
    prepare_file(out)
    from nextone.experiments.timeline import write_timeline

    write_timeline(world, user, seed, policy, out)
    print(f"Saved {out}; open it in any viewer of Chrome trace events, for example ui.perfetto.dev")


@app.command()
def calibrate(
    log: Annotated[
        Path | None,
        typer.Argument(metavar="[LOG]", help="Impressions, CSV or Parquet.  [default: the shipped KuaiRand-Pure]"),
    ] = None,
    format: Annotated[str | None, typer.Option(help="kuairand or generic.  [default: by the columns]")] = None,
    videos: Annotated[
        Path | None, typer.Option(metavar="FILE", help="KuaiRand's video table: tags.  [default: beside the log]")
    ] = None,
    traces: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Throughput traces and RTT logs, instead of or beside a log.")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the scenario there, TOML.")] = None,
    users: Annotated[int | None, typer.Option(help="People simulated.  [default: 1000]", min=50)] = None,
    seed: Seed = 0,
    settings: Settings = None,
    scenario: ScenarioFile = None,
    as_json: Json = False,
) -> None:
    """Fit people to a log of impressions, or links to traces, and write the scenario; takes some minutes."""
    from nextone.sim.scenario import SettingError, scenario_toml

    world = _scenario(scenario, settings, None)
    if out is not None:
        prepare_file(out)
    told: dict[str, object] = {}
    shown: list[object] = []
    fit, name = None, "the shipped KuaiRand-Pure"
    if traces is not None:
        from nextone.experiments.calibrate_traces import calibrate_traces

        links = calibrate_traces(traces)
        world = links.applied(world)
        told["traces"] = links._asdict() | {
            "facts": [x._asdict() for x in links.facts], "fitted": [x._asdict() for x in links.fitted]
        }
        shown += links.lines()
    if log is not None or traces is None:
        from nextone.experiments import calibrate as people
        from nextone.experiments.fit_file import fit_json, fit_table
        from nextone.experiments.user_log import read_user_log, shipped_log

        if log is None and (format or videos):
            raise SettingError("--format and --videos are about a LOG; give one")
        measured = shipped_log() if log is None else read_user_log(log, format, videos)  # type: ignore[arg-type]
        name = name if log is None else str(log)
        published = people.KUAIRAND if log is None else None
        with _progress(as_json, "fitting") as progress:
            fit = people.calibrate(
                measured, world, published=published, people=users or people.PEOPLE, seed=seed, progress=progress
            )
        world = fit.scenario
        told |= fit_json(fit, name)
        shown += [measured.report(), fit_table(fit, name)]
    files: list[Path] = []
    if out is not None:
        from nextone.experiments.fit_file import save_fit
        from nextone.experiments.present import write_whole

        if fit is not None:
            files = save_fit(fit, name, out)
        else:
            text = scenario_toml(world)
            write_whole(out, lambda path: path.write_text(text, encoding="utf-8"))
            files = [out]
    if as_json:
        print(json.dumps(told, allow_nan=False))
        return
    from rich.console import Console

    console = Console()
    if not console.is_terminal:  # a pipe or a file has no width to fit
        console.width = 120
    for each in shown:
        console.print(each, highlight=False)
    if files:
        console.print("Saved " + ", ".join(map(str, files)), highlight=False, soft_wrap=True)


@app.command()
def validate(
    log: Annotated[
        Path | None,
        typer.Option(metavar="LOG", help="Your own log, CSV or Parquet.  [default: the shipped KuaiRand-Pure]"),
    ] = None,
    users: Annotated[int | None, typer.Option(help="People simulated.  [default: 5000]", min=10)] = None,
    seed: Seed = 0,
    settings: Settings = None,
    scenario: ScenarioFile = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Save the scoreboard and figures there.")] = None,
    as_json: Json = False,
) -> None:
    """Compare simulated people and links with measured ones, number by number; takes some minutes."""
    from nextone.experiments.arms import check_run

    world = _scenario(scenario, settings, None)
    check_run(seed=seed)
    if out is not None:
        prepare_folder(out)
    from nextone.experiments import validation_report as report
    from nextone.experiments.user_log import read_user_log
    from nextone.experiments.validate import PEOPLE
    from nextone.experiments.validate import validate as run

    measured = None if log is None else read_user_log(log)
    with _progress(as_json, "people") as progress:
        result = run(world, measured, people=users or PEOPLE, seed=seed, progress=progress)
    files: list[Path] = []
    if out is not None:
        from nextone.experiments.people_figures import save_figures

        files = report.save_scoreboard(result, out) + save_figures(result, out)
    if as_json:
        print(json.dumps({"rows": report.scoreboard_json(result)["rows"]}, allow_nan=False))
    else:
        from rich.console import Console

        console = Console()
        if not console.is_terminal:  # a pipe or a file has no width to fit
            console.width = 120
        if measured is not None:
            console.print(measured.report())
        console.print(report.scoreboard_table(result))
        if files:
            console.print("Saved " + ", ".join(map(str, files)), highlight=False, soft_wrap=True)
        console.print(report.verdict(result))


@app.command()
def bench(
    compare: Annotated[bool, typer.Option("--compare", help="Time the default comparison too.")] = False,
    as_json: Json = False,
) -> None:
    """Measure speed and memory on this machine; takes some minutes."""
    from nextone.experiments.bench import Sizes, print_bench, run_bench

    result = run_bench(Sizes(compare=compare))
    if as_json:
        print(json.dumps(result, allow_nan=False))
    else:
        print_bench(result)


def _add_commands() -> None:
    """Commands in files of their own."""
    from nextone.cli.edge import KINDS, collect, offline_table, train_command
    from nextone.cli.export import export
    from nextone.cli.gallery import report, what_if
    from nextone.cli.sweep import sweep
    from nextone.cli.train import train_asking, train_curves, train_frontier, train_rl, train_robust

    app.command()(sweep)
    app.command()(report)
    app.command("what-if")(what_if)
    app.command()(collect)
    app.command()(export)
    app.command("offline-table")(offline_table)
    training.command("rl")(train_rl)
    for kind in KINDS:
        train_command(kind)
    training.command("asking")(train_asking)
    training.command("curves")(train_curves)
    training.command("frontier")(train_frontier)
    training.command("robust")(train_robust)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _scenario(file: Path | None, settings: Sequence[str] | None, users: int | None) -> "Scenario":
    from nextone.sim.config import Scenario
    from nextone.sim.scenario import SettingError, load_scenario, with_settings

    settings = list(settings or [])
    if users is not None:
        if any(text.split("=")[0].strip() == "population.users" for text in settings):
            raise SettingError("--users and --set population.users=... are both given; give one")
        settings.append(f"population.users={users}")
    chosen = with_settings(load_scenario(file) if file is not None else Scenario(), settings)
    if not (chosen.network.traces or chosen.network.rtt):
        return chosen
    from nextone.sim.trace_files import read_pings, read_traces

    if chosen.network.traces:  # bad files are told at once, before the compiled model is loaded
        read_traces(chosen.network.traces)
    if chosen.network.rtt:
        read_pings(chosen.network.rtt)
    return chosen


def _arms(policies: str, texts: Sequence[str], base: "Scenario") -> list["Arm"]:
    """Baseline first: cloud_only where it is among the policies, else the first."""
    from nextone.experiments.arms import BASELINE_POLICY, Arm, parse_arm
    from nextone.experiments.names import resolve_policy

    names = [name.strip() for name in policies.split(",") if name.strip()]
    names.sort(key=lambda name: name != BASELINE_POLICY)
    return [Arm(name, resolve_policy(name, base), base) for name in names] + [parse_arm(text, base) for text in texts]


def prepare_folder(path: Path) -> None:
    """Create it and make sure that files can be written there. Raises SettingError."""
    from nextone.sim.scenario import SettingError

    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path, prefix=".nextone-"):
            pass
    except (OSError, ValueError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        raise SettingError(f"--out {str(path)!r}: {reason}; give a folder that can be written to") from None


def prepare_file(path: Path) -> None:
    """Make sure that this file can be written. Raises SettingError."""
    from nextone.sim.scenario import SettingError

    prepare_folder(path.parent)
    try:
        if path.exists() and not path.is_file():
            raise SettingError(f"--out {str(path)!r}: is not a file; give the name of a JSON file")
    except (OSError, ValueError) as error:
        if isinstance(error, SettingError):
            raise
        raise SettingError(f"--out {str(path)!r}: {error}; give the name of a JSON file") from None


@contextmanager
def _progress(quiet: bool, what: str = "replications × arms") -> Iterator["Progress | None"]:
    """A bar on standard error while a person watches; it vanishes at the end."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield None
        return
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task("run", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


app.command("held-out")(held_out)

_add_commands()
