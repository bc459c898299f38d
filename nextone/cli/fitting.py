"""Fitting people to a log and checking the fit: `nextone calibrate`, `validate`, `held-out`."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import common

if TYPE_CHECKING:
    from nextone.experiments.fitting.logs.user_log import UserLog

LogFiles = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="[LOG]...",
        help="Impressions, CSV or Parquet: a file, several, or a folder.  [default: the shipped KuaiRand-Pure]",
    ),
]

Videos = Annotated[
    Path | None,
    typer.Option(
        "--videos", metavar="FILE",
        help="Table of the log's videos: tags, authors, durations.  [default: a file beside the log]",
    ),
]
UtcOffset = Annotated[
    float | None,
    typer.Option(
        "--utc-offset", metavar="HOURS",
        help="By how much the users' clocks are ahead of UTC.  [default: as in the log, else 8]",
    ),
]
Columns = Annotated[
    str | None,
    typer.Option(
        "--columns", metavar="NAME=COLUMN[:UNIT],...",
        help="What the file calls a column, by name or by position from 1, and its unit; e.g. play=watched:percent.",
    ),
]


def calibrate(
    log: LogFiles = None,
    format: Annotated[
        str | None, typer.Option(help="kuairand, kuairec, kuaisar or generic.  [default: by the columns]")
    ] = None,
    videos: Videos = None,
    utc_offset: UtcOffset = None,
    columns: Columns = None,
    traces: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Throughput traces and RTT logs, instead of or beside a log.")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Save the scenario there, as TOML.")] = None,
    users: Annotated[int | None, typer.Option(help="People simulated.  [default: 1000]", min=50)] = None,
    interests: Annotated[
        bool, typer.Option("--interests", help="Also fit mood, passing interests and tastes; thrice as long.")
    ] = False,
    seed: common.Seed = 0,
    settings: common.Settings = None,
    scenario: common.ScenarioFile = None,
    as_json: common.Json = False,
    quiet: common.Quiet = False,
) -> None:
    """Fit people to a log of impressions, or links to traces.

    Writes the scenario; takes some minutes."""
    from nextone.sim.scenario import SettingError, saved_scenario

    world = common.chosen_scenario(scenario, settings)
    if out is not None:
        common.prepare_file(out)
    told: dict[str, object] = {}
    shown: list[object] = []
    fit, name = None, "the shipped KuaiRand-Pure"
    if traces is not None:
        from nextone.experiments.fitting.links.calibrate import calibrate_traces

        if columns is not None and log:
            raise SettingError("--columns is about a LOG or about --traces; calibrate them one after the other")
        links = calibrate_traces(traces, columns or world.network.link_columns)
        world = links.applied(world)
        told["traces"] = links._asdict() | {
            "facts": [x._asdict() for x in links.facts], "fitted": [x._asdict() for x in links.fitted]
        }
        shown += links.lines()
    own = own_log(log, videos, utc_offset, None if traces and not log else columns, format)
    if own is not None or traces is None:
        from nextone.experiments.fitting.logs.user_log import shipped_log
        from nextone.experiments.fitting.people import calibrate as people
        from nextone.experiments.fitting.people.fit_file import fit_json, fit_table
        from nextone.experiments.fitting.people.interests_fit import Shown
        from nextone.experiments.fitting.people.validate import HISTORY, histories

        measured = own or shipped_log()
        name = ", ".join(map(str, log)) if log else name
        published = people.KUAIRAND if own is None else None
        with common.progress_bar(as_json or quiet, "fitting") as progress:
            fit = people.calibrate(
                measured, world, published=published, people=users or people.PEOPLE, seed=seed, progress=progress,
                interests=interests, tags=Shown(*histories(), HISTORY) if own is None else None,
            )  # fmt: skip
        world = fit.scenario
        told |= fit_json(fit, name) | {"log_read": measured.as_json()}
        shown += [measured.report(), fit_table(fit, name)]

    def save() -> list[Path]:
        from nextone.experiments.fitting.people.fit_file import save_fit
        from nextone.experiments.runs.files import write_text

        if out is None:
            return []
        if fit is not None:
            return save_fit(fit, name, out)
        write_text(out, saved_scenario(world, out.parent))
        return [out]

    common.deliver(lambda: shown, lambda: told, save, as_json=as_json)


def validate(
    log: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="LOG",
            help="Your own log, CSV or Parquet, a file or a folder. Repeatable.  [default: shipped KuaiRand-Pure]",
        ),
    ] = None,
    videos: Videos = None,
    utc_offset: UtcOffset = None,
    columns: Columns = None,
    users: Annotated[int | None, typer.Option(help="People simulated.  [default: 5000]", min=10)] = None,
    seed: common.Seed = 0,
    settings: common.Settings = None,
    scenario: common.ScenarioFile = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Save the scoreboard and figures there.")] = None,
    as_json: common.Json = False,
    quiet: common.Quiet = False,
) -> None:
    """Compare simulated people and links with measured ones.

    Prints a table, number by number; takes some minutes."""
    from nextone.experiments.runs.arms import check_run

    world = common.chosen_scenario(scenario, settings)
    check_run(seed=seed)
    if out is not None:
        common.prepare_folder(out)
    from nextone.experiments.fitting.people import scoreboard_table as report
    from nextone.experiments.fitting.people.validate import PEOPLE
    from nextone.experiments.fitting.people.validate import validate as run

    measured = own_log(log, videos, utc_offset, columns)
    with common.progress_bar(as_json or quiet, "people") as progress:
        result = run(world, measured, people=users or PEOPLE, seed=seed, progress=progress)

    def shown() -> Iterator[object]:
        if measured is not None:
            yield measured.report()
        yield report.scoreboard_table(result)
        yield report.verdict(result)

    def save() -> Iterator[Path]:
        if out is not None:
            from nextone.experiments.fitting.people.figures import save_figures

            yield from report.save_scoreboard(result, out)
            yield from save_figures(result, out)

    common.deliver(
        shown, lambda: {"rows": report.scoreboard_json(result)["rows"], **_read(measured)}, save, as_json=as_json
    )


def own_log(
    log: list[Path] | None, videos: Path | None, utc_offset: float | None, columns: str | None,
    format: str | None = None,
) -> "UserLog | None":  # fmt: skip
    """The log that the user named; None if there is none. Raises SettingError for options about a log without one."""
    from nextone.experiments.fitting.logs.user_log import read_user_log
    from nextone.sim.scenario import SettingError

    if not log:
        if any(option is not None for option in (videos, utc_offset, columns, format)):
            raise SettingError("--format, --videos, --columns and --utc-offset are about a LOG of yours; give one")
        return None
    return read_user_log(log, format, videos, utc_offset, columns)  # type: ignore[arg-type]


def _read(measured: "UserLog | None") -> dict[str, object]:
    """How a log of the user's was understood, for --json."""
    return {} if measured is None else {"log_read": measured.as_json()}


