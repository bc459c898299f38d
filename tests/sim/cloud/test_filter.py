"""The cloud's filter against numpy: the first belief, how it fades with all that hangs together in it, how far a step
goes. Each of these was left alive by the other tests when the code was changed on purpose: docs/evidence/mutants.md.
"""

import numpy as np
import pytest
from cloud_by_hand import MINUTE_US, world_of
from numba import njit
from worlds import scenario

from nextone.sim.cloud.belief import fade, first_belief, lasting_estimate, learn_outcomes, report_outcome
from nextone.sim.cloud.rates import view_rates, what_is_known
from nextone.sim.engine.chance import keyed_words
from nextone.sim.engine.luck import MATCH
from nextone.sim.interest import belief as lasting_belief
from nextone.sim.state import BELIEF, BELIEFS, VALID, person_of

P = scenario(
    catalogue__content_dims=3, population__person_sd=1.3, server__person_correlation=0.6, interests__mood_sd=0.7,
    interests__mood_hours=2.0, server__assumed_intent_sd=0.9, server__assumed_half_life_min=30.0,
).params()[0]  # fmt: skip
FIRST = np.diag([1.3**2 * (1 - 0.6**2), 0.7**2, *[0.9**2 / 3] * 3])  # level, mood, three of the intent
LOW = np.tril_indices(BELIEFS)


@njit
def believe(p, belief):
    first_belief(p, belief)


@njit
def faded(p, belief, now_us):
    fade(p, belief, now_us)


@njit
def chance_of(w, i, video, touch):
    """The cloud's chance of a valid play by its lasting estimate, the log-odds moved by `touch`."""
    p, user, belief, row = w.params[0], w.users[i], w.belief[i], w.indexed[video]
    words = keyed_words(w.key[i], MATCH, user.user, video, 0)
    match = lasting_belief(words.w0, words.w1, p.match_sd, p.match_correlation)
    estimate = lasting_estimate(p, user, belief, row, match) + touch
    return view_rates(estimate, row.skip_long, row.watch_long, what_is_known(p, user, belief))[0]


@njit
def learn_valid(w, i, video, end_us):
    report_outcome(w.users[i], w.behaviours[i], video, VALID, end_us)
    learn_outcomes(w.params[0], w.key[i], person_of(w, i), w.indexed, end_us)


def covariance(belief):
    """(BELIEFS, BELIEFS) of one row."""
    full = np.zeros((BELIEFS, BELIEFS))
    full[LOW] = belief["cov"]
    return full + np.tril(full, -1).T


def test_the_first_belief_is_as_wide_as_people_are():
    belief = np.zeros(1, BELIEF)
    believe(P, belief[0])
    assert covariance(belief[0])[:5, :5] == pytest.approx(FIRST, rel=1e-6)
    assert not covariance(belief[0])[5:].any()  # three dimensions of content, nothing beyond


def test_what_hangs_together_fades_together():
    """By numpy: m -> K m, C -> K C K + (1 - K^2) FIRST, K what is left of level, mood and intent after 20 minutes."""
    rng = np.random.default_rng(5)
    belief, root = np.zeros(1, BELIEF), rng.normal(size=(5, 5))
    before, expected = np.zeros((BELIEFS, BELIEFS)), rng.normal(size=5)
    before[:5, :5] = root @ root.T
    belief["cov"][0], belief["expected"][0, :5], belief["at_us"] = before[LOW], expected, 7 * MINUTE_US
    faded(P, belief[0], 27 * MINUTE_US)
    keep = np.array([1.0, np.exp(-(20 / 60) / 2.0), *[2.0 ** (-20 / 30)] * 3])
    after = keep[:, None] * before[:5, :5] * keep + (1 - keep**2) * FIRST
    assert belief["expected"][0, :5] == pytest.approx(keep * expected, rel=1e-5)
    assert covariance(belief[0])[:5, :5] == pytest.approx(after, rel=1e-5, abs=1e-6)
    assert belief["at_us"][0] == 27 * MINUTE_US
    faded(P, belief[0], 26 * MINUTE_US)  # a moment that is past changes nothing
    assert covariance(belief[0])[:5, :5] == pytest.approx(after, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("video", [17, 203, 1999])
def test_a_step_goes_as_far_as_the_slope_of_the_chance_says(video):
    """By numpy: gain = C x s / (c (1 - c)), for what a video draws on x, the chance c and its slope s in log-odds;
    the mean moves by gain (1 - c), the covariance by gain s (C x)'."""
    world = world_of(catalogue__videos=3000)
    root = np.random.default_rng(6).normal(size=(BELIEFS, BELIEFS)) / 5  # all hangs together, as after some learning
    world.belief["expected"][0], world.belief["cov"][0] = np.linspace(-0.5, 0.7, BELIEFS), (root @ root.T)[LOW]
    before, draws = world.belief[0].copy(), np.concatenate([[1.0, 1.0], world.indexed["embedding"][video]])
    learnt = before["expected"] @ draws
    chance = chance_of(world, 0, video, learnt)
    slope = (chance_of(world, 0, video, learnt + 0.1) - chance_of(world, 0, video, learnt - 0.1)) / 0.2
    toward = covariance(before) @ draws
    gain = toward * slope / (chance * (1.0 - chance))
    learn_valid(world, 0, video, 1)  # at once: nothing fades
    after = world.belief[0]
    assert after["expected"] - before["expected"] == pytest.approx(gain * (1.0 - chance), rel=1e-2, abs=1e-5)
    shrunk = covariance(before) - covariance(after)
    assert shrunk == pytest.approx(slope * np.outer(gain, toward), rel=2e-2, abs=1e-5)


@pytest.mark.parametrize("wide", [1.0, 2.0, 4.0, 8.0])
def test_no_variance_becomes_negative_however_wide_a_belief_is(wide):
    """Where nothing is known the slope at the middle promises more than a yes or no can tell. A step that believed it
    made variances negative, and soon all of the belief NaN: no page could be ranked, and the phone asked for ever."""
    world = world_of(catalogue__videos=3000)
    for video in range(300):
        world.belief["expected"][0], world.belief["cov"][0] = 0.0, (wide**2 * np.eye(BELIEFS))[LOW]
        for _ in range(3):
            learn_valid(world, 0, video, 1)
        assert np.isfinite(world.belief["expected"][0]).all()
        assert np.linalg.eigvalsh(covariance(world.belief[0])).min() > -1e-4 * wide**2, video
