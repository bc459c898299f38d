"""A comparison as JSON and Parquet tables, which carry intervals, the number of replications and the seed."""

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from nextone.sim.scenario import saved_scenario

from .comparison import Comparison
from .files import write_table, write_text
from .metrics import PRIMARY
from .provenance import arms_record
from .statistics import method

COMPARISON = "comparison.parquet"


def comparison_json(result: Comparison) -> dict[str, Any]:
    """What was found, with a row for every arm and metric, and what it takes to run it again; None where undefined,
    never NaN.

    `diff_low` and `diff_high` bound `diff_pct`: percent of the baseline's mean, paired, 95 %. `diff`, with
    `diff_abs_low` and `diff_abs_high`, is the same in the metric's unit, and known where the baseline is 0 as well.
    """
    rows = []
    for arm, intervals, differences in zip(result.arms, result.intervals, result.differences, strict=True):
        for metric, interval, difference in zip(result.metrics, intervals, differences, strict=True):
            rows.append(
                {
                    "policy": arm.label,
                    "metric": metric.name,
                    "unit": metric.unit,
                    "mean": interval and interval.mean,
                    "low": interval and interval.low,
                    "high": interval and interval.high,
                    "diff_pct": difference and difference.diff_pct,
                    "diff_low": difference and difference.diff_pct_low,
                    "diff_high": difference and difference.diff_pct_high,
                    "diff": difference and difference.diff,
                    "diff_abs_low": difference and difference.low,
                    "diff_abs_high": difference and difference.high,
                    "p": difference and difference.p,
                    "sure": difference and difference.sure,
                }
            )
    found = {
        "baseline": result.baseline.label,
        "replications": result.replications,
        "primary": PRIMARY,
        "overloaded": list(result.drowned),
        "nobody_opened": result.nobody_opened,
        "rows": rows,
    }
    return found | {name: value for name, value in record(result).items() if name not in found}


def looked_at_before(result: Comparison, out_dir: Path) -> Comparison:
    """The comparison, with the other numbers of replications at which the same one was saved in this folder before."""
    try:
        then = json.loads((pq.read_schema(out_dir / COMPARISON).metadata or {})[b"nextone"])
        now = record(result)
        if any(then[name] != now[name] for name in ("seed", "minutes", "days", "engine", "arms")):
            return result
        if then["provenance"]["inputs"] != now["provenance"]["inputs"]:
            return result
        looks = {int(n) for n in (*then["looks"], len(then["replications"]))} - {result.replications}
    except (OSError, pa.ArrowException, LookupError, TypeError, ValueError):  # none, or none that can be read
        return result
    return replace(result, looks=tuple(sorted(looks)))


def save_tables(result: Comparison, out_dir: Path) -> list[Path]:
    """Write `comparison.parquet` (a row per arm and metric), `replications.parquet` (a row per arm, replication,
    metric) and `scenario.toml`, the baseline's world; returns their paths.

    The metadata of both tables hold version, seed, window, engine and every arm's whole scenario, so that the
    comparison can be run again from them."""
    summary = [row | extra for row, extra in zip(comparison_json(result)["rows"], _paired_columns(result), strict=True)]
    each = [
        {
            "policy": arm.label,
            "replication": r,
            "metric": metric.name,
            "value": None if math.isnan(value) else value,
        }
        for arm, block in zip(result.arms, result.values.tolist(), strict=True)
        for r, row in enumerate(block)
        for metric, value in zip(result.metrics, row, strict=True)
    ]
    about = {b"nextone": json.dumps(record(result)).encode()}
    numbers = ["mean", "low", "high", "diff_pct", "diff_low", "diff_high", "diff", "diff_abs_low", "diff_abs_high"]
    numbers += ["correlation", "variance_saved"]
    words = [(name, pa.string()) for name in ("policy", "metric", "unit")]
    columns = [*words, *((name, pa.float64()) for name in numbers), ("p", pa.float64()), ("sure", pa.bool_())]
    summary_schema = pa.schema(columns, metadata=about)
    each_schema = pa.schema(
        [("policy", pa.string()), ("replication", pa.int32()), ("metric", pa.string()), ("value", pa.float64())],
        metadata=about,
    )
    paths = [out_dir / COMPARISON, out_dir / "replications.parquet", out_dir / "scenario.toml"]
    write_table(pa.Table.from_pylist(summary, summary_schema), paths[0])
    write_table(pa.Table.from_pylist(each, each_schema), paths[1])
    write_text(paths[2], saved_scenario(result.baseline.scenario, out_dir))
    return paths


def _paired_columns(result: Comparison) -> Iterator[dict[str, float | None]]:
    for row in result.differences:
        for d in row:
            saved = d and d.variance_saved
            yield {
                "correlation": d and d.correlation,
                "variance_saved": None if saved is None or math.isinf(saved) else saved,
            }


def record(result: Comparison) -> dict[str, Any]:
    """Everything needed to run it again, and how often it was looked at."""
    return {
        "version": result.version,
        "seed": result.seed,
        "replications": list(range(result.replications)),
        "minutes": result.minutes,
        "days": result.days,
        "engine": result.engine,
        "extended": result.extended,
        "looks": list(result.looks),
        "method": method(result.extended),
        "arms": arms_record(result.arms),
        "provenance": dict(result.provenance),
    }