def held_out(
    log: LogFiles = None,
    videos: Videos = None,
    utc_offset: UtcOffset = None,
    columns: Columns = None,
    users: Annotated[int, typer.Option(help="People simulated.", min=10)] = 2_000,
    seed: Annotated[int, typer.Option(help="Seed of who is held out, the simulated people and luck.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    quiet: common.Quiet = False,
) -> None:
    """Fit people to half of a log, compare with the other half.

    A random half of the log's users is held out; takes some minutes."""
    from nextone.experiments.fitting.logs.user_log import shipped_log
    from nextone.experiments.fitting.people import scoreboard_table as report
    from nextone.experiments.fitting.people.calibrate import KUAIRAND
    from nextone.experiments.fitting.people.held_out import held_out as run
    from nextone.experiments.fitting.people.response import response_table
    from nextone.experiments.runs.arms import check_run
    from nextone.sim.config import Scenario

    check_run(seed=seed)
    own = own_log(log, videos, utc_offset, columns)
    measured = own or shipped_log()
    with common.progress_bar(as_json or quiet, "fitting, then people") as progress:
        found = run(
            measured, Scenario(), published=KUAIRAND if own is None else None, people=users, seed=seed,
            progress=progress,
        )  # fmt: skip
    table, verdict = report.scoreboard_table(found.validation), report.verdict(found.validation)
    rows = report.scoreboard_json(found.validation)["rows"]
    common.deliver(
        lambda: [*([own.report()] if own else []), table, verdict, response_table(found.response)],
        lambda: {"rows": rows, "response": [t._asdict() for t in found.response], **_read(own)}, as_json=as_json,
    )  # fmt: skip
