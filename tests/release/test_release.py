"""Releases in small worlds: twins of comparisons, exact nulls, and what a phone does as it pulls and goes back."""

from functools import cache

import numpy as np
import pytest
from worlds import AMPLE, replace, same_bits, scenario

from nextone.experiments.release.faults import Fault
from nextone.experiments.release.plan import Gate, Plan, Wave
from nextone.experiments.release.run import Release, run_world
from nextone.experiments.release.telemetry import Telemetry
from nextone.experiments.runs.arms import Arm
from nextone.experiments.runs.deciding import make_decider
from nextone.experiments.runs.replication import run_arm
from nextone.policies.rules import server_score
from nextone.sim.state import CURRENT

HOURS = 1.0  # in runs of days nobody opens the app in the first half hour, and many right after it
WORLD = scenario(population__users=60, server__workers=AMPLE, sessions__gap_hours=0.6, phone__inference_ms=40.0)
NEVER_BAD = Gate("failures", limit=1.0)


def plan(first="server_score", second="tag_momentum", gates=(NEVER_BAD,), waves=((1.0, 20.0),), start=0.0, fault=None,
         world=WORLD, other=None):  # fmt: skip
    versions = Arm("old", first, world), Arm("new", second, other or world)
    return Plan("made up", versions, tuple(Wave(*w) for w in waves), tuple(gates), start, 0.5, HOURS, fault)


@cache
def compared(policy, world=WORLD):
    return run_arm(world, policy, seed=3, replication=0, days=HOURS / 24)


def lived(of, **given):
    return run_world(Release(of, 3, **given))


def same(a, b):
    return "".join(same_bits(left, right) for left, right in zip(a, b, strict=True))


@pytest.mark.parametrize("second", ["tag_momentum", "cloud_only"])
def test_version_2_for_everybody_before_the_first_open_is_the_arm_that_a_comparison_runs(second):
    other = replace(WORLD, server__page_size=3, server__candidates=12, client__ttl_s=200.0)
    released, _, records = lived(plan(second=second, other=other))
    assert same(records, compared(second, other).records) == ""
    assert same(records, compared("server_score").records), "versions must differ"
    assert (released.end, released.people) == ("released", 60)


def test_a_wave_that_begins_after_the_first_requests_is_between_the_two():
    released, world, records = lived(plan(start=33.0))
    assert same(records, compared("server_score").records) and same(records, compared("tag_momentum").records)
    got = (world.arms[:, 0] == 1).sum()
    assert got == released.people and 20 < got <= 60


@pytest.mark.parametrize("policy", ["server_score", "cloud_only"])
def test_version_1_under_another_number_changes_nothing(policy):
    for fault in (None, Fault("harmless", 0.0)):
        released, _, records = lived(plan(policy, policy, start=33.0, waves=((0.3, 5.0), (0.8, 10.0)), fault=fault))
        assert same(records, compared(policy).records) == ""
        assert [each.what for each in released.events] == ["wave", "wave", "released"]


class Network:
    """The server's order, by a network that is downloaded."""

    downloaded, cost = True, (0.2, 400_000)

    def start(self, n):
        return None

    def __call__(self, observation, memory):
        return server_score(observation), None


def test_files_come_over_the_link_before_version_2_ranks_and_are_all_that_it_changes():
    world = replace(WORLD, phone__no_model=0.0, phone__old_model=0.0)
    network = Network()
    alone = run_arm(world, network, seed=3, replication=0, days=HOURS / 24)
    released, pulled, records = lived(plan(network, network, start=40.0, waves=((0.6, 15.0),), world=world))
    asked = pulled.users["data_bytes"] != alone.world.users["data_bytes"]
    got = pulled.arms[:, 0] == 1
    assert 10 < got.sum() == released.people <= asked.sum() <= 36
    left = pulled.users["model_left"][got]
    more = pulled.users["data_bytes"][got] - alone.world.users["data_bytes"][got]
    assert not left.any() and (np.abs(more - 400_000) < 100_000).all()  # who waits for files may see fewer pages
    assert (pulled.users["model_held"][got] == CURRENT).all()
    untouched = [table[~asked[table["user"]]] for table in records]
    assert same(untouched, [table[~asked[table["user"]]] for table in alone.records]) == ""


def test_after_a_rollback_each_decision_is_the_one_that_version_1_takes(monkeypatch):
    """Compared with version 1's scores for the same observation, decision by decision."""
    checked, note = [0, 0], Telemetry._note
    world_seen = []

    def compare(self, rows, scores):
        w = self._world
        first = make_decider("server_score", w)(w._replace(params=w.params[:1]), rows)
        old = w.users["arm"][rows] == 0
        assert np.array_equal(scores[old, : first.shape[1]], first[old])
        checked[0] += int(old.sum())
        checked[1] += int((~old).sum())
        world_seen[:] = [w]
        note(self, rows, scores)

    monkeypatch.setattr(Telemetry, "_note", compare)
    gate = Gate("failures", limit=0.05, test="value", least=5)
    released, world, _ = lived(
        plan(gates=[gate], start=33.0, waves=((0.9, 20.0),), fault=Fault("crash", 0.5)), kept=True
    )  # fmt: skip
    assert released.end == "rolled back" and released.minute_of("rolled back") < 15
    assert checked[0] > 200 and checked[1] > 20 and world_seen
    back = world.arms[:, 0] == 0
    assert back.sum() > 50 and (world.users["arm"] == world.arms[:, 0]).all()
    assert 0 < released.hours < 60 * HOURS


def test_the_monitor_counts_what_happened():
    released, world, records = lived(plan(start=33.0, waves=((0.5, 10.0), (0.8, 10.0))), kept=True)
    table = released.monitor
    assert table["impressions"].sum() == (records.impressions["outcome"] & 128 == 0).sum()
    assert table["app_min"].sum() == pytest.approx(world.users["wall_us"].sum() / 6e7)
    assert table["app_min"][1::2].sum() / 60 == pytest.approx(released.hours)
    assert table["decisions"].sum() == world.users["inferences"].sum() and not table["failures"].any()
    assert (table["decisions"][1:66:2] == 0).all() and table["decisions"][1::2].sum() > 50
    assert (table["phones"] >= table["app_min"]).all() and 30 < table["phones"].max() <= 60
    made = table["decisions"] > 0
    assert (table["latency_p50_ms"][made] <= table["latency_p95_ms"][made]).all()
    assert np.isnan(table["score"][~made]).all() and np.isnan(table["latency_p95_ms"][~made]).all()
    assert (table["valid_plays"] <= table["impressions"]).all() and (table["stale_picks"] <= table["picks"]).all()
    assert len(released.looks) == 59


def test_failures_that_are_planted_are_those_that_are_seen():
    released, _, _ = lived(plan("server_score", "server_score", fault=Fault("crash", 0.3)), kept=True)
    table = released.monitor
    share = table["failures"].sum() / table["decisions"].sum()
    assert 0.25 < share < 0.35
