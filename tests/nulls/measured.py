"""Null worlds that hold on average, and signs that the mechanisms demand: what is measured, and at which size.

    PYTHONPATH=tests python tests/nulls/measured.py docs/evidence/nulls.md

measures all of it (minutes) and writes it down; `test_nulls_equivalent.py` asserts it, and smaller twins of it.
"""

import subprocess
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
from free_transport import FREE, NOTHING, early_worth, lived
from scipy.special import stdtr, stdtrit
from worlds import AMPLE, replace

from nextone.experiments.runs.metrics import Run, metric_named
from nextone.experiments.runs.statistics import PairedDifference, paired
from nextone.policies.by_name import make_policy
from nextone.policies.checkpoint import CheckpointError
from nextone.policies.names import CLOUD_ONLY, SHIPPED, policy_names
from nextone.sim.config import Scenario

LIMIT, HALF = 0.3, 0.15  # %: of the whole interval, and of half its width
WATCHED = ("app_min", "watch_s", "valid_play", "long_view")

SAME_PRICE = NOTHING | {
    "server__workers": AMPLE, "server__item_bytes": 0, "server__embedding_bytes": 0,
    "server__service_per_candidate_ms": 0.0, "phone__inference_ms": 0.0, "phone__inference_min_ms": 0.0,
}  # fmt: skip
"""Nothing to perceive, and more candidates cost no more than few; links, service and people as usual."""
PATIENT = SAME_PRICE | {"sessions__wait_patience_s": 1e6}
"""Nobody leaves the app for want of a page: what a phone shows from its surplus then keeps nobody."""
SHIPPING = {
    "same price, patient": PATIENT,
    "same price": SAME_PRICE,
    "usual prices": NOTHING | {"server__workers": AMPLE},
}
EQUIVALENT = {"same price, patient": WATCHED, "same price": ("valid_play", "long_view")}
"""In which world which metrics must agree. With usual patience time in the app need not: see `PATIENT`."""

SHORT = FREE | NOTHING | {"sessions__leave_per_min": 0.12}
"""Free transport, nothing to perceive; shorter sessions, for only their beginning counts."""

FRESH = {"features at once": {"server__feature_lag_s": 0.0}, "after 300 s": {"server__feature_lag_s": 300.0},
         "no filter": {"server__filter_use": 0.0}}  # fmt: skip


class Size(NamedTuple):
    """Fixed beforehand."""

    people: int
    minutes: float
    replications: int


SHIPPING_SIZE, POLICIES_SIZE, SIGNS_SIZE = Size(500, 60.0, 40), Size(500, 10.0, 20), Size(400, 30.0, 10)


def measure(world_of: Scenario, policy: str, size: Size, of=WATCHED) -> dict[str, list[float]]:
    """Metrics of each replication, and the share of sessions that ended for want of a page."""
    world_of = replace(world_of, population__users=size.people)
    runs = (lived(world_of, policy, replication=r, minutes=size.minutes) for r in range(size.replications))
    rows = [(*(metric_named(name).of(run) for name in of), ended_dry(run)) for run in runs]
    return {name: list(column) for name, column in zip((*of, "dry"), zip(*rows, strict=True), strict=True)}


def ended_dry(run: Run) -> float:
    return float(run.records.sessions["dry"].mean())


class Shipping(NamedTuple):
    """`server_score` against `cloud_only`."""

    differences: dict[str, PairedDifference]
    dry: tuple[float, float]  # share of sessions that ended for want of a page: of the cloud's phone, of the other


def shipping(world_of: Scenario, size: Size) -> Shipping:
    """What it makes of a feed to ship 20 candidates and rank them by the cloud's own score."""
    cloud, phone = (measure(world_of, policy, size) for policy in (CLOUD_ONLY, "server_score"))
    return Shipping({name: paired(cloud[name], phone[name]) for name in WATCHED},
                    (float(np.mean(cloud["dry"])), float(np.mean(phone["dry"]))))  # fmt: skip


def others(names: Iterable[str]) -> tuple[list[str], dict[str, str]]:
    """Policies that can be made, and why the others cannot: a shipped network may be of an older table of features."""
    able, unable = [], {}
    for name in names:
        try:
            make_policy(name)
            able.append(name)
        except CheckpointError as error:
            unable[name] = str(error).partition("' ")[2]
    return able, unable


NOT_CLOUD = tuple(name for name in (*policy_names(), *SHIPPED) if name != CLOUD_ONLY)


def early_differences(world_of: Scenario, names: Sequence[str], size: Size) -> dict[str, PairedDifference]:
    """Each policy against `cloud_only` in the cloud's declared objective, over the first 20 impressions of sessions."""
    world_of = replace(world_of, population__users=size.people)

    def worths(name: str) -> list[float]:
        runs = (lived(world_of, name, replication=r, minutes=size.minutes) for r in range(size.replications))
        return [early_worth(run) for run in runs]

    cloud = worths(CLOUD_ONLY)
    return {name: paired(cloud, worths(name)) for name in names}


