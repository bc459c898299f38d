"""Other problems than the next slot: ranks of a list, when to act, the cloud's pages, shared servers; and hazards."""

import gymnasium
import numpy as np
import pytest
from test_envs_twin import ledgers, quick
from worlds import SCRATCH, replace, same_bits, scenario

import nextone  # noqa: F401  (registers the ids)
from nextone.envs.cloud import CloudEnv
from nextone.envs.features import Observation, empty_observation
from nextone.envs.observing import observe
from nextone.envs.reward import COMPONENTS, PRICES, RewardWeights
from nextone.envs.shared import SharedServers
from nextone.envs.vector import NextOneVectorEnv
from nextone.policies.rules import tag_momentum
from nextone.sim.event_run import run_events
from nextone.sim.scenario import SettingError
from nextone.sim.state import GONE
from nextone.sim.world import ask_after, build_world

PEOPLE = 10


def seen_by(observations):
    parts = (observations[name] for name in ("candidates", "history", "context"))
    return Observation(*parts, observations["mask"] != 0)


def live(env, act, seed=0):
    """Rows of people 0 to n when their episode ends, and what they brought; act(observations) -> actions."""
    n = env.num_envs
    observations, _ = env.reset(seed=[seed] * n, options={"person": np.arange(n)})
    alive, rows, totals = np.ones(n, np.bool_), [None] * n, np.zeros((n, len(COMPONENTS)))
    while alive.any():
        observations, _, terminated, truncated, info = env.step(act(observations))
        totals += alive[:, None] * np.stack([info[f"reward_{name}"] for name in COMPONENTS], 1)
        for i in np.flatnonzero(alive & (terminated | truncated)):
            alive[i], rows[i] = False, env.world.users[i].copy()
        if alive.any() and not alive.all():
            observations, _ = env.reset(options={"reset_mask": ~alive})
    return np.array(rows), totals


# -- ranks of a list ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("quiet", [0, 5])
def test_a_rank_of_the_list_lives_as_in_the_event_world(quiet):
    """Scores at each trigger, of feedback or so many impressions without: the same bits as a policy asked then."""
    world_of = quick(sessions__leave_per_min=0.2)
    env = NextOneVectorEnv(PEOPLE, scenario=world_of, action="scores", trigger=quiet or None)
    mine, totals = live(env, lambda seen: tag_momentum(seen_by(seen)))
    world = build_world(replace(world_of, population__users=PEOPLE), edge=True, seed=0, window_us=24 * 3_600_000_000)
    ask_after(world, quiet)

    def decide(w, rows):
        observation = empty_observation(len(rows), w.pool.shape[1], w.history.shape[1])
        observe(w, rows, *observation)
        return tag_momentum(observation)

    records, _ = run_events(world, decide, workers=1000, queue_limit=0, end_us=2 * 24 * 3_600_000_000)
    assert same_bits(mine, np.array(world.users), SCRATCH) == ""
    np.testing.assert_allclose(totals, ledgers(world.users, records, PEOPLE), rtol=1e-9, atol=1e-9)


def test_an_order_means_the_scores_that_fall_along_it():
    """Named twice counts once, the rest follows by the server's rank; and the last number asks."""
    env = NextOneVectorEnv(1, action="order", of_order=3, refresh=True)
    slots = env.single_observation_space["candidates"].shape[0]
    assert env.single_action_space.nvec.tolist() == [slots] * 3 + [2]
    observations, info = env.reset(seed=1)
    first = int(np.flatnonzero(observations["mask"][0][:-1])[2])
    *_, info = env.step([[first, 0, first, 0]])
    assert info["executed_slot"][0] == first
    scores = env._acting.scores([[4, 4, 2, 1]], 1, env._batch.observation)[0]
    assert scores.argsort()[::-1][:3].tolist() == [slots, 4, 2] and np.count_nonzero(scores[:slots]) == 2


@pytest.mark.parametrize(("arguments", "action", "told"), [
    ({"action": "scores"}, [[np.nan] * 20], "must be finite"),
    ({"action": "scores"}, [[0.0] * 3], "have shape"),
    ({"action": "order", "of_order": 2}, [[0, 99]], "each in"),
    ({"action": "order", "of_order": 2}, [[0.5, 1.0]], "whole numbers"),
])  # fmt: skip
def test_actions_that_mean_nothing_are_refused(arguments, action, told):
    env = NextOneVectorEnv(1, **arguments)
    env.reset(seed=0)
    with pytest.raises(ValueError, match=told):
        env.step(action)


def test_arguments_that_do_not_go_together_are_refused():
    for arguments, told in (
        ({"action": "all"}, "must be one of"), ({"of_order": 3}, "is for action='order'"),
        ({"action": "order", "of_order": 21}, "< 21"), ({"action": "when"}, "ranker"),
        ({"trigger": 0}, ">= 1"), ({"reward": "retention"}, "give days"),
    ):  # fmt: skip
        with pytest.raises(SettingError, match=told):
            NextOneVectorEnv(1, **arguments)
    with pytest.raises(SettingError, match="ranks nothing"):
        gymnasium.make("nextone/When-v0", ranker="cloud_only")
    with pytest.raises(SettingError, match="keeps a memory"):
        gymnasium.make("nextone/When-v0", ranker="edgerec")


