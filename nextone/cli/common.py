"""What several commands share: options, output, and folders to write to. Imports no command and nothing heavy."""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

FIGURES = (".png", ".svg", ".pdf", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".eps", ".ps")
EVERY_S = 60.0  # between lines of progress
PEOPLE = 400  # of commands that run many worlds, such as headroom
CANCELLED = 130  # typer's exit code for Ctrl-C
FIRST_USE = "nextone: compiling the model for this machine, once; this takes half a minute to a minute"

if TYPE_CHECKING:
    from nextone.experiments.runs.arms import Progress
    from nextone.experiments.runs.executor import Execute
    from nextone.sim.config import Scenario

ScenarioFile = Annotated[
    Path | None, typer.Option("--scenario", metavar="FILE.toml",
                              help="Scenario file (what it omits keeps its default), or kir, edgerec, strong_intent."),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.FIELD=VALUE", help="Change a setting, e.g. server.page_size=8. Repeatable."),
]
Users = Annotated[int | None, typer.Option(help="How many people to simulate.  [default: 700]")]
People = Annotated[
    int | None, typer.Option(help=f"People simulated.  [default: the scenario's if it says so, else {PEOPLE}]")
]
Minutes = Annotated[
    float | None, typer.Option(help="Length of the window in which everybody opens the app once.  [default: 60]")
]
Window = Annotated[float, typer.Option(help="Length of the window in which everybody opens the app once.")]
Replications = Annotated[int, typer.Option(help="Independent runs of every arm, at least 10.")]
Days = Annotated[float | None, typer.Option(help="Simulate whole days instead, in which people come back.")]
Engine = Annotated[
    Literal["event", "batch"], typer.Option(help="event: with server queues; batch: without them, people in parallel.")
]
SERVERS_HELP = (
    "If server.workers is 0: own gives each arm the servers it needs, same gives every arm what the default needs."
)
Servers = Annotated[Literal["own", "same"], typer.Option(help=SERVERS_HELP)]
Workers = Annotated[int | None, typer.Option(help="How many processes to use.  [default: one per core]")]
OneWorker = Annotated[
    int | None, typer.Option("--workers", help="How many processes to use.  [default: 1; with --on, one per core]")
]
On = Annotated[
    str | None,
    typer.Option("--on", metavar="ray|ray://HOST", help="Run on Ray, on this machine (ray) or on a cluster (ray://HOST)."),
]
Seed = Annotated[int, typer.Option(help="Seed of people and luck: the same seed gives the same result.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else on standard output.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processes(workers: int | None) -> int:
    """The number that `--workers` asks for, or one per core. Raises SettingError."""
    from nextone.experiments.runs.arms import check_run

    if workers is None:
        return cores()
    check_run(workers=workers)
    return workers


def one_unless(workers: int | None, on: str | None) -> int:
    """The number that `--workers` asks for; otherwise one on this machine, which may use all cores, and on Ray one per
    core. Raises SettingError."""
    return processes(1 if workers is None and on is None else workers)


def executor(on: str | None, workers: int | None) -> "Execute | None":
    """How tasks are run for `--on`; None: in processes of this machine. Raises SettingError."""
    if on is None:
        return None
    from nextone.experiments.runs.on_ray import HERE, on_ray
    from nextone.sim.scenario import SettingError

    if workers is not None and on != HERE:
        raise SettingError("--workers is about this machine; a cluster that is joined works with all its CPUs")
    return on_ray(on, lambda line: print(f"nextone: {line}", file=sys.stderr, flush=True))


def window(minutes: float | None, days: float | None) -> float | None:
    """Minutes to simulate: the default where neither minutes nor days are given; None with days."""
    from nextone.sim.config import MINUTES

    return MINUTES if minutes is None and days is None else minutes


def chosen_scenario(
    file: Path | None, settings: Sequence[str] | None, users: int | None = None, usual: int | None = None
) -> "Scenario":
    """The scenario that `--scenario`, `--set` and `--users` give; `usual` people where none of them says how many.

    Says on standard error how the links that it names were read, where anything was converted or passed over. Raises
    SettingError, TraceError."""
    from nextone.sim.config import Scenario
    from nextone.sim.scenario import NAMED, SettingError, load_scenario, with_settings

    settings = list(settings or [])
    chosen = load_scenario(file) if file is not None else Scenario()
    own = file is not None and str(file) not in NAMED and "users" in chosen.population.model_fields_set
    by_setting = any(text.split("=")[0].strip() == "population.users" for text in settings)
    if users is not None or not (usual is None or own or by_setting):
        if by_setting:
            raise SettingError("--users and --set population.users=... are both given; give one")
        settings.append(f"population.users={usual if users is None else users}")
    chosen = with_settings(chosen, settings)
    if chosen.network.traces or chosen.network.rtt:
        from nextone.experiments.runs.provenance import read_measurements

        for line in read_measurements([chosen]):  # bad files are told at once, before the compiled model is loaded
            print(f"nextone: {line}", file=sys.stderr, flush=True)
    return chosen


def prepare_folder(path: Path) -> None:
    """Create it and make sure that files can be written there. Raises SettingError."""
    from nextone.sim.scenario import SettingError

    _must_be_utf8(path)
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

    _must_be_utf8(path)
    prepare_folder(path.parent)
    try:
        if path.exists() and not path.is_file():
            raise SettingError(f"--out {str(path)!r}: is not a file; give the name of a file")
    except (OSError, ValueError) as error:
        if isinstance(error, SettingError):
            raise
        raise SettingError(f"--out {str(path)!r}: {error}; give the name of a file") from None


def _must_be_utf8(path: Path) -> None:
    from nextone.sim.scenario import SettingError

    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise SettingError(f"--out {str(path)!r}: is not UTF-8; give a name that is, as Parquet demands") from None


def prepare_figure(path: Path) -> Path:
    """Prepare the file of a figure. Returns it, with `.png` appended if its ending is none of a figure. Raises
    SettingError."""
    file = path if path.suffix.lower() in FIGURES else path.with_name(f"{path.name}.png")
    prepare_file(file)
    return file


def deliver(
    shown: Callable[[], Iterable[object]],
    answer: Callable[[], object] | None = None,
    save: Callable[[], Iterable[Path]] | None = None,
    *,
    as_json: bool = False,
    width: int = 120,
) -> None:
    """How every command ends: print what was found, then save it, so that a full disk does not cost the answer.

    shown: tables and lines for people. answer: the same as one JSON value, printed instead with as_json. save: writes
    files and returns their paths. width: in columns, where standard output is a pipe or a file."""
    try:
        if as_json and answer is not None:
            print_json(answer())
        else:
            print_all(shown(), width)
        sys.stdout.flush()
    finally:  # a reader who went away, as `head` does, costs no file either
        files = list(save()) if save is not None else []
    if files and not as_json:
        print("Saved " + ", ".join(map(str, files)))


def print_all(shown: Iterable[object], width: int = 120) -> None:
    """Print tables and lines to standard output. Names may contain what rich would read as colours or pictures: `[x]`,
    `:x:`."""
    from rich.console import Console
    from rich.table import Table

    from .narrow import fitted

    out = Console(markup=False, emoji=False, highlight=False)
    if not out.is_terminal and not os.environ.get("COLUMNS", "").isdigit():
        out.width = width
    for each in shown:
        for part in fitted(each, out.width) if isinstance(each, Table) else (each,):
            out.print(part)


def print_json(value: object) -> None:
    """Print one JSON value as one line; NaN and infinity are bugs."""
    print(json.dumps(value, allow_nan=False))


def watched(quiet: bool) -> bool:
    """Whether a training shows its progress: as a bar on a terminal, unless `quiet`; elsewhere as a line now and
    then."""
    return not (quiet and sys.stderr.isatty())


def say_first_use() -> None:
    """Print one line if the model is about to be compiled and a person watches: it takes long enough to wonder."""
    if not sys.stderr.isatty():
        return
    from nextone.sim.batch_run import model_is_compiled

    if not model_is_compiled():
        print(FIRST_USE, file=sys.stderr, flush=True)


def a_line_a_minute(what: str) -> "Progress":
    """Progress, and the time left at the pace since the first of them, on standard error: for jobs whose output is a
    file. The first may include that the model is compiled."""
    from nextone.experiments.runs.number_text import span

    last = time.monotonic()
    first: list[tuple[float, int]] = []

    def told(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if not first and done:
            first.append((now, done))
        if done and now - last >= EVERY_S:
            last = now
            since, before = first[0]
            left = f", {span((now - since) * (total - done) / (done - before))} left" if done > before else ""
            print(f"nextone: {done:,} of {total:,} {what}{left}", file=sys.stderr, flush=True)

    return told


@contextmanager
def progress_bar(quiet: bool, what: str = "replications × arms") -> Iterator["Progress | None"]:
    """A bar on standard error while a person watches; it vanishes at the end. Before it comes `say_first_use`."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    say_first_use()
    err = Console(stderr=True)
    if quiet or not err.is_terminal:
        yield None if quiet else a_line_a_minute(what)
        return
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=err, transient=True) as bar:
        task = bar.add_task("run", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
