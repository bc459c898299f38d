"""`nextone ab`, an A/B test between people of one world with the truth beside it, and `nextone ab-size`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import typer

from . import common
from .compare import arms_of

PEOPLE = 2_000


def ab(
    policies: Annotated[
        str, typer.Option(help="Names, separated by commas. The control is cloud_only, or else the first.")
    ] = "cloud_only,tag_momentum",
    arm: Annotated[
        list[str] | None,
        typer.Option(metavar="'LABEL=POLICY FIELD=VALUE ...'", help="Add an arm with settings of its own. Repeatable."),
    ] = None,
    share: Annotated[
        str | None,
        typer.Option(
            metavar="SHARE[,...]",
            help="Share of the people in each arm but the control; several, such as .01,.1,.5, are tried one after the "
            "other.  [default: as many in each arm]",
        ),
    ] = None,
    design: Annotated[
        Literal["person", "budget", "switchback", "cluster", "all"],
        typer.Option(
            help="What is hashed: people; people, with servers apart; stretches of time; regions of servers. "
            "all: tries them, to say which to run."
        ),
    ] = "person",
    period: Annotated[float, typer.Option(help="Of a switchback, minutes in one arm before the next.")] = 10.0,
    regions: Annotated[
        int | None, typer.Option(help="Regions with servers of their own.  [default: 1; with cluster 20, with all 8]")
    ] = None,
    replications: Annotated[int, typer.Option(help="Populations to try on, where several designs or shares are.")] = 10,
    salt: Annotated[
        str, typer.Option(help="What people are hashed with: another salt, other people in each arm.")
    ] = "ab",
    layer: Annotated[
        str | None,
        typer.Option(
            metavar="'LABEL=POLICY FIELD=VALUE ...'",
            help="Another test that half of the people are in, whatever their arm in this one: what it changes of the "
            "control, this one must not change.",
        ),
    ] = None,
    users: Annotated[
        int | None, typer.Option(help=f"People simulated.  [default: the scenario's if it says so, else {PEOPLE:,}]")
    ] = None,
    minutes: common.Minutes = None,
    days: common.Days = None,
    before: Annotated[
        float, typer.Option(metavar="DAYS", help="With --days: days before the test, of which CUPED makes use.")
    ] = 0.0,
    seed: common.Seed = 0,
    settings: common.Settings = None,
    scenario: common.ScenarioFile = None,
    workers: common.Workers = None,
    on: common.On = None,
    limit: Annotated[
        list[str] | None,
        typer.Option(metavar="METRIC=PERCENT", help="How much worse a guard rail may become. Repeatable."),
    ] = None,
    whole: Annotated[bool, typer.Option("--all", help="Show every metric, and groups of people.")] = False,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Save what was found and each person's numbers.")
    ] = None,
    as_json: common.Json = False,
    quiet: common.Quiet = False,
) -> None:
    """Run an A/B test in one world, and say what is true.

    People of both arms share servers. The truth is the same people and luck, everybody treated against nobody."""
    base = common.chosen_scenario(scenario, settings, users, PEOPLE)
    from nextone.experiments.ab import designs, shown
    from nextone.experiments.ab.assignment import Split
    from nextone.experiments.ab.run import run_test
    from nextone.experiments.runs.arms import parse_arm
    from nextone.experiments.runs.names import own_or_named
    from nextone.experiments.runs.verdict import read_limits
    from nextone.sim.scenario import SettingError

    execute = common.executor(on, workers)
    workers = common.processes(workers)
    arms = arms_of(policies, arm or [], base)
    shares = [1 / len(arms)] if share is None else _shares(share)
    each = shares[0]
    split = Split(
        "person" if design == "all" else design, (1 - each * (len(arms) - 1), *(each,) * (len(arms) - 1)), salt, period,
        regions or {"cluster": 20, "all": 8}.get(design, 1), 0.5 if layer else 0.0,
    )  # fmt: skip
    if design == "all" or len(shares) > 1:
        if days is not None or layer is not None or (design == "all" and len(shares) > 1):
            raise SettingError(
                "tests are compared by --design all or by several --share, in a window of --minutes, without --layer"
            )
        window = common.window(minutes, None) or 0.0
        figure = None if out is None else common.prepare_figure(out / "ab")
        with common.progress_bar(as_json or quiet, "worlds") as progress:
            found = designs.compare_tests(
                arms, designs.all_designs(split) if design == "all" else designs.all_shares(split, shares), seed=seed,
                replications=replications, minutes=window, workers=workers, execute=execute, progress=progress,
            )  # fmt: skip
        common.deliver(
            lambda: (*designs.sentences(found), "", designs.table(found)),
            lambda: designs.as_json(found),
            lambda: [] if figure is None else designs.save(found, figure),
            as_json=as_json,
            width=80,
        )
        return
    limits = read_limits(limit or ())
    if out is not None:
        common.prepare_folder(out)
    with common.progress_bar(as_json or quiet, "worlds") as progress:
        test = run_test(
            arms, split, seed=seed, minutes=common.window(minutes, days), days=days, before=before, limits=limits,
            layer=None if layer is None else parse_arm(layer, base, own_or_named),
            workers=workers, execute=execute, progress=progress,
        )  # fmt: skip
    sentences = shown.verdict(test)

    def printed() -> Iterator[object]:
        yield from (*sentences, "")
        yield from shown.tables(test, whole)

    common.deliver(
        printed,
        lambda: shown.as_json(test),
        lambda: shown.save(test, out) if out is not None else (),
        as_json=as_json,
        width=80,
    )


def ab_size(
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="[DIR]", help="A saved comparison; the test is sized for the gain of its best arm."),
    ] = None,
    difference: Annotated[
        float | None, typer.Option(metavar="PERCENT", help="Instead of DIR: the difference in time in the app.")
    ] = None,
    days: Annotated[
        int, typer.Option(help="Longest test to consider, in days; twice as many days are simulated.", min=1, max=60)
    ] = 14,
    users: common.People = None,
    seed: common.Seed = 0,
    settings: common.Settings = None,
    scenario: common.ScenarioFile = None,
    as_json: common.Json = False,
) -> None:
    """Say how many people a real A/B test needs.

    Counts the people that it takes to see the difference, with and without CUPED; half a minute."""
    from nextone.experiments.ab.size import daily_minutes, precision, size_sentences, size_table, sizes
    from nextone.experiments.runs.arms import check_run
    from nextone.sim.scenario import SettingError

    if (folder is None) == (difference is None):
        raise SettingError("give the folder of a saved comparison, or --difference PERCENT")
    base = common.chosen_scenario(scenario, settings, users, common.PEOPLE)
    check_run(seed=seed, days=2.0 * days)
    paired = None
    if folder is not None:
        from nextone.experiments.output.report.comparison import read_comparison

        paired = precision(read_comparison(folder))
        difference = paired.difference_pct
    assert difference is not None
    common.say_first_use()
    minutes = daily_minutes(base, 2 * days, seed)
    found = sizes(minutes, difference, sorted({1, -(-days // 2), days}), seed)
    told = [*size_sentences(found, difference, paired)]
    common.deliver(
        lambda: [*told, "", size_table(found, len(minutes), seed)],
        lambda: {"difference_pct": difference, "verdict": told, "people": len(minutes), "seed": seed,
                 "sizes": [size._asdict() for size in found], "paired": paired and paired._asdict()},
        as_json=as_json,
    )  # fmt: skip


def _shares(text: str) -> list[float]:
    """Numbers separated by commas. Raises SettingError."""
    from nextone.sim.scenario import SettingError

    try:
        return [float(each) for each in text.split(",")]
    except ValueError:
        raise SettingError(
            f"--share {text}: must be a number, or several separated by commas, such as .01,.1,.5"
        ) from None