# -- when to act -------------------------------------------------------------------------------------------------------


def test_when_to_act_does_what_it_says():
    """0: the order stands, as if nobody were asked. 1: the ranker's order. 2: a page is asked for, nothing ranked."""
    world_of = quick(sessions__leave_per_min=0.3)
    when = gymnasium.make_vec("nextone/When-v0", num_envs=PEOPLE, scenario=world_of)
    ranks = NextOneVectorEnv(PEOPLE, scenario=world_of, action="scores", refresh=True)
    asks = np.full((PEOPLE, 1), -np.inf, np.float32)
    by_rule, rule_totals = live(ranks, lambda seen: np.hstack([tag_momentum(first_columns(seen)), asks]))
    in_order, _ = live(ranks, lambda seen: np.full((PEOPLE, 21), -np.inf))
    assert same_bits(live(when, lambda _: np.ones(PEOPLE, np.int64))[0], by_rule, SCRATCH) == ""
    still, totals = live(when, lambda _: np.zeros(PEOPLE, np.int64))
    assert same_bits(still, in_order, SCRATCH) == "" and still["inferences"].sum() == 0
    asking, more = live(when, lambda seen: 2 * seen["mask"][:, 2].astype(np.int64))
    assert more[:, COMPONENTS_AT["requests"]].sum() > 3 * totals[:, COMPONENTS_AT["requests"]].sum()
    assert asking["inferences"].sum() == 0 and (rule_totals != totals).any()


COMPONENTS_AT = {name: k for k, name in enumerate(COMPONENTS)}


def first_columns(seen):
    return Observation(*(seen[name] for name in ("candidates", "history", "context")), seen["mask"][:, :-1] != 0)


# -- leaving -----------------------------------------------------------------------------------------------------------


def test_the_hazard_that_is_told_is_what_sessions_bear():
    """Of each session that was left: all that it was given at its open, which is exponential with mean one."""
    env = NextOneVectorEnv(256, scenario=scenario(sessions__leave_per_min=1.0))
    observations, info = env.reset(seed=0)
    borne, given, alive = np.zeros(256), np.full(256, np.nan), np.ones(256, np.bool_)
    while alive.any():
        observations, _, over, _, info = env.step(observations["mask"].argmax(1))
        assert (info["training_hazard"] >= 0).all()
        borne += info["training_hazard"] * alive
        will = env.world.users["will_to_stay"]
        left = alive & over & (will <= 0)
        given[left] = borne[left] + will[left]  # without what the last step held too much
        alive &= ~over
    told = given[~np.isnan(given)]
    assert len(told) > 200 and abs(told.mean() - 1.0) < 4 / np.sqrt(len(told)) and (told > 0).all()


# -- the cloud's side --------------------------------------------------------------------------------------------------


def pages_of(env, choose, seed=3):
    """A session: summed components, (reward, load_s) of each step, impressions at the end."""
    env.reset(seed=seed)
    totals, steps, over = np.zeros(len(COMPONENTS)), [], False
    while not over:
        _, reward, over, cut, info = env.step(choose(len(steps)))
        over |= cut
        totals += [info[f"reward_{name}"] for name in COMPONENTS]
        steps.append((reward, info["load_s"]))
    return totals, np.array(steps), int(env._inner.world.users["impression"][0])


@pytest.mark.parametrize(("page", "candidates", "ttl_s"), [(6, 20, 600.0), (9, 12, 40.0)])
def test_one_choice_for_all_pages_is_the_world_of_that_setting(page, candidates, ttl_s):
    """The same life as where the scenario has these values, whatever else could have been chosen."""
    base = {"server__page_size": page, "server__candidates": candidates, "client__ttl_s": ttl_s}
    world_of = quick(sessions__leave_per_min=0.02, catalogue__videos=600, **base)
    cloud = CloudEnv(
        tag_momentum, scenario=world_of, pages=(4, page), candidates=(candidates, 40), ttls_s=(5.0, ttl_s)
    )
    usual, pages = NextOneVectorEnv(1, scenario=world_of, action="scores", autoreset_mode="Disabled"), 0
    for seed in range(3, 7):
        totals, steps, impressions = pages_of(cloud, lambda _: [1, 0, 1], seed)
        observations, _ = usual.reset(seed=seed)
        expected, over = np.zeros(len(COMPONENTS)), [False]
        while not over[0]:
            observations, _, over, _, info = usual.step(tag_momentum(seen_by(observations)))
            expected += [info[f"reward_{name}"][0] for name in COMPONENTS]
        np.testing.assert_allclose(totals, expected, rtol=1e-9, atol=1e-9)
        assert impressions == usual.world.users["impression"][0]
        pages += len(steps)
    assert pages > 12


