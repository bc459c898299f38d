"""`nextone compare`: arms over the same replications, with paired differences."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import common

if TYPE_CHECKING:
    from nextone.experiments.fitting.people.domain import Outside
    from nextone.experiments.runs.arms import Arm
    from nextone.sim.config import Scenario

DEFAULT_POLICIES = "cloud_only,tag_momentum,server_score,random"


def compare(
    policies: Annotated[
        str, typer.Option(help="Names, separated by commas. The baseline is cloud_only, or else the first.")
    ] = DEFAULT_POLICIES,
    arm: Annotated[
        list[str] | None,
        typer.Option(metavar="'LABEL=POLICY FIELD=VALUE ...'", help="Add an arm with settings of its own. Repeatable."),
    ] = None,
    rules: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE.toml", help="Add an arm with these decision rules, a file or a name. Repeatable."),
    ] = None,
    users: common.Users = None,
    minutes: common.Minutes = None,
    days: common.Days = None,
    replications: common.Replications = 10,
    seed: common.Seed = 0,
    settings: common.Settings = None,
    scenario: common.ScenarioFile = None,
    engine: common.Engine = "event",
    servers: common.Servers = "own",
    workers: common.Workers = None,
    on: common.On = None,
    robust: Annotated[
        int | None,
        typer.Option(metavar="K", help="Repeat it with K parameter sets that fit the log, to see whether signs hold."),
    ] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option(metavar="METRIC=PERCENT", help="How much worse a guard rail may become. Repeatable."),
    ] = None,
    whole: Annotated[bool, typer.Option("--all", help="Show every metric, and what shared luck saved.")] = False,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Save Parquet tables and a figure there.")] = None,
    as_json: common.Json = False,
    quiet: common.Quiet = False,
) -> None:
    """Compare policies on the same people, links and luck.

    Prints a verdict, and paired differences with 95 % intervals."""
    base = common.chosen_scenario(scenario, settings, users)  # its errors come before the compiled model is loaded
    from nextone.experiments.runs.arms import check_run
    from nextone.experiments.runs.compare import compare as run
    from nextone.experiments.runs.verdict import read_limits, verdict

    execute = common.executor(on, workers)
    workers = common.processes(workers)
    minutes = common.window(minutes, days)
    check_run(replications=replications, minutes=minutes, days=days, seed=seed)
    limits = read_limits(limit or ())
    arms = arms_of(policies, arm or [], base, rules or [])
    outside = _outside_domain(arms, scenario, days)
    fit = None
    if robust is not None:
        from nextone.experiments.fitting.people.fit_file import check_sets, load_fit

        fit = load_fit(scenario)
        check_sets(fit, robust)
    if out is not None:
        common.prepare_folder(out)
    with common.progress_bar(as_json or quiet) as progress:
        result = run(
            arms,
            seed=seed,
            replications=replications,
            minutes=minutes,
            days=days,
            engine=engine,
            servers=servers,
            workers=workers,
            execute=execute,
            progress=progress,
        )
    if out is not None:
        from nextone.experiments.runs.comparison_files import looked_at_before

        result = looked_at_before(result, out)
    verdicts = None
    if fit is not None and robust is not None:
        from nextone.experiments.fitting.people.robust import robust_table, robustness

        with common.progress_bar(as_json or quiet, "parameter sets × replications × arms") as progress:
            verdicts = robustness(result, fit, robust, workers=workers, execute=execute, progress=progress)
    from nextone.experiments.output import figures
    from nextone.experiments.questions.sensitivity_file import shipped_table
    from nextone.experiments.runs import comparison_files
    from nextone.experiments.runs.comparison import comparison_table

    sentences = verdict(result, limits, shipped_table().gains_depend_on())

    def shown() -> Iterator[object]:
        yield from (*sentences, "")
        yield comparison_table(result, whole)
        if verdicts is not None and robust is not None:
            yield robust_table(verdicts, robust)

    def answer() -> dict[str, object]:
        told = comparison_files.comparison_json(result) | {"verdict": list(sentences), "limits": limits}
        told |= {"outside_domain": {label: [each._asdict() for each in found] for label, found in outside.items()}}
        if verdicts is not None:
            told |= {"parameter_sets": robust, "robust": [v._asdict() for v in verdicts]}
        return told

    def save() -> Iterator[Path]:
        if out is not None:
            yield from comparison_files.save_tables(result, out)
            figures.uplift_figure(result, out / "uplift.png")
            yield out / "uplift.png"

    common.deliver(shown, answer, save, as_json=as_json, width=160)


def arms_of(policies: str, texts: Sequence[str], base: "Scenario", rules: Sequence[str] = ()) -> list["Arm"]:
    """Baseline first: cloud_only where it is among the policies, else the first. rules: files or names of decision
    rules, an arm each."""
    from nextone.experiments.runs.arms import BASELINE_POLICY, Arm, parse_arm
    from nextone.experiments.runs.names import listed, own_or_named
    from nextone.policies.names import RULES

    names = listed(policies)
    names.sort(key=lambda name: name != BASELINE_POLICY)
    names += (f"{RULES}:{each}" for each in rules)
    arms = [Arm(name, own_or_named(name, base), base) for name in names]
    return arms + [parse_arm(text, base, own_or_named) for text in texts]


def _outside_domain(arms: "Sequence[Arm]", scenario: Path | None, days: float | None) -> "dict[str, list[Outside]]":
    """What of each arm lies outside the validated domain, by label; a warning on standard error for each such arm."""
    from nextone.experiments.fitting.people.domain import draws_beside, outside, warning

    draws = draws_beside(scenario)
    found = {arm.label: outside(arm.scenario, draws, days) for arm in arms}
    for label, fields in found.items():
        if fields:
            print(warning(label, fields), file=sys.stderr)
    return found
