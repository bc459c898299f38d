"""Twin: an environment driven by a policy lives the same lives as the SimPy run of that policy, bit for bit.

One-hot scores, no inference latency, ample servers. Also: reward components rebuild the
ledgers, observations are `features.observe`'s, nothing hidden or to come is in them, and luck does not follow actions.
"""

import gymnasium
import numpy as np
import pytest
from worlds import AMPLE, SCRATCH, indifferent, page_asker, policy_id, replace, same_bits, scenario

from nextone.envs.episode import DAY_US, END_US, WINDOW_US
from nextone.envs.features import Observation, empty_observation
from nextone.envs.observing import observe
from nextone.envs.reward import COMPONENTS
from nextone.policies.by_name import make_policy
from nextone.policies.contract import as_policy
from nextone.sim.event_run import run_events
from nextone.sim.ledger import check_ledgers
from nextone.sim.state import DEAD, IDLE, LONG, PLAYING, STALLED, VALID, WAITING
from nextone.sim.world import build_world

POLICIES = ("server_score", "tag_momentum", "buffered_first", "random", "longest_first", indifferent, page_asker)
ODD = {
    "default": {},
    "merge": {"client__on_refill": "merge", "client__refill_at": 3, "server__page_size": 4},
    "start": {"client__decide_at": "start"},
    "short_ttl": {"client__ttl_s": 5.0, "client__ttl_impressions": 4.0, "client__expired_offline": "serve"},
    "rough": {"network__loss": 0.2, "network__outages_per_hour": 120.0, "network__radio_wake_ms": 300.0,
              "network__constant_mbps": 1.5, "server__service_ms": 4500.0, "client__timeout_s": 4.0,
              "network__shares": (0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0)},
}  # fmt: skip
PEOPLE = 12


def quick(**settings):
    """Small worlds in which a decision takes no time."""
    return scenario(phone__inference_ms=(0.0,) * 4, **settings)


def make(n, policy, world_of, **settings):
    env_id = "nextone/NextOneRefresh-v0" if policy is page_asker else "nextone/NextOne-v0"
    return gymnasium.make_vec(env_id, num_envs=n, scenario=world_of, autoreset_mode="Disabled", **settings)


def choose(policy, observation, mask):
    """The policy's best allowed action for each person, the lowest of equals; mask: (N, P) or (N, P + 1)."""
    scores, _ = as_policy(make_policy(policy) if isinstance(policy, str) else policy)(observation, None)
    return np.where(mask, scores, -np.inf).argmax(1)


def in_environment(policy, world_of, seed, n=PEOPLE, each=1, **settings):
    """People 0 to n in batches of `each`: (their rows at every decision, rows at the end, summed components)."""
    decisions, ends, totals = [[] for _ in range(n)], [], np.zeros((n, len(COMPONENTS)))
    for first in range(0, n, each):
        people = np.arange(first, min(first + each, n))
        env = make(len(people), policy, world_of, **settings)
        observations, _ = env.reset(seed=[seed] * len(people), options={"person": people})
        alive = np.ones(len(people), np.bool_)
        rows = [None] * len(people)
        while alive.any():
            for i in np.flatnonzero(alive & (env.world.pool["rank"] != DEAD).any(1)):
                decisions[people[i]].append(env.world.users[i].copy())
            mask = observations["mask"].astype(np.bool_)
            slots = env.world.pool.shape[1]
            seen = Observation(*(observations[name] for name in ("candidates", "history", "context")), mask[:, :slots])
            observations, _, terminated, truncated, info = env.step(choose(policy, seen, mask))
            for k, name in enumerate(COMPONENTS):
                totals[people, k] += np.where(alive, info[f"reward_{name}"], 0.0)
            over = terminated | truncated
            for i in np.flatnonzero(alive & over):
                rows[i] = env.world.users[i].copy()
            alive &= ~over
            if over.any() and alive.any():  # rows that are over begin something else, which is not looked at
                observations, _ = env.reset(options={"reset_mask": over})
        ends += rows
    return decisions, np.array(ends), totals


def in_event_run(policy, world_of, seed, n=PEOPLE, end_us=END_US, days=False):
    """The same from SimPy, with the ledgers checked: (rows at every decision, rows at the end, records)."""
    world = build_world(replace(world_of, population__users=n), edge=True, seed=seed, window_us=WINDOW_US)
    slots, past = world.pool.shape[1], world.history.shape[1]
    decisions = [[] for _ in range(n)]

    def decide(w, rows):
        observation = empty_observation(len(rows), slots, past)
        observe(w, rows, *observation)
        mask = observation.mask.copy()
        if policy is page_asker:
            mask = np.concatenate([mask, (w.users["request_state"][rows] == IDLE)[:, None]], 1)
        scores = np.zeros(mask.shape, np.float32)
        scores[np.arange(len(rows)), choose(policy, observation, mask)] = 1.0
        for i in rows:
            decisions[i].append(w.users[i].copy())
        return scores

    records, _ = run_events(world, decide, workers=AMPLE, queue_limit=0, end_us=end_us, days=days)
    check_ledgers(world, records)
    return decisions, world.users, records