def test_larger_pages_are_fewer_and_load_has_a_price():
    arguments = {"scenario": quick(sessions__leave_per_min=0.05, catalogue__videos=600), "pages": (4, 12)}
    (small, many, _), (large, few, _) = (
        pages_of(CloudEnv(tag_momentum, **arguments), lambda _, k=k: [k, 1, 1]) for k in (0, 1)
    )
    requests = COMPONENTS_AT["requests"]
    assert small[requests] > 1.5 * large[requests] and len(many) > 1.5 * len(few) > 3
    _, priced, _ = pages_of(CloudEnv(tag_momentum, load_price=10.0, **arguments), lambda _: [0, 1, 1])
    assert (many[:, 1] > 0).sum() > 3
    np.testing.assert_allclose(priced[:, 0], many[:, 0] - 10.0 * many[:, 1], rtol=1e-9)


def test_pages_that_cannot_be_are_refused():
    for arguments, told in (
        ({"pages": (3,)}, ">= 4"), ({"pages": ()}, "empty"), ({"candidates": (1,)}, ">= 4"),
        ({"ttls_s": (0.0,)}, "seconds > 0"), ({"load_price": np.inf}, "finite"),
    ):  # fmt: skip
        with pytest.raises(SettingError, match=told):
            CloudEnv(tag_momentum, scenario=scenario(client__refill_at=3), **{"pages": (6,)} | arguments)
    env = gymnasium.make("nextone/Cloud-v0", scenario=scenario(client__refill_at=1)).unwrapped
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step([0, 0, 0])
    env.reset(seed=0)
    with pytest.raises(ValueError, match="whole numbers"):
        env.step([0, 0, 9])


# -- prices ------------------------------------------------------------------------------------------------------------


def test_prices_are_one_factor_of_what_things_cost():
    twice = RewardWeights().priced(2.0)
    for name in COMPONENTS:
        assert getattr(twice, name) == (2.0 if name in PRICES else 1.0) * getattr(RewardWeights(), name)


# -- shared servers ----------------------------------------------------------------------------------------------------


def in_shared_world(world_of, refresh=False, minutes=3, seed=4):
    """Everybody by the server's order, or asking for a page whenever they may: (shared, totals, reward)."""
    shared = SharedServers(scenario=world_of, minutes=minutes, refresh=refresh)
    totals, reward, turn = np.zeros((shared.scenario.population.users, len(COMPONENTS))), 0.0, shared.reset(seed)
    while turn is not None:
        totals[turn.people] += turn.components
        reward += turn.reward.sum()
        asks = refresh & (turn.masks[:, -1] != 0)
        turn = shared.act(np.where(asks, turn.masks.shape[1] - 1, turn.masks.argmax(1)))
    return shared, totals, reward


def test_shared_servers_are_the_event_world_paused():
    """The same lives, bit for bit, and the same queue, as a run of the policy with as few servers."""
    world_of = quick(sessions__leave_per_min=0.3, server__workers=1, population__users=40, server__service_ms=900.0)
    shared, totals, reward = in_shared_world(world_of)
    world = build_world(world_of, edge=True, seed=4, window_us=3 * 60_000_000)

    def decide(w, rows):
        observation = empty_observation(len(rows), w.pool.shape[1], w.history.shape[1])
        observe(w, rows, *observation)
        scores = np.zeros(observation.mask.shape, np.float32)
        scores[np.arange(len(rows)), observation.mask.argmax(1)] = 1.0
        return scores

    records, servers = run_events(
        world, decide, workers=1, queue_limit=world_of.server.queue_limit, end_us=3 * 60_000_000 + 24 * 3_600_000_000
    )
    assert same_bits(np.array(shared.world.users), np.array(world.users), SCRATCH) == ""
    np.testing.assert_allclose(totals, ledgers(world.users, records, 40), rtol=1e-9, atol=1e-9)
    assert shared.servers == servers and servers.waited_us > 0 and (shared.world.users["phase"] == GONE).all()
    assert reward == pytest.approx(float(totals.sum(0) @ shared.weights.array()))


def test_who_asks_for_more_meets_the_queue_that_it_makes():
    world_of = quick(sessions__leave_per_min=0.3, server__workers=1, population__users=40, server__service_ms=900.0)
    calm, usual, _ = in_shared_world(world_of)
    busy, more, _ = in_shared_world(world_of, refresh=True)
    requests = COMPONENTS_AT["requests"]
    assert more[:, requests].sum() > 1.3 * usual[:, requests].sum()
    assert busy.waiting_share > 2 * calm.waiting_share


def test_one_decision_at_a_time_is_the_same_world():
    world_of = quick(sessions__leave_per_min=0.5, server__workers=1, population__users=12)
    env = gymnasium.make("nextone/SharedServers-v0", scenario=world_of, minutes=2).unwrapped
    _, info = env.reset(seed=4)
    total, over, people = 0.0, False, set()
    while not over:
        people.add(info["person"])
        _, reward, over, _, info = env.step(int(info["action_mask"].argmax()))
        total += reward
    assert total == pytest.approx(in_shared_world(world_of, minutes=2)[2]) and people == set(range(12))
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(0)
