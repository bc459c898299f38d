"""The luck of leaving, taken out of advantages: theory, by hand, and in the environment."""

import numpy as np
import pytest
from worlds import scenario

from nextone.experiments.training.rl.leaving import BELIEVED, Level, correction
from nextone.experiments.training.rl.train import TrainSettings, make_model


def test_taking_the_luck_out_keeps_the_mean_and_little_of_the_variance():
    """Theory. Of a session worth 100 that ends with a chance of about 1 % a step, known: sd 10 before, near 0 after."""
    rng = np.random.default_rng(2)
    level, value = 100.0, rng.normal(0.0, 5.0, 400_000)
    hazard = rng.exponential(0.01, len(value))
    left = rng.random(len(value)) < -np.expm1(-hazard)
    # Nothing is earned and the value after equals that before: all that remains is what leaving costs.
    kept = np.where(left, 0.0, level + value) - (level + value)
    none = np.zeros(len(value), np.bool_)
    taken = correction(level, hazard, left, none, value, 1.0) + np.where(left, 0.0, value) - value
    assert abs(kept.mean() - taken.mean()) < 4 * kept.std() / np.sqrt(len(kept))
    assert taken.std() < 0.2 * kept.std()


def test_by_hand():
    left, gone = np.array([False, True, False]), np.array([False, False, True])
    hazard = np.log([2.0, 2.0, 1.0])  # chances 1/2, 1/2, 0
    added = correction(100.0, hazard, left, gone, np.array([8.0, 8.0, 8.0]), 1.0)
    assert added == pytest.approx([-4.0 - 50.0, 4.0 - 50.0, -100.0])
    level = Level(2)
    assert level.value == 0.0
    level.count(30.0, 2)
    assert level.value == pytest.approx(15.0)
    level.count(9.0, 1)
    assert level.value == pytest.approx((27.0 + 9.0) / (1.8 + 1.0))


def test_what_a_session_still_earns_is_what_it_earned_for_each_unit_of_hazard():
    """Drawn towards all sessions' early on, its own later; the step's own reward is not in it; an end begins anew."""
    level = Level(2)
    level.counted[:] = (200.0, 2)
    rewards, hazard = np.array([[10.0, 0.0], [30.0, 0.0], [5.0, 0.0]]), np.array([[0.05, 0.1]] * 3)
    levels = level.of(rewards, hazard, np.array([[False, False], [True, False], [False, False]]))
    assert levels[:, 0] == pytest.approx([100.0, (10.0 + BELIEVED * 100.0) / (0.05 + BELIEVED), 100.0])
    assert levels[:, 1] == pytest.approx([100.0 * BELIEVED / (k * 0.1 + BELIEVED) for k in range(3)])
    assert level.so_far == pytest.approx(np.array([[5.0, 0.0], [0.05, 0.3]]))


def test_what_the_environment_tells_adds_up():
    """A session's hazards reach what it was given at its open exactly when the person leaves; over people that is
    exponential with mean one. Who left is who the rewards say left, for want of a page apart."""
    world = scenario(client__history=5, server__candidates=6, server__page_size=3)
    model = make_model(TrainSettings(scenario=world, envs=64, width=4, threads=1))
    env = model.env
    env.reset()
    borne, given, ended = np.zeros(64), env.env.world.users["will_to_stay"].astype(np.float64), []
    for _ in range(150):
        _, _, dones, infos = env.step(np.zeros(64, np.int64))
        hazard, left, gone = env.last()
        assert (hazard >= 0).all() and hazard.shape == (64,)
        assert (left | gone).tolist() == dones.tolist() and not (left & gone).any()
        borne += hazard
        assert (borne[left] >= given[left] - 1e-4).all() and (borne[~left] < given[~left] + 1e-4).all()
        for i in np.flatnonzero(dones):
            assert infos[i]["episode"]["leaving"] == 1 and (left[i] or infos[i]["episode"]["wait_s"] > 0)
        ended += given[left].tolist()
        borne[dones] = 0.0
        given[dones] = env.env.world.users["will_to_stay"][dones]
    assert len(ended) > 40
