"""Contract: the environments as Gymnasium and stable-baselines3 want them. Spaces, masks, and how an episode ends.

Also a property: observations are never written again."""

import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from singles_and_vectors import EVERY_ID, IDS, SHORT, same, single, vector
from stable_baselines3.common.env_checker import check_env as sb3_check_env
from worlds import scenario


def inside(env, observations):
    """Every number of N observations is in the space and finite, every mask has a 1; without Python per row."""
    for name, box in env.single_observation_space.items():
        array = observations[name]
        assert array.shape[1:] == box.shape and array.dtype == box.dtype, name
        if name == "mask":
            assert array.any(1).all() and ((array == 0) | (array == 1)).all()
        else:
            assert np.isfinite(array).all() and (array >= box.low).all() and (array <= box.high).all(), name


# -- the checkers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("env_id", EVERY_ID)
def test_gymnasium_and_sb3_find_nothing(env_id):
    """Warnings are errors; SB3's remark on two-dimensional observations apart."""
    check_env(gymnasium.make(env_id, scenario=SHORT, render_mode="ansi").unwrapped)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Your observation .* has an unconventional shape")
        sb3_check_env(gymnasium.make(env_id, scenario=SHORT).unwrapped)


def test_the_defaults_are_found_by_name():
    env = gymnasium.make(IDS[0])
    assert env.action_space.n == 20 and env.observation_space["history"].shape[0] == 20
    many = gymnasium.make_vec(IDS[1], num_envs=3)
    assert type(many.unwrapped).__name__ == "NextOneVectorEnv" and many.single_action_space.n == 21
    assert many.metadata["autoreset_mode"] == AutoresetMode.NEXT_STEP and many.action_space.shape == (3,)
    observations, _ = many.reset(seed=0)
    assert many.observation_space.contains(observations) and many.action_space.contains(many.action_space.sample())


# -- observations, masks, spaces ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 3, 200])
def test_an_observation_is_never_written_again(n):
    env = vector(n, autoreset_mode="SameStep")
    kept = [env.reset(seed=2)[0]]
    copies = [{name: array.copy() for name, array in kept[0].items()}]
    for _ in range(12):
        kept.append(env.step(kept[-1]["mask"].argmax(1))[0])
        copies.append({name: array.copy() for name, array in kept[-1].items()})
        env.action_masks()[:] = False  # what is given away is the caller's
    slices = [{name: array[:1] for name, array in seen.items()} for seen in kept]
    kept.clear()  # a part held keeps the whole
    for _ in range(6):
        env.step(np.zeros(n, np.int64))
    for part, copy in zip(slices, copies, strict=True):
        assert same(part, {name: array[:1] for name, array in copy.items()})


FUZZ = {
    "default": {},
    "merge": {"client__on_refill": "merge", "client__refill_at": 3, "server__page_size": 4},
    "start": {"client__decide_at": "start", "client__ttl_impressions": 4.0},
    "rough": {"network__loss": 0.2, "network__outages_per_hour": 120.0, "network__constant_mbps": 1.5,
              "client__ttl_s": 8.0, "network__shares": (0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0)},
}  # fmt: skip


def fuzz(env, steps, seed):
    """Random actions, masked ones too: everything stays in its space, ends are of one kind, shown slots were live."""
    rng, size = np.random.default_rng(seed), env.single_action_space.n
    observations, _ = env.reset(seed=seed)
    inside(env, observations)
    ends = 0
    for _ in range(steps):
        before = observations["mask"]
        assert (env.action_masks() == before).all()
        observations, rewards, terminated, truncated, info = env.step(rng.integers(0, size, env.num_envs))
        inside(env, observations)
        assert np.isfinite(rewards).all() and not (terminated & truncated).any()
        shown = info["executed_slot"]
        assert (shown >= -1).all() and (shown < env.world.pool.shape[1]).all()
        seen = np.flatnonzero((shown >= 0) & info["_executed_slot"])
        assert before[seen, shown[seen]].all()
        ends += (terminated | truncated).sum()
    assert ends
    return ends


