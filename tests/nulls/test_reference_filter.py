"""The reference filter is as good as exact filtering, and needs only what a phone sees.

Exact is a particle filter that knows the whole model of people: their level, mood, lasting taste and intents, and the
chance of a valid play given all of them, with no approximation but the number of particles.
"""

import numpy as np
import pytest
from free_transport import FREE, lived, small
from numba import njit
from scipy.special import expit, ndtr
from worlds import replace, run

from nextone.experiments.runs.oracle import cloud_filter, oracle_greedy, oracle_intent, reference_filter
from nextone.sim.cloud.belief import (
    drawn_by_intent,
    fade,
    first_belief,
    lasting_estimate,
    learn_outcomes,
    level,
    report_outcome,
)
from nextone.sim.cloud.rates import view_rates, what_is_known
from nextone.sim.engine.chance import keyed_words
from nextone.sim.engine.luck import MATCH
from nextone.sim.interest import LN_2
from nextone.sim.interest import belief as lasting_belief
from nextone.sim.state import CUT, DEAD, VALID, person_of

PARTICLES = 1_000
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(7)
WEIGHTS = WEIGHTS / WEIGHTS.sum()


@njit
def begin(w, i):
    w.belief[i].expected[:], w.belief[i].cov[:] = 0.0, 0.0
    first_belief(w.params[0], w.belief[i])
    w.users[i].behaviours = 0


@njit
def predicted(w, i, video, now_us):
    """(chance of a valid play, lasting estimate of the log-odds of staying), before it is shown."""
    p, person, row = w.params[0], person_of(w, i), w.indexed[video]
    fade(p, person.belief, now_us)
    words = keyed_words(w.key[i], MATCH, person.user.user, video, 0)
    match = lasting_belief(words.w0, words.w1, p.match_sd, p.match_correlation)
    lasting = lasting_estimate(p, person.user, person.belief, row, match)
    estimate = lasting + level(person.belief) + drawn_by_intent(person.belief, row.embedding)
    known = what_is_known(p, person.user, person.belief)
    return view_rates(estimate, row.skip_long, row.watch_long, known)[0], lasting


@njit
def learnt(w, i, video, outcome, end_us):
    report_outcome(w.users[i], w.behaviours[i], video, outcome, end_us)
    learn_outcomes(w.params[0], w.key[i], person_of(w, i), w.indexed, end_us)


class Particles:
    """Exact filtering of one person: what is not known of them, drawn PARTICLES times and weighted by what they did.
    learns_taste: or takes the error of their lasting taste for noise, anew with each video."""

    def __init__(self, p, user, rng, learns_taste):
        self.p, self.rng, dims = p, rng, int(p["content_dims"])
        self.user, self.now_us = user, 0
        self.person = self.normal() * p["person_sd"] * np.sqrt(1 - p["person_correlation"] ** 2)
        self.mood = self.normal() * p["mood_sd"]
        self.intent = self.normal(dims) * p["intent_sd"] / np.sqrt(dims)
        error = user["taste_sd"] * np.sqrt((1 - p["taste_correlation"] ** 2) / dims)
        self.taste = self.normal(dims) * error * learns_taste
        self.taste_as_noise = 0.0 if learns_taste else error**2
        self.weight = np.full(PARTICLES, 1 / PARTICLES)

    def normal(self, *shape):
        return self.rng.standard_normal((PARTICLES, *shape))

    def live_on(self, now_us):
        p, hours = self.p, (now_us - self.now_us) / 3.6e9
        dims, self.now_us = int(p["content_dims"]), now_us
        keep = np.exp(-hours / p["mood_hours"])
        self.mood = keep * self.mood + np.sqrt(1 - keep**2) * p["mood_sd"] * self.normal()
        keep = np.exp(-LN_2 * 60 * hours / p["intent_half_life_min"])
        self.intent = keep * self.intent + np.sqrt((1 - keep**2) / dims) * p["intent_sd"] * self.normal(dims)

    def chances(self, lasting, embedding, known_taste, duration_us):
        """(PARTICLES,) of a valid play; what is not known of the video is integrated over."""
        p, unseen = self.p, 1 - self.p["embedding_correlation"] ** 2
        mean = lasting + self.person + self.mood + (self.intent + self.taste) @ embedding
        along_unseen = self.intent + self.taste + known_taste
        variance = p["quality_sd"] ** 2 * (1 - p["quality_correlation"] ** 2) + unseen * (along_unseen**2).sum(1)
        variance = variance + self.taste_as_noise * (embedding @ embedding + unseen * len(embedding))
        variance += p["match_sd"] ** 2 * (1 - p["match_correlation"] ** 2)
        logit = mean[:, None] + np.sqrt(variance)[:, None] * NODES
        beyond = np.log(np.maximum(min(7e6, duration_us) - p["dead_time_us"], 1.0) / 1e6)
        lasting_level = self.user["cloud_person"] + self.person[:, None]
        leaves = (beyond - p["skip_log_mean"] - p["skip_log_slope"] * lasting_level) / p["skip_log_sd"]
        stays = (beyond - p["watch_log_mean"] - p["watch_log_slope"] * logit) / p["watch_log_sd"]
        chance = expit(logit) * ndtr(-np.minimum(stays, leaves)) + expit(-logit) * ndtr(-leaves)
        return chance @ WEIGHTS

    def learn(self, likelihood):
        self.weight *= likelihood
        self.weight /= self.weight.sum()
        if 1 / (self.weight**2).sum() < PARTICLES / 2:
            at = (np.arange(PARTICLES) + self.rng.random()) / PARTICLES
            chosen = np.minimum(np.searchsorted(np.cumsum(self.weight), at), PARTICLES - 1)
            for name in ("person", "mood", "intent", "taste"):
                setattr(self, name, getattr(self, name)[chosen])
            self.weight[:] = 1 / PARTICLES


