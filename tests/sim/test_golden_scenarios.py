"""Two dozen small scenarios, pinned by the hash of everything that happens in them: golden.

Together they pass through every part of the world. When one changes, results of earlier versions can no longer be
compared with today's: that is what the semantics version says. If it was meant, raise `SEMANTICS` in
nextone/__init__.py and run `python tests/sim/test_golden_scenarios.py --write`; say why in the commit message.
"""

import hashlib
import sys
from pathlib import Path

import numpy as np
import pytest
from worlds import INF, run, scenario

from nextone import SEMANTICS

GOLDEN = Path(__file__).parent / "golden" / "scenarios.txt"
OSLO = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)
SCENARIOS = {
    "default": ({}, "cloud_only"),
    "momentum": ({}, "tag_momentum"),
    "server score": ({}, "server_score"),
    "random": ({}, "random"),
    "real catalogue": ({"catalogue__kind": "kuairand", "catalogue__videos": 9_000}, "tag_momentum"),
    "small page": ({"server__page_size": 2}, "tag_momentum"),
    "page of one": ({"server__page_size": 1, "server__candidates": 1}, "server_score"),
    "large page": ({"server__page_size": 20, "server__candidates": 60}, "server_score"),
    "short ttl": ({"client__ttl_s": 15.0}, "tag_momentum"),
    "ttl of impressions": ({"client__ttl_impressions": 3.0, "client__ttl_s": INF}, "server_score"),
    "merge": ({"client__on_refill": "merge", "client__refill_at": 3}, "tag_momentum"),
    "refill late": ({"client__refill_at": 0}, "cloud_only"),
    "decide at start": ({"client__decide_at": "start"}, "tag_momentum"),
    "slow phones": ({"phone__inference_ms": (2000.0,) * 4}, "server_score"),
    "slow link": ({"network__constant_mbps": 0.7}, "buffered_first"),
    "outages": ({"network__outages_per_hour": 60.0, "client__expired_offline": "serve"}, "tag_momentum"),
    "lossy": ({"network__loss": 0.2, "client__timeout_s": 2.0}, "cloud_only"),
    "3G traces": ({"network__shares": OSLO}, "buffered_first"),
    "synthetic traces": ({"network__synthetic_traces": 3, "network__synthetic_mbps": 2.0}, "random"),
    "one server": ({"server__workers": 1, "server__queue_limit": 2, "server__service_ms": 3000.0}, "tag_momentum"),
    "fresh cloud": ({"server__feature_lag_s": 0.0}, "cloud_only"),
    "no preload": ({"player__preload_videos": 0}, "server_score"),
    "restless people": ({"interests__intent_sd": 3.0, "interests__reinforcement": 0.5}, "tag_momentum"),
    "small set": ({"server__recall": 60, "server__kept": 25, "server__arrivals_per_min": 30.0}, "server_score"),
    "short memory": ({"catalogue__videos": 60, "server__repeat_after_days": 0.001}, "cloud_only"),
    "talkative people": ({"feedback__like": 0.4, "feedback__browse": 0.5, "feedback__hate": 0.1}, "random"),
    "two days": ({"population__users": 4, "sessions__gap_hours": 3.0}, "tag_momentum"),
}  # fmt: skip


def happened(name):
    """The hash of every bit of the logs of one scenario, 16 hex digits."""
    settings, policy = SCENARIOS[name]
    days = 2.0 if name == "two days" else None
    finished = run(scenario(**settings), policy, seed=53, minutes=8.0, days=days, engine="event")
    digest = hashlib.sha256()
    for table in finished.records:
        for field in table.dtype.names:  # without the padding between fields
            digest.update(field.encode() + np.ascontiguousarray(table[field]).tobytes())
    return digest.hexdigest()[:16]


def pinned():
    """(semantics version, {scenario: hash}) of the file."""
    first, *lines = GOLDEN.read_text().splitlines()
    return int(first.removeprefix("semantics ")), dict(line.rsplit(" ", 1) for line in lines)


@pytest.mark.parametrize("name", SCENARIOS)
def test_what_happens_is_what_happened(name):
    semantics, hashes = pinned()
    assert happened(name) == hashes[name], (
        f"{name!r} changed. If it was meant, raise SEMANTICS in nextone/__init__.py (now {SEMANTICS}, the file was "
        f"written at {semantics}) and run: python tests/sim/test_golden_scenarios.py --write"
    )


def test_the_file_is_of_this_version_and_complete():
    semantics, hashes = pinned()
    assert semantics == SEMANTICS, "run: python tests/sim/test_golden_scenarios.py --write"
    assert list(hashes) == list(SCENARIOS)
    assert len(hashes) >= 20
    assert len(set(hashes.values())) == len(hashes)


def write():
    """Pin them anew; changed scenarios need another semantics version."""
    hashes = {name: happened(name) for name in SCENARIOS}
    if GOLDEN.exists():
        semantics, before = pinned()
        changed = [name for name, value in before.items() if hashes.get(name, value) != value]
        if changed and semantics == SEMANTICS:
            sys.exit(f"changed: {', '.join(changed)}; raise SEMANTICS in nextone/__init__.py first")
    lines = [f"semantics {SEMANTICS}", *(f"{name} {value}" for name, value in hashes.items())]
    GOLDEN.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit("usage: python tests/sim/test_golden_scenarios.py --write")
    write()