@pytest.mark.parametrize("odd", FUZZ)
@pytest.mark.parametrize("env_id", IDS)
def test_random_steps_stay_in_the_space(env_id, odd):
    """A quarter of a million steps in all; a million in each in `make test-long`."""
    steps = -(-250_000 // (1024 * len(FUZZ) * len(IDS)))
    fuzz(vector(1024, env_id, scenario=scenario(**FUZZ[odd]), max_steps=150, inference=odd == "start"), steps, 5)


@pytest.mark.long
@pytest.mark.parametrize("odd", FUZZ)
@pytest.mark.parametrize("env_id", IDS)
def test_a_million_random_steps_stay_in_the_space(env_id, odd):
    fuzz(vector(1024, env_id, scenario=scenario(**FUZZ[odd]), max_steps=500), 1000, 6)


WORLDS = {
    "two_candidates": {"server__candidates": 2, "server__page_size": 1, "client__history": 1},
    "page_of_one": {"server__page_size": 1, "client__refill_at": 0},
    "large": {"server__candidates": 150, "server__page_size": 40, "client__on_refill": "merge"},
    "tiny_ttl": {"client__ttl_s": 0.001, "client__ttl_impressions": 1.0},
    "offline": {"network__outages_per_hour": 1000.0, "network__outage_s": 60.0, "client__expired_offline": "serve",
                "network__shares": (0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0)},
    "slow": {"network__constant_mbps": 0.01, "server__service_ms": 9000.0, "client__timeout_s": 1.0},
    "one_video": {"catalogue__videos": 1, "catalogue__tags": 1, "server__candidates": 3, "server__page_size": 2},
}  # fmt: skip


@pytest.mark.parametrize("limit", [1, 40])
@pytest.mark.parametrize("odd", WORLDS)
def test_odd_worlds(odd, limit):
    """Every number stays in its space, in each autoreset mode that goes on by itself."""
    for mode in ("NextStep", "SameStep"):
        settings = {"max_steps": limit, "autoreset_mode": mode, "inference": True}
        fuzz(vector(8, IDS[1], scenario=scenario(**WORLDS[odd]), **settings), 45, 7)


# -- masks -------------------------------------------------------------------------------------------------------------


def test_the_mask_is_what_is_alive_and_a_dead_slot_takes_the_nearest():
    env = single(max_steps=200, scenario=scenario(sessions__leave_per_min=0.0)).unwrapped
    observation, _ = env.reset(seed=12)
    for _ in range(4):
        live = np.flatnonzero(env.batch.world.pool["rank"][0] != 255)
        assert np.flatnonzero(observation["mask"]).tolist() == live.tolist()
        dead = np.setdiff1d(np.arange(20), live)
        action = int(dead[0]) if len(dead) else 3
        observation, _, terminated, _, info = env.step(action)
        assert info["executed_slot"] == live[np.argmin(np.abs(live - action))]  # the lower one of two
        assert not terminated


def test_invalid_actions():
    env = single(invalid_action="raise").unwrapped
    observation, _ = env.reset(seed=12)
    env.step(3)
    with pytest.raises(ValueError, match=r"action 3 of environment 0 is masked; allowed are \[0, 1, 2, 4, 5"):
        env.step(3)
    for wrong in (-1, 20, 10**12):
        with pytest.raises(ValueError, match=rf"action {wrong} of environment 0 must be in \[0, 20\)"):
            env.step(wrong)
    with pytest.raises(ValueError, match=r"whole numbers"):
        env.step(1.5)
    assert observation["mask"].all()


def test_asking_for_pages():
    """By hand: the last action asks; not while a request is under way, nor beyond the budget; and is counted."""
    env = single(IDS[1], request_budget=2, scenario=scenario(client__refill_at=0)).unwrapped
    observation, _ = env.reset(seed=3)
    assert observation["mask"].tolist() == [1] * 21
    _, _, _, _, info = env.step(20)
    assert info["executed_slot"] == 0  # the server's first, meanwhile
    assert info["reward_requests"] == 2  # the first page's, before the first decision, and this one
    asked, total = 1, info["reward_requests"]
    for _ in range(40):
        observation = {"mask": env.action_masks()}
        waiting = env.batch.world.users["request_state"][0] != 0
        assert observation["mask"][20] == (not waiting and asked < 2)
        asked += bool(observation["mask"][20])
        _, _, over, _, info = env.step(20)
        total += info["reward_requests"]
        if over:
            break
    assert asked == 2 and total == env.batch.world.users["request"][0]


# -- ends --------------------------------------------------------------------------------------------------------------


def test_leaving_terminates_and_the_step_limit_truncates():
    env = single(max_steps=5).unwrapped
    kinds = set()
    for seed in range(12):
        env.reset(seed=seed)
        for _ in range(6):
            _, _, terminated, truncated, info = env.step(0)
            if terminated or truncated:
                break
        assert truncated != terminated and info["reward_leaving"] == terminated
        kinds.add((terminated, truncated))
        with pytest.raises(ResetNeeded, match="environment 0 has ended"):
            env.step(0)
    assert kinds == {(True, False), (False, True)}


def test_a_world_that_ends_truncates():
    """Nobody ever leaves: the session is cut at the end of the next day."""
    forever = scenario(sessions__leave_per_min=0.0, catalogue__duration_log_mean=8.0, watching__stay=20.0,
                       sessions__away=1.0, sessions__away_s=20_000.0, sessions__wait_patience_s=1e6)  # fmt: skip
    env = single(scenario=forever).unwrapped
    env.reset(seed=1)
    for _ in range(500):
        observation, _, terminated, truncated, info = env.step(0)
        if terminated or truncated:
            break
    assert truncated and not terminated and info["reward_leaving"] == 0 and info["session_min"] > 24 * 60
    assert observation["mask"].any()


def test_a_session_that_ends_before_the_first_decision():
    """Nothing arrives: the first step tells, and every mask has a 1."""
    dead = scenario(network__loss=1.0, sessions__wait_patience_s=0.5)
    env = single(scenario=dead, reward={"wait_s": -1.0, "leaving": -1.0}).unwrapped
    observation, _ = env.reset(seed=1)
    assert observation["mask"].tolist() == [1] + [0] * 19 and not observation["candidates"].any()
    observation, reward, terminated, truncated, info = env.step(0)
    assert terminated and not truncated and info["executed_slot"] == -1
    assert reward == -info["reward_wait_s"] - 1 and info["reward_wait_s"] > 0
    assert observation["mask"].sum() == 1