def log_scores(users, minutes, policy, learns_taste, **settings):
    """(Mean log score of the valid plays that people saw: the filter's, the particles', of who learns nothing; how many
    impressions)."""
    calm = {"interests__satiation": 0.0, "sessions__leave_per_min": 0.05}
    world_of = replace(small(FREE, calm), population__users=users, **settings)
    life = lived(world_of, policy, minutes=minutes)
    world, shown = life.world, life.records.impressions
    dims = int(world.params["content_dims"][0])
    scores, rng = [], np.random.default_rng(5)
    for i in range(users):
        own = shown[(shown["user"] == i) & (shown["outcome"] & CUT == 0)]
        if len(own) == 0:
            continue
        begin(world, i)
        exact = Particles(world.params[0], world.users[i], rng, learns_taste)
        world.belief["at_us"][i] = own["start_us"][0]
        exact.now_us = own["start_us"][0]
        blank = world.belief[i].copy()
        for each in own:
            video, start_us, valid = each["video"], each["start_us"], each["outcome"] & VALID != 0
            before = world.belief[i].copy()
            world.belief[i] = blank
            unlearnt, _ = predicted(world, i, video, start_us)
            world.belief[i] = before
            chance, lasting = predicted(world, i, video, start_us)
            exact.live_on(start_us)
            row = world.indexed[video]
            chances = exact.chances(
                lasting, row["embedding"][:dims].astype(float), world.belief["taste"][i][:dims].astype(float),
                world.videos["duration_us"][video],
            )  # fmt: skip
            ideal = float(exact.weight @ chances)
            scores.append([np.log(c if valid else 1 - c) for c in (chance, ideal, unlearnt)])
            exact.learn(chances if valid else 1 - chances)
            learnt(world, i, video, each["outcome"], start_us + each["play_us"])
    return np.mean(scores, 0), len(scores)


SMALL_WORLD = {"catalogue__content_dims": 2, "watching__skip_log_slope": 0.0}
LARGER = {"interests__intent_sd": 1.8, "server__assumed_intent_sd": 1.8, "watching__skip_log_slope": 0.0}


@pytest.mark.parametrize(
    ("settings", "within"),
    [
        (SMALL_WORLD, 1.01),
        pytest.param(LARGER, 1.01, marks=pytest.mark.long),
        ({}, 1.025),
    ],
    ids=["two dimensions", "eight, more intent", "as shipped"],
)
def test_predictions_are_nearly_as_good_as_exact_ones(settings, within):
    """The log score of each valid play, foretold before it is seen, is within 1 % of exact filtering's, while not to
    learn costs several. Where early leaves take longer for who stays more (watching.skip_log_slope), as shipped, it
    costs 1 to 2 %: the cloud's rates, and so the filter's, do not say how unsure that is."""
    (filtered, exact, unlearnt), shown = log_scores(25, 10.0, "cloud_only", False, **settings)
    assert shown > 2_000
    assert 0.995 * exact > filtered > within * exact  # they are negative; exact is the best but for its own luck
    assert unlearnt < 1.03 * exact


@pytest.mark.long
def test_to_learn_lasting_tastes_as_well_would_gain_nothing():
    """The particles may learn how the cloud errs in a person's lasting taste, which the filter takes for noise."""
    (filtered, exact, _), _ = log_scores(25, 10.0, "cloud_only", True, **SMALL_WORLD)
    assert filtered > 1.01 * exact


HIDDEN = {
    "users": ("person", "mood", "satisfaction", "will_to_stay", "propensity"),
    "mind": ("taste", "intent", "satiety"),
    "videos": ("quality",),
}


@pytest.mark.parametrize(
    ("policy", "sees"), [(cloud_filter, False), (reference_filter, False), (oracle_intent, True), (oracle_greedy, True)]
)
def test_a_filter_sees_nothing_that_a_phone_does_not(policy, sees):
    """Whatever is true and hidden may be anything: a filter's scores stay the same bits, and an oracle's do not. None
    changes the world it looks at."""
    world = run(small(), "random", minutes=5.0).world
    rows = np.flatnonzero((world.pool["rank"] != DEAD).sum(1) >= 5)
    assert len(rows) >= 10
    before = [array.tobytes() for array in world]
    scores = policy(world, rows)
    assert [array.tobytes() for array in world] == before
    other = {name: getattr(world, name).copy() for name in HIDDEN}
    for name, fields in HIDDEN.items():
        for field in fields:
            other[name][field] = other[name][field][::-1] + np.float32(0.5)
    world = world._replace(content=-world.content[::-1], **other)
    assert np.array_equal(policy(world, rows), scores) != sees


def test_the_reference_is_the_clouds_filter_used_in_full():
    for use, alike in ((1.0, True), (0.75, False)):
        world = run(small({"server__filter_use": use}), "random", minutes=5.0).world
        rows = np.arange(len(world.users))
        assert np.array_equal(reference_filter(world, rows), cloud_filter(world, rows)) == alike
