"""A comparison as JSON and Parquet tables, which carry intervals, the number of replications and the seed."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from nextone.sim.scenario import scenario_toml

from .comparison import Comparison
from .files import write_table
from .metrics import PRIMARY


def comparison_json(result: Comparison) -> dict[str, Any]:
    """`{"baseline", "replications", "rows"}` with a row for every arm and metric, None where undefined, never NaN.

    `diff_low` and `diff_high` bound `diff_pct`: percent of the baseline's mean, paired, 95 %.
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
                }
            )
    return {
        "baseline": result.baseline.label,
        "replications": result.replications,
        "primary": PRIMARY,
        "overloaded": [arm.label for arm, drowned in zip(result.arms, result.overloaded, strict=True) if drowned],
        "rows": rows,
    }


def save_tables(result: Comparison, out_dir: Path) -> list[Path]:
    """`comparison.parquet` (a row per arm and metric) and `replications.parquet` (a row per arm, replication, metric).

    Both hold version, seed, window, engine and every arm's whole scenario in their metadata, to replay themselves.
    """
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
    about = {b"nextone": json.dumps(_record(result)).encode()}
    numbers = ["mean", "low", "high", "diff_pct", "diff_low", "diff_high", "diff", "correlation", "variance_saved"]
    words = [(name, pa.string()) for name in ("policy", "metric", "unit")]
    summary_schema = pa.schema(words + [(name, pa.float64()) for name in numbers], metadata=about)
    each_schema = pa.schema(
        [("policy", pa.string()), ("replication", pa.int32()), ("metric", pa.string()), ("value", pa.float64())],
        metadata=about,
    )
    paths = [out_dir / "comparison.parquet", out_dir / "replications.parquet"]
    write_table(pa.Table.from_pylist(summary, summary_schema), paths[0])
    write_table(pa.Table.from_pylist(each, each_schema), paths[1])
    return paths


def _paired_columns(result: Comparison) -> Iterator[dict[str, float | None]]:
    for row in result.differences:
        for d in row:
            saved = d and d.variance_saved
            yield {
                "diff": d and d.diff,
                "correlation": d and d.correlation,
                "variance_saved": None if saved is None or math.isinf(saved) else saved,
            }


def _record(result: Comparison) -> dict[str, object]:
    """Everything needed to run it again."""
    return {
        "version": result.version,
        "seed": result.seed,
        "replications": list(range(result.replications)),
        "minutes": result.minutes,
        "days": result.days,
        "engine": result.engine,
        "method": "Student t over independent replications; differences paired under keyed common random numbers",
        "arms": [
            {
                "label": arm.label,
                "policy": arm.policy if isinstance(arm.policy, str) else type(arm.policy).__qualname__,
                "scenario": scenario_toml(arm.scenario, comments=False),
            }
            for arm in result.arms
        ],
    }