def ledgers(users, records, n=PEOPLE):
    """What the components must sum to, from the event run's books, (n, K)."""

    def by_person(table, value):
        return np.bincount(table["user"], value, n)

    shown, rows = records.impressions, users
    parts = {
        "valid_play": by_person(shown, shown["outcome"] & VALID != 0),
        "long_view": by_person(shown, shown["outcome"] & LONG != 0),
        "watch_s": rows["ledger_us"][:, PLAYING] / 1e6,
        **{kind: by_person(shown, shown["feedback"] >> k & 1)
           for k, kind in enumerate(("like", "follow", "comment", "forward", "hate"))},
        "stall_s": rows["ledger_us"][:, STALLED] / 1e6,
        "wait_s": rows["ledger_us"][:, WAITING] / 1e6,
        "wasted_mb": rows["wasted"] / 1e6,
        "requests": rows["request"],
        "leaving": by_person(records.sessions, records.sessions["cut"] == 0),
        "app_s": rows["ledger_us"].sum(1) / 1e6,
        "returns": by_person(records.sessions, records.sessions["session"] > 0),
    }  # fmt: skip
    return np.stack([parts[name] for name in COMPONENTS], 1)


def check_twins(policy, world_of, seed, each, n=PEOPLE, days=None):
    decisions, ends, totals = in_environment(policy, world_of, seed, n, each, days=days)
    until = (WINDOW_US + days * DAY_US, True) if days else (END_US, False)
    theirs, users, records = in_event_run(policy, world_of, seed, n, *until)
    assert [len(rows) for rows in decisions] == [len(rows) for rows in theirs]
    for mine, other in zip(decisions, theirs, strict=True):
        if mine:
            assert same_bits(np.array(mine), np.array(other), SCRATCH) == ""
    assert same_bits(ends, np.array(users), SCRATCH) == ""
    np.testing.assert_allclose(totals, ledgers(users, records, n), rtol=1e-9, atol=1e-9)
    return records


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("policy", POLICIES, ids=policy_id)
def test_environment_and_event_world_live_the_same_lives(policy, odd):
    """In batches of 1, 2 and 7; every decision, the end, and the sum of every component."""
    for seed, each in ((0, PEOPLE), (1, 7)) if odd == "default" else ((0, 7),):
        records = check_twins(policy, quick(sessions__leave_per_min=0.15, **ODD[odd]), seed, each)
        assert len(records.impressions) > PEOPLE
        assert (records.requests["refresh"] != 0).any() == (policy is page_asker)


def test_batches_of_one_two_and_many_live_the_same_lives():
    world_of = quick(sessions__leave_per_min=0.5)
    for each, n in ((1, 6), (2, 6), (64, 64)):
        check_twins("tag_momentum", world_of, 3, each, n)


def test_people_come_back_as_in_the_event_world():
    """Episodes of two days: who leaves opens the app again, when and as in a run over days."""
    records = check_twins("tag_momentum", quick(sessions__leave_per_min=1.0), 0, 5, 5, days=2)
    assert records.sessions["session"].max() > 2


def test_the_real_catalogue_too():
    check_twins("server_score", quick(catalogue__kind="kuairand", catalogue__videos=8_000), 4, 12)


@pytest.mark.long
@pytest.mark.parametrize("policy", POLICIES, ids=policy_id)
def test_a_hundred_seeds(policy):
    for seed in range(100):
        odd = list(ODD)[seed % len(ODD)]
        check_twins(policy, quick(**ODD[odd]), seed, (1, 2, 7, PEOPLE)[seed % 4])


def test_twins_would_notice():
    """Another seed, another policy and a slow server all differ."""
    world_of = quick(sessions__leave_per_min=0.3)
    _, ends, _ = in_environment("server_score", world_of, 0, each=PEOPLE)
    for policy, other, seed in (("random", world_of, 0), ("server_score", world_of, 1),
                                ("server_score", replace(world_of, server__service_ms=900.0), 0)):  # fmt: skip
        assert same_bits(ends, np.array(in_event_run(policy, other, seed)[1]), SCRATCH)


# -- what is in an observation -----------------------------------------------------------------------------------------


def seen_by(world, rows):
    observation = empty_observation(len(rows), world.pool.shape[1], world.history.shape[1])
    observe(world, rows, *observation)
    return observation


@pytest.mark.parametrize("odd", ODD)
def test_observations_are_those_of_the_table(odd):
    """What is kept from one decision to the next gives the same bits as observing anew."""
    env = gymnasium.make_vec("nextone/NextOne-v0", num_envs=20, scenario=scenario(client__history=5, **ODD[odd]),
                             autoreset_mode="SameStep", max_steps=25, inference=True)  # fmt: skip
    observations, _ = env.reset(seed=7)
    rows = np.arange(20)
    for step in range(60):
        anew = seen_by(env.world, rows)
        for name in ("candidates", "history", "context"):
            assert observations[name].tobytes() == getattr(anew, name).tobytes(), (step, name)
        live = anew.mask.any(1)
        assert (observations["mask"][live] == anew.mask[live]).all()
        liking = (np.arange(env.single_action_space.n) * 7 + step) % 17
        observations, *_ = env.step((observations["mask"] * (1 + liking)).argmax(1))


