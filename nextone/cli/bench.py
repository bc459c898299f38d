"""`nextone bench`: speed and memory on this machine."""

from typing import Annotated

import typer

from . import common


def bench(
    compare: Annotated[bool, typer.Option("--compare", help="Also time the default comparison.")] = False,
    plan: Annotated[
        bool, typer.Option("--plan", help="Estimate what a million people or a thousand cells take on many machines.")
    ] = False,
    as_json: common.Json = False,
) -> None:
    """Measure speed and memory on this machine. Takes some minutes."""
    if plan:
        from nextone.experiments.speed.plan import plan_shown, run_plan

        found = run_plan(common.cores())
        common.deliver(lambda: plan_shown(found), lambda: {"jobs": found}, as_json=as_json)
        return
    from nextone.experiments.speed.bench import Sizes, bench_tables, run_bench

    result = run_bench(Sizes(compare=compare))
    common.deliver(lambda: bench_tables(result), lambda: result, as_json=as_json)
