"""Sweeps, comparisons and trainings with made-up numbers, keyed and normal: without simulation, any shape is cheap."""

import numpy as np

from nextone.cli import main as cli
from nextone.experiments.ab.assignment import Split
from nextone.experiments.ab.designs import Told, Tried, judged
from nextone.experiments.ab.designs import save as save_tests
from nextone.experiments.ab.run import run_test
from nextone.experiments.ab.shown import save as save_ab
from nextone.experiments.runs.arms import FRESH, Arm, parse_arm
from nextone.experiments.runs.comparison import Comparison
from nextone.experiments.runs.comparison_files import save_tables
from nextone.experiments.runs.metrics import METRICS, column_of
from nextone.experiments.runs.provenance import provenance
from nextone.experiments.sweeps.ledger import Key, Result
from nextone.experiments.sweeps.plan import Question, plan_of
from nextone.experiments.sweeps.result import save_sweep
from nextone.experiments.sweeps.sweep import made_of
from nextone.policies.checkpoint import MODEL, save_checkpoint
from nextone.sim.config import Scenario
from nextone.sim.scenario import with_settings

SEED = 20
BASE = with_settings(Scenario(), ["population.users=30", "server.candidates=40"])
TWO = Question(
    grid=("server.page_size=2,6,12", "client.ttl_s=30,inf"), policies=("cloud_only", "tag_momentum"), minutes=10,
    question="Which <b>page</b> & TTL?",
)  # fmt: skip
RELEASE = """
version1 = "old=server_score"
version2 = "new=server_score"
users = 90
start_min = 35
hours = 0.95
set = { "catalogue.kind" = "synthetic", "catalogue.videos" = 400, "server.workers" = 100 }
wave = [{ share = 0.3, minutes = 8 }, { share = 0.9, minutes = 12 }]
gate = [{ metric = "failures", limit = 0.01, least = 8 }]
"""
SMALL = with_settings(Scenario(), ["catalogue.kind=synthetic", "catalogue.videos=300", "population.users=8"])


def numbers(cell, policy, replication):
    """Made-up metrics of a task: positive, sharing luck between cells and policies."""
    shared = np.random.default_rng([SEED, replication]).standard_normal(len(METRICS))
    own = np.random.default_rng([SEED, replication, cell, len(policy)]).standard_normal(len(METRICS))
    values = 100 + cell + len(policy) + 3 * shared + own
    values[[m.name for m in METRICS].index("stale_picks")] = np.nan
    return values


def made_up(plan, replications=10, fresh=True):
    results = {}
    for cell in plan.cells:
        rounds = [*range(replications), *(range(FRESH, FRESH + 10) if fresh else ())]
        for policy in plan.policies:
            for r in rounds:
                size = cell.scenario.server.page_size
                places = np.stack([np.full(size, 50), 30 - np.arange(size) % 20 + r % 3], axis=-1)
                results[Key(cell.number, r, policy)] = Result(numbers(cell.number, policy, r), places, "0", "0")
    return results


def saved(folder, question, failed=None):
    plan = plan_of(question, BASE)
    folder.mkdir()
    save_sweep(folder, plan, made_of(plan), made_up(plan), failed or {})
    return plan


def saved_comparison(folder, labels=("cloud_only", "tag_momentum", "random"), minutes=4):
    """Ten replications; each arm has 2 % more of everything than the one before it."""
    arms = tuple(Arm(label, label, SMALL) for label in labels)
    luck = np.random.default_rng(SEED).standard_normal((10, len(METRICS)))
    own = np.random.default_rng(SEED + 1).standard_normal((len(arms), 10, len(METRICS)))
    values = (100 + 3 * luck + 0.3 * own) * (1 + 0.02 * np.arange(len(arms))[:, None, None])
    for name, value in (("utilisation", 0.5), ("timeout_rate", 0.0)):
        values[:, :, column_of(name)] = value
    found = Comparison(arms, METRICS, values, 0, minutes, None, "event", np.zeros((len(arms), 10, 0, 2), np.int64))
    folder.mkdir(parents=True)
    save_tables(found, folder)
    return found


def saved_ab(folder, days=None):
    """One A/B test with its truth: 60 people, lived through."""
    base = with_settings(Scenario(), ["catalogue.kind=synthetic", "catalogue.videos=300", "population.users=60"])
    arms = [parse_arm(text, base) for text in ("six=cloud_only", "two=cloud_only server.page_size=2")]
    test = run_test(arms, Split("person", (0.5, 0.5)), minutes=None if days else 4.0, days=days)
    folder.mkdir(parents=True)
    list(save_ab(test, folder))
    return test


def saved_ab_tests(folder):
    """Two A/B tests compared, by how many are treated; made-up numbers."""
    arms = tuple(Arm(label, "cloud_only", SMALL) for label in ("six", "two"))
    lucks = np.linspace(-0.1, 0.1, 10)
    told = {f"{share} %": [Told(-1 + luck, -3, 1, -2.0 - luck, share / 50 + luck) for luck in lucks]
            for share in (10, 50)}  # fmt: skip
    splits = {label: Split("person", (1 - share, share)) for label, share in zip(told, (0.1, 0.5), strict=True)}
    rows = tuple(judged(label, each, 2.0) for label, each in told.items())
    made = provenance(arms, seed=0, replications=10, minutes=4.0, days=None, engine="event")
    folder.mkdir(parents=True)
    list(save_tests(Tried(arms, splits, rows, told, 0, 10, 4.0, made), folder / "ab"))
    return rows


def saved_release(folder):
    """A release of a version that crashes, which a gate rolls back."""
    plan = folder.parent / "plan.toml"
    plan.write_text(RELEASE)
    assert cli.main(["release", str(plan), "--fault", "crash=0.5", "--out", str(folder), "--workers", "1", "-q"]) == 0


def saved_training(folder, looks=5, steps=400):
    """Looks at 0, 100, 200 ... decisions of a training by reinforcement learning, which wants 400."""
    folder.mkdir()
    told = [
        {"step": 100 * k, "reward": 50.0 + k, "uplifts": [{"rule": "cloud_only", "rule_mean": 50.0, "diff": 1.0 * k,
                                                           "low": k - 0.5, "high": k + 0.5}]}
        for k in range(looks)
    ]  # fmt: skip
    about = {"kind": "rl", "settings": {"steps": steps}, "looks": told, "score": 1.0}
    save_checkpoint(folder, 100 * (looks - 1), about, {MODEL: {"weights": np.zeros(2, np.float32)}})