def upper_ends(differences: dict[str, PairedDifference]) -> dict[str, float]:
    """Upper ends in %, Holm over the policies: of K, who is most clearly below the limit has a one-sided level of
    2.5 % / K, the next 2.5 % / (K - 1), and so on."""

    def error(d: PairedDifference) -> float:
        return (d.diff_pct_high - d.diff_pct) / float(stdtrit(d.n - 1, 0.975))

    def p_value(d: PairedDifference) -> float:
        return float(stdtr(d.n - 1, (d.diff_pct - LIMIT) / error(d))) if error(d) > 0 else float(d.diff_pct >= LIMIT)

    order = sorted(differences, key=lambda name: p_value(differences[name]))
    return {
        name: d.diff_pct + error(d) * float(stdtrit(d.n - 1, 1 - 0.025 / (len(order) - k)))
        for k, name in enumerate(order)
        for d in (differences[name],)
    }


def signs(size: Size, base: Scenario) -> dict[str, PairedDifference]:
    """Valid plays, with intents on: fresher features for the cloud, and learning on the phone with large pages."""
    plays = {
        name: measure(replace(base, **settings), CLOUD_ONLY, size, ("valid_play",))["valid_play"]
        for name, settings in FRESH.items()
    }
    large = replace(base, server__page_size=50, server__candidates=100)
    cloud, phone = (measure(large, p, size, ("valid_play",))["valid_play"] for p in (CLOUD_ONLY, "cloud_filter"))
    return {
        "cloud_only, features after 300 s, against no filter": paired(plays["no filter"], plays["after 300 s"]),
        "cloud_only, features at once, against after 300 s": paired(plays["after 300 s"], plays["features at once"]),
        "cloud_filter against cloud_only, pages of 50 of 100": paired(cloud, phone),
    }


def percent(d: PairedDifference) -> str:
    return f"{d.diff_pct:+.3f} [{d.diff_pct_low:+.3f}, {d.diff_pct_high:+.3f}]"


def of_size(size: Size) -> str:
    return f"{size.people} people, {size.minutes:g} min, {size.replications} replications, sessions lived to their end"


def report() -> Iterable[str]:
    """The page, line by line."""
    usual = replace(Scenario(), server__workers=AMPLE)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True).stdout
    yield "# Null worlds: what was measured\n"
    yield f"{datetime.now(UTC):%Y-%m-%d}, commit {commit.strip()}, written by"
    yield "`PYTHONPATH=tests .venv/bin/python tests/nulls/measured.py docs/evidence/nulls.md`; the same is asserted by"
    yield "`.venv/bin/python -m pytest -m long tests/nulls`. Batch driver, seed 1; differences in % of the baseline's"
    yield "mean with paired 95 % intervals. What holds exactly: `tests/nulls/test_nulls_exact.py`, in `make test`.\n"
    yield "## `server_score` against `cloud_only`, nothing to perceive, default transport\n"
    yield f"{of_size(SHIPPING_SIZE)}. Same price: bytes of a video, service per candidate and inference are 0. Patient:"
    yield "nobody leaves the app for want of a page. **Bold** must be within ±.3, half its width at most .15. The rest:"
    yield "whom a phone's surplus keeps (*same price*), and what shipping candidates costs besides (*usual prices*).\n"
    yield "| world | " + " | ".join(WATCHED) + " | ended for want of a page: cloud, phone |"
    yield "|" + "---|" * (len(WATCHED) + 2)
    for name, settings in SHIPPING.items():
        found = shipping(replace(Scenario(), **settings), SHIPPING_SIZE)
        cells = [f"**{percent(d)}**" if metric in EQUIVALENT.get(name, ()) else percent(d)
                 for metric, d in found.differences.items()]  # fmt: skip
        yield f"| {name} | {' | '.join(cells)} | {found.dry[0]:.2%}, {found.dry[1]:.2%} |"
    yield "\n## Other policies under free transport, nothing to perceive\n"
    yield f"{of_size(POLICIES_SIZE)}; `server.objective` over the first 20 impressions of a session, against"
    yield "`cloud_only`. Upper end, Holm over the policies: must be at most +.3.\n"
    able, unable = others(NOT_CLOUD)
    found = early_differences(replace(Scenario(), **SHORT), able, POLICIES_SIZE)
    yield "| policy | difference, % | upper end, Holm |\n|---|---|---|"
    for name, high in upper_ends(found).items():
        yield f"| {name} | {percent(found[name])} | {high:+.3f} |"
    for name, why in unable.items():
        yield f"| {name} | not measured: {why} | |"
    yield "\n## Signs: valid plays, intents on\n"
    yield f"{of_size(SIGNS_SIZE)}, default scenario. Must be above 0.\n"
    yield "| | difference, % |\n|---|---|"
    for name, d in signs(SIGNS_SIZE, usual).items():
        yield f"| {name} | {percent(d)} |"


if __name__ == "__main__":
    lines = []
    for line in report():
        print(line, flush=True)
        lines.append(line)
    Path(sys.argv[1]).write_text("\n".join(lines) + "\n", encoding="utf-8")
