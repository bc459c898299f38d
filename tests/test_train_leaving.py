"""The luck of leaving, taken out of advantages: theory, by hand, and in the environment."""

import numpy as np
import pytest
from worlds import scenario

from nextone.envs.features import CONTEXT, HISTORY, MOST_MIN, H, X
from nextone.experiments.train_leaving import FACTS, Leaving, facts_of, minutes_of
from nextone.experiments.train_rl import TrainSettings, make_model


def lives(rng, n, weights):
    """(facts, minutes, left) of n steps under a hazard of these weights."""
    facts = np.zeros((n, FACTS))
    facts[:, 0] = 1.0
    facts[:, 1:3] = rng.random((n, 2))
    minutes = rng.exponential(0.3, n)
    return facts, minutes, rng.random(n) < -np.expm1(-np.exp(facts @ weights) * minutes)


def test_the_hazard_that_people_leave_with_is_found():
    """Theory: maximum likelihood is normal around the truth with the inverse information as its covariance."""
    rng, truth = np.random.default_rng(1), np.zeros(FACTS)
    truth[:3] = np.log(0.1), -1.0, 0.8
    hazard = Leaving()
    for _ in range(60):
        hazard.learn(*lives(rng, 8192, truth))
    error = np.sqrt(np.diag(np.linalg.inv(hazard.information[:3, :3])))
    assert (np.abs(hazard.weights[:3] - truth[:3]) < 4 * error).all(), (hazard.weights[:3], error)
    assert (error < 0.1).all()


def test_taking_the_luck_out_keeps_the_mean_and_little_of_the_variance():
    """Of somebody who stands to lose 100 with a chance of 1 % a step, known: sd 10 before, near 0 after."""
    rng, truth = np.random.default_rng(2), np.zeros(FACTS)
    truth[0] = np.log(0.035)
    hazard = Leaving()
    hazard.weights[:] = truth
    facts, minutes, left = lives(rng, 400_000, truth)
    value = 100.0
    kept = np.where(left, -value, 0.0)
    taken = kept + (left - hazard.chance(facts, minutes)) * value
    assert abs(kept.mean() - taken.mean()) < 4 * kept.std() / np.sqrt(len(kept))
    assert taken.std() < 0.2 * kept.std()


def test_facts_and_minutes_by_hand():
    history = np.zeros((1, 3, len(HISTORY)), np.float32)
    history[0, :2, H.present] = 1  # two impressions: the last one valid, the one before liked
    history[0, 0, H.valid_play] = history[0, 1, H.like] = 1
    facts = facts_of(history)[0]
    shares = [(1, 0, 0), np.array([1, 0.8, 0.64]) / 2.44, (1 / 3,) * 3]
    assert facts[0] == 1
    expected = [[s[0] + s[1], s[0], 0, s[1], 0] for s in shares]  # present, valid, completed, liked, hated
    assert facts[1:] == pytest.approx(np.ravel(expected))
    context = np.zeros((1, len(CONTEXT)), np.float32)
    context[0, X.session_minutes] = np.log1p(12.5) / np.log1p(MOST_MIN)
    assert minutes_of(context) == pytest.approx([12.5], rel=1e-5)


def test_what_the_environment_tells_adds_up():
    """Minutes of an episode's steps are the session's length; who left is who the rewards say left, dry ones apart."""
    world = scenario(client__history=5, server__candidates=6, server__page_size=3)
    model = make_model(TrainSettings(scenario=world, envs=32, width=4, threads=1))
    env = model.env
    env.reset()
    total, ended = np.zeros(32), 0
    for _ in range(150):
        before = [env.env.about(i)["episode_number"] for i in range(32)]
        _, _, dones, infos = env.step(np.zeros(32, np.int64))
        facts, minutes, left, gone = env.last()
        assert facts.shape == (32, FACTS) and (minutes >= 0).all()
        total += minutes
        for i in np.flatnonzero(dones):
            told = infos[i]["terminal_observation"]
            assert total[i] == pytest.approx(minutes_of(told["context"]), abs=1e-4)
            assert facts[i] == pytest.approx(facts_of(told["history"][None])[0])
            assert left[i] == (infos[i]["episode"]["leaving"] == 1 and env.moved.components[i, 9] == 0)
            assert env.env.about(i)["episode_number"] == before[i] + 1
            total[i], ended = 0.0, ended + 1
        assert (left | gone).tolist() == dones.tolist() and not (left & gone).any()
    assert ended > 20