HIDDEN = (
    "person", "taste_sd", "propensity", "mood", "satisfaction", "will_to_stay", "cloud_person", "knot", "phase_end_us",
    "scale", "rtt_level_us", "service_us", "queue_us", "response_us", "give_up_us", "loop_us",
)  # fmt: skip


def test_nothing_hidden_or_to_come_is_observed():
    """All draws, traces, true interests and qualities are changed at a decision: 1,000 observations, the same bits."""
    env = gymnasium.make_vec("nextone/NextOne-v0", num_envs=200, scenario=scenario(**ODD["rough"]),
                             autoreset_mode="SameStep")  # fmt: skip
    observations, _ = env.reset(seed=3)
    rows = np.arange(200)
    for step in range(5):
        w = env.world
        kept = [array.copy() for array in (w.key, w.users, w.mind, w.belief, w.screen)]
        videos, indexed, knots = w.videos.copy(), w.indexed.copy(), w.knots.copy()
        w.key[:] += 99
        for name in HIDDEN:
            w.users[name] += 7
        for name in ("outage_start_us", "outage_end_us"):  # spells to come
            later = w.users["outage_start_us"] > w.users["now_us"]
            w.users[name][later] += 1_000_000
        for name in ("taste", "intent", "satiety"):
            w.mind[name] += 1
        for name in ("taste", "expected", "cov"):
            w.belief[name] += 1
        w.screen["target_us"] += 1_000
        for name in ("stay_logit", "mood", "intent"):
            w.screen[name] += 1
        for name in ("quality", "appeal", "author"):
            videos[name] += 1
        for name in ("quality", "appeal", "skip_long", "watch_long"):
            indexed[name] += 1
        knots["bytes"] *= 3
        changed = w._replace(videos=videos, indexed=indexed, content=w.content + 1, knots=knots, stored=w.stored[:, :0],
                             propensities=w.propensities * 0, rtt=w.rtt * 2)  # fmt: skip
        other = seen_by(changed, rows)
        for name in ("candidates", "history", "context"):
            assert observations[name].tobytes() == getattr(other, name).tobytes(), name
        for array, before in zip((w.key, w.users, w.mind, w.belief, w.screen), kept, strict=True):
            array[:] = before
        observations, *_ = env.step((observations["mask"] * (1 + (rows[:20] * 7 + step) % 13)).argmax(1))


def test_the_future_comes_from_the_draws():
    """The same test could fail: with other draws from some decision on, later observations differ, earlier do not."""
    one, other = (make(8, "random", quick(sessions__leave_per_min=0.0)) for _ in range(2))
    a, _ = one.reset(seed=5)
    b, _ = other.reset(seed=5)
    for step in range(6):
        assert (a["context"].tobytes() == b["context"].tobytes()) == (step <= 3), step
        if step == 3:
            other.world.key[:] += 1
        (a, *_), (b, *_) = one.step(a["mask"].argmax(1)), other.step(b["mask"].argmax(1))


LASTING = ("person", "taste_sd", "propensity", "past", "past_impressions", "frequency", "pace", "tier", "link",
           "software_decoder", "mood",
           "opened_us", "first_knot", "scale", "rtt_level_us", "cloud_person")  # fmt: skip


def check_luck(cases, seed):
    """Flip the first action: people, phones, links, sessions and the next request's luck stay the same bits."""
    env = make(cases, "random", quick(client__refill_at=0, server__page_size=2))
    lives = []
    for first in (0, 5):
        env.reset(seed=seed)
        pages = []
        for step in range(3):
            _, _, terminated, *_ = env.step(np.full(cases, first if step == 0 else 0))
            pages.append(env.world.users[["request", "attempt", "sent_us", "arrived_us", "service_us"]].copy())
            if terminated.any():
                break
        lives.append((env.world.users.copy(), pages))
    (a, _), (b, _) = lives
    for name in LASTING:
        assert a[name].tobytes() == b[name].tobytes(), name
    met = (a["request"] == b["request"]) & (a["attempt"] == b["attempt"])
    assert met.sum() > cases / 2 and (a["service_us"][met] == b["service_us"][met]).all()
    there = [(x["arrived_us"] - x["sent_us"])[met] for x in (a, b)]
    assert (there[0] == there[1]).all() and (a["now_us"] != b["now_us"]).any()


def test_luck_does_not_follow_actions():
    check_luck(300, 1)


@pytest.mark.long
def test_luck_does_not_follow_ten_thousand_actions():
    check_luck(10_000, 2)
