"""Edge models against the cloud, online, beside what the systems published; and valid play by position in the page.

    python -m nextone.experiments.questions.edge_online --scenario edgerec --users 300 --out results/edge

Arms: the cloud; a hand-made rule; the three shipped models; a cloud that sees behaviour within 3 s but decides once a
page (BehaviX); and a cloud with a third of the page. Scenarios are those with names: KIR's case, EdgeRec's, strong
intents.
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm  # type: ignore[import-untyped]

from nextone.experiments.output.drawing import curve_of, curves, drawn, save_figure
from nextone.experiments.runs.arms import Arm, parse_arm
from nextone.experiments.runs.compare import compare
from nextone.experiments.runs.comparison import Comparison
from nextone.experiments.runs.files import write_text
from nextone.experiments.runs.metrics import PRIMARY, column_of
from nextone.experiments.runs.names import resolve_policy
from nextone.experiments.runs.statistics import PairedDifference, paired
from nextone.sim.config import MINUTES, Scenario
from nextone.sim.scenario import NAMED, with_settings

POLICIES = ("cloud_only", "tag_momentum", "edgerec", "kir", "context_aware")


class Row(NamedTuple):
    """A line of the table: a metric per person, times `per` if given; and the published number."""

    name: str
    metric: str
    per: str
    published: str


ROWS = (
    Row("time in the app a person", PRIMARY, "", "KIR +1"),
    Row("effective views a person", "valid_play", "impressions", "CIKM 2022 +1.28; EdgeRec clicks +8.87"),
    Row("share of effective views", "valid_play", "", "EdgeRec CTR +7.18"),
    Row("likes a person", "like", "impressions", "CIKM 2022 +8.22"),
    Row("follows a person", "follow", "impressions", "CIKM 2022 +13.6"),
    Row("watch time a person", "watch_s", "", ""),
    Row("impressions a person", "impressions", "", "EdgeRec page views +1.57"),
)
"""Theirs: % of their baseline's; page views and clicks of goods are a waterfall feed's analogue, not the same."""


def arms_of(scenario: Scenario, policies: tuple[str, ...] = POLICIES) -> list[Arm]:
    """The arms in a scenario, the baseline first."""
    page = max(scenario.server.page_size // 3, 1)
    return [
        *(Arm(name.split(":")[0], resolve_policy(name, scenario), scenario) for name in policies),
        parse_arm("fresh=cloud_only server.feature_lag_s=3", scenario),
        parse_arm(f"small=cloud_only server.page_size={page}", scenario),
    ]


def differences(result: Comparison, rows: tuple[Row, ...] = ROWS) -> list[list[PairedDifference | None]]:
    """[row][arm but the baseline]: paired differences of what the rows name."""
    found = []
    for row in rows:
        value = result.values[..., column_of(row.metric)]
        if row.per:
            value = value * result.values[..., column_of(row.per)]
        found.append([paired(value[0], arm) for arm in value[1:]])
    return found


def table(result: Comparison) -> str:
    """The table as Markdown: percent of the baseline with half a 95 % interval, * if the interval excludes 0; and the
    published numbers."""
    labels = [arm.label for arm in result.arms[1:]]
    lines = [f"| % against {result.baseline.label} | " + " | ".join(labels) + " | published |",
             "|---|" + "---:|" * len(labels) + "---|"]  # fmt: skip
    for row, of_arms in zip(ROWS, differences(result), strict=True):
        cells = [cell(difference) for difference in of_arms]
        lines.append(f"| {row.name} | " + " | ".join(cells) + f" | {row.published} |")
    for name in ("decisions_per_page", "requests", "data_mb"):
        means = result.values[..., column_of(name)].mean(1)
        values = " | ".join(f"{mean:.3g}" for mean in means[1:])
        lines.append(f"| {name}, mean | {values} | cloud_only: {means[0]:.3g} |")
    return "\n".join(lines) + "\n"


def cell(d: PairedDifference | None) -> str:
    """A paired difference as a text in the table."""
    if d is None or d.diff_pct is None or d.diff_pct_low is None or d.diff_pct_high is None:
        return "–"
    half = (d.diff_pct_high - d.diff_pct_low) / 2
    return f"{d.diff_pct:+.2f} ±{half:.2f}{'*' if d.low > 0 or d.high < 0 else ''}"


def positions_figure(result: Comparison, path: Path) -> None:
    """Valid play by position in the page, a curve for each arm."""
    pages = result.positions.shape[2]
    nothing = (None,) * pages
    series = [
        curve_of(arm.label, (*found[: arm.scenario.server.page_size], *nothing)[:pages])
        for arm, found in zip(result.arms, result.valid_play_by_position, strict=True)
    ]
    with drawn(8.0, 5.0) as figure:
        axis = figure.subplots()
        curves(axis, np.arange(1, pages + 1), series)
        axis.set_xlabel("position in the page")
        axis.set_ylabel("valid play, share")
        axis.legend(frameon=False, ncols=2)
        axis.set_title(
            f"Valid play by position in the page\n{result.window()}, {result.replications} replications; "
            "bars are 95 % intervals", loc="left",
        )  # fmt: skip
        save_figure(figure, path)


def _more(bar: "tqdm[int]") -> None:
    bar.update()


def main() -> None:
    """Run a scenario and write its table and figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenario", choices=NAMED, default="kir")
    parser.add_argument("--rl", metavar="DIR", help="a training of `nextone train rl`, one more arm")
    parser.add_argument("--users", type=int, default=300)
    parser.add_argument("--replications", type=int, default=10)
    parser.add_argument("--minutes", type=float, default=MINUTES)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--engine", choices=("event", "batch"), default="event")
    parser.add_argument("--out", type=Path, default=Path("results/edge"))
    given = parser.parse_args()
    scenario = with_settings(Scenario(), [f"population.users={given.users}", *NAMED[given.scenario]])
    arms = arms_of(scenario, (*POLICIES, *([f"rl:{given.rl}"] if given.rl else [])))
    with tqdm(total=len(arms) * given.replications, unit="run", disable=None) as bar:
        result = compare(
            arms, replications=given.replications, minutes=given.minutes, workers=given.workers, engine=given.engine,
            progress=lambda done, total: _more(bar),
        )  # fmt: skip
    given.out.mkdir(parents=True, exist_ok=True)
    write_text(given.out / f"{given.scenario}.md", table(result))
    positions_figure(result, given.out / f"{given.scenario}.png")
    print(table(result))  # noqa: T201


if __name__ == "__main__":
    main()
