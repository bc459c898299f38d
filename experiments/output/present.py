"""A comparison as JSON and Parquet tables; experiments/output/figures.py draws it.

Every presentation carries its intervals, the number of replications and the seed. Files are
written beside their place and renamed into it, so that none is ever half there.
"""

import json
import math
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from nextone.experiments.runs.comparison import Comparison
from nextone.sim.scenario import scenario_toml


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
    return {"baseline": result.baseline.label, "replications": result.replications, "rows": rows}


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


def write_table(table: pa.Table, path: Path) -> None:
    """Parquet with a checksum per page, whole or not at all."""
    write_whole(path, lambda tmp: pq.write_table(table, tmp, compression="zstd", write_page_checksum=True))


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a new file beside `path`, flush it to disk, and rename it into place; on any error, nothing."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
    os.close(descriptor)
    tmp = Path(name)
    try:
        write(tmp)
        with tmp.open("rb") as file:
            os.fsync(file.fileno())
        tmp.chmod(0o666 & ~_umask())
        tmp.replace(path)
    finally:
        tmp.unlink(missing_ok=True)


def training_text(result: dict[str, Any]) -> str:
    """What a training ended with, for the terminal."""
    lines = [
        f"Best checkpoint {result['checkpoint']}, after {result['steps']:,} decisions. Reward an episode on "
        f"{result['episodes']:,} held-out episodes, paired, 95 % intervals:"
    ]
    for u in result["uplifts"]:
        percent = 100 / u["rule_mean"] if u["rule_mean"] else math.nan
        lines.append(
            f"  over {u['rule']:15} {u['diff']:+8.3f} [{u['low']:+.3f}, {u['high']:+.3f}], "
            f"{u['diff'] * percent:+.2f} % of {u['rule_mean']:.3f}"
        )
    return "\n".join(lines)


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


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
