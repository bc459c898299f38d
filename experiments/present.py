"""A comparison shown: a table for the terminal, JSON and Parquet tables; experiments/figures.py draws it.

Every presentation carries its intervals, the number of replications and the seed. Files are
written beside their place and renamed into it, so that none is ever half there.
"""

import json
import math
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
from rich.table import Table
from rich.text import Text

from nextone.sim.scenario import scenario_toml

from .statistics import Interval, PairedDifference

if TYPE_CHECKING:
    from .arms import Arm
    from .compare import Comparison
    from .metrics import Metric

MISSING = "–"


def comparison_table(result: "Comparison") -> Table:
    """Baseline mean ± half-width per metric, then each arm's paired difference; fits 100 columns with three arms."""
    table = Table(title=Text(_title(result)), caption=Text(_caption(result)), caption_justify="left")
    table.add_column("metric", no_wrap=True)
    table.add_column(Text(result.baseline.label), justify="right", overflow="fold")
    for arm in result.arms[1:]:
        table.add_column(Text(f"{arm.label} %"), justify="right", overflow="fold")  # wraps at spaces if narrow
    for group, indices in groups(result):
        table.add_section()
        table.add_row(Text(group, style="bold"))
        for m in indices:
            cells = [
                difference_cell(row[m], result.metrics[m])
                if row[m] or result.intervals[0][m]
                else interval_text(own[m])
                for row, own in zip(result.differences[1:], result.intervals[1:], strict=True)
            ]
            table.add_row(Text(f"  {name_and_unit(result.metrics[m])}"), interval_text(result.intervals[0][m]), *cells)
    return table


def comparison_json(result: "Comparison") -> dict[str, Any]:
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


def save_tables(result: "Comparison", out_dir: Path) -> list[Path]:
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


def groups(result: "Comparison") -> Iterator[tuple[str, list[int]]]:
    """Metrics by group, both in the order in which they are defined."""
    for group in dict.fromkeys(metric.group for metric in result.metrics):
        yield group, [m for m, metric in enumerate(result.metrics) if metric.group == group]


def _title(result: "Comparison") -> str:
    return f"{result.baseline.label} against {', '.join(arm.label for arm in result.arms[1:])}"


def subtitle(result: "Comparison") -> str:
    people = result.baseline.scenario.population.users
    return (
        f"{people:,} people, {result.window()}, {result.replications} replications with shared luck, seed "
        f"{result.seed}, {result.engine} engine. Paired 95 % intervals. ↑ more is better, ↓ fewer is better."
    )


def _caption(result: "Comparison") -> str:
    others = result.differences[1:]
    return (
        f"{subtitle(result)}\nArms: paired difference in % of the baseline's mean ± half its 95 % interval; "
        "* the interval excludes 0; ×n: the variance that shared luck saved (abs: in the metric's unit, where the "
        f"baseline cannot be told from 0; without * or ×: the arm's own mean, where the baseline has none).\n"
        f"Median over metrics: {'; '.join(map(_luck, result.arms[1:], others))}."
    )


def _luck(arm: "Arm", differences: Sequence[PairedDifference | None]) -> str:
    """`random correlation .93, variance ×12` of an arm with the baseline."""
    known = [d for d in differences if d is not None and d.correlation is not None and d.variance_saved is not None]
    if not known:
        return f"{arm.label} nothing shared varies"
    correlation = median(d.correlation or 0.0 for d in known)
    return f"{arm.label} correlation {correlation:.2f}, variance ×{median(d.variance_saved or 0.0 for d in known):.3g}"


def name_and_unit(metric: "Metric") -> str:
    arrow = {"more": " ↑", "fewer": " ↓"}.get(metric.better, "")
    return f"{metric.name}{f' [{metric.unit}]' if metric.unit else ''}{arrow}"


def interval_text(interval: Interval | None) -> str:
    """An arm's own mean: the baseline's, or another's where the baseline has nothing to compare with."""
    return MISSING if interval is None else mean_and_half(interval.mean, interval.high - interval.mean)


def mean_and_half(mean: float, half: float) -> str:
    """Both with the decimals that the half-width deserves: two significant digits of it, four of an exact mean."""
    size = half if half > 0 else abs(mean) / 100
    decimals = min(8, max(0, 1 - math.floor(math.log10(size)))) if size > 0 else 0
    return f"{mean:,.{decimals}f} ±{half:,.{decimals}f}"


def difference_cell(d: PairedDifference | None, metric: "Metric") -> Text:
    text = difference_text(d, metric.better)
    if d is not None and d.diff_pct is not None and not d.diff == d.low == d.high == 0:
        text.append(f" {_saved(d)}")
    return text


def difference_text(d: PairedDifference | None, better: str) -> Text:
    """`+0.29 ±0.24*`, percent of the baseline's mean; green or red where the interval excludes 0 and one is better."""
    if d is None:
        return Text(MISSING, style="dim")
    if d.diff == d.low == d.high == 0:
        return Text("0", style="dim")
    if d.diff_pct is None or d.diff_pct_low is None or d.diff_pct_high is None:
        return Text(f"{'+' if d.diff >= 0 else ''}{mean_and_half(d.diff, d.high - d.diff)} abs", style="dim")
    sure = d.diff_pct_low > 0 or d.diff_pct_high < 0
    good = (d.diff > 0) == (better == "more")
    style = "dim" if not sure else "" if better == "neither" else "green" if good else "red"
    return Text(f"{signed(d.diff_pct)} ±{_rounded(d.diff_pct_high - d.diff_pct)}{'*' if sure else ' '}", style=style)


def _saved(d: PairedDifference) -> str:
    if d.variance_saved is None:
        return "     "
    shown = "∞" if math.isinf(d.variance_saved) else f"{min(d.variance_saved, 9999):.0f}"
    return f"×{shown}".ljust(5) if d.variance_saved >= 1 else f"×{d.variance_saved:.1f}".ljust(5)


def signed(x: float) -> str:
    text = _rounded(abs(x))
    return text if not float(text.replace(",", "")) else f"{'+' if x > 0 else '−'}{text}"


def _rounded(x: float) -> str:
    return f"{x:.2f}" if x < 10 and x != int(x) else f"{x:.1f}" if x < 100 and x != int(x) else f"{x:,.0f}"


def _paired_columns(result: "Comparison") -> Iterator[dict[str, float | None]]:
    for row in result.differences:
        for d in row:
            saved = d and d.variance_saved
            yield {
                "diff": d and d.diff,
                "correlation": d and d.correlation,
                "variance_saved": None if saved is None or math.isinf(saved) else saved,
            }


def _record(result: "Comparison") -> dict[str, object]:
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
