"""`nextone bench`: speed and memory on this machine."""

from typing import Annotated

import typer

from . import common


def bench(
    compare: Annotated[bool, typer.Option("--compare", help="Time the default comparison too.")] = False,
    as_json: common.Json = False,
) -> None:
    """Measure speed and memory on this machine; takes some minutes."""
    from nextone.experiments.speed.bench import Sizes, bench_tables, run_bench

    result = run_bench(Sizes(compare=compare))
    common.deliver(lambda: bench_tables(result), lambda: result, as_json=as_json)
