"""The second stage of the fit of people: it finds what facts tell, keeps what they do not, and says which is which."""

import numpy as np
import pytest
from worlds import scenario

from nextone.experiments.fitting.logs.user_log import shipped_log
from nextone.experiments.fitting.people import calibrate as module
from nextone.experiments.fitting.people.calibrate import calibrate, resamples
from nextone.experiments.fitting.people.interests_fit import (
    FACTS,
    INTERESTS,
    SIMULATIONS,
    TIED,
    Shown,
    fit_interests,
    live,
    said_of,
    settings_at,
    spread_of_interests,
    start_of_interests,
    told_by_tags,
    too_little_for_interests,
)
from nextone.experiments.fitting.people.play_fit import Moments, get, to_scale
from nextone.sim.config import Scenario
from nextone.sim.scenario import with_settings

NAMES = [p.name for p in INTERESTS]
ERROR = 0.01 / np.sqrt(40)  # of the simulation, below
MOOD, INTENT, TASTE = (NAMES.index(n) for n in ("interests.mood_sd", "interests.intent_sd", "population.taste_sd"))


class Made:
    """Lives whose facts are what we say: the settings on their scales times `slopes`, and noise between people."""

    people = 40

    def __init__(self, world, slopes):
        x = np.array([to_scale(get(world, p.name), p.scale) for p in INTERESTS])
        self.values = slopes @ x
        self.noise = np.random.default_rng(1).normal(0, 0.01, (self.people, len(slopes)))

    def facts(self, weight):
        found = self.values + weight @ (self.noise - self.noise.mean(axis=0)) / weight.sum()
        return {f"fact {k}": float(v) for k, v in enumerate(found)}


def fitted(world, slopes, told, error=0.01):
    """(the fit, its parameter sets, the scenarios simulated) of facts that are linear in the settings."""
    rng = np.random.default_rng(0)
    moments = Moments(tuple(f"fact {k}" for k in range(len(told))), np.array(told), np.full(len(told), error))
    simulated = []

    def lived_under(other):
        simulated.append(other)
        return Made(other, slopes)

    fit = fit_interests(
        world, moments, start_of_interests(world), lived_under, lambda people: resamples(rng, people, 60), lambda: None
    )
    assert len(simulated) == SIMULATIONS
    of_log = [{name: v + error * rng.normal() for name, v in zip(moments.names, told, strict=True)} for _ in range(60)]
    return fit, spread_of_interests(fit, world, moments, of_log, 1.0, rng), simulated


def test_what_facts_tell_is_found_and_the_rest_stays():
    """Two facts, of the mood and of the taste, planted off the start: found; the intent keeps its place and width."""
    world = Scenario()
    slopes = np.zeros((2, len(INTERESTS)))
    slopes[0, MOOD] = slopes[1, TASTE] = 1.0
    start = start_of_interests(world)
    fit, draws, _ = fitted(world, slopes, [start[MOOD] + 0.5, start[TASTE] - 0.4])
    assert fit.x[MOOD] == pytest.approx(start[MOOD] + 0.5, abs=0.01)
    assert fit.x[TASTE] == pytest.approx(start[TASTE] - 0.4, abs=0.01)
    others = [k for k in range(len(NAMES)) if k not in (MOOD, TASTE)]
    assert fit.x[others] == pytest.approx(start[others], abs=1e-5)
    spread = np.std([np.log(draw["interests.mood_sd"]) for draw in draws])
    assert 0.008 < spread < 0.03  # the error of the log, a little of the simulation
    assert np.std([draw["interests.intent_sd"] for draw in draws]) > 0.4  # what was known before


def test_a_simulation_of_few_people_is_believed_less():
    """The same facts: with an error of the simulation as large as the log's, half the way is left to what was known."""
    world = Scenario()
    slopes = np.zeros((1, len(INTERESTS)))
    slopes[0, TASTE] = 0.001
    start = start_of_interests(world)
    told = [0.001 * start[TASTE] + 0.0005]
    alone = 0.0005 * 0.001 / (0.001**2 + 0.001**2 / 0.25)  # the error of the log alone; known: .5
    fit, _, _ = fitted(world, slopes, told, error=0.001)
    assert 0 < fit.x[TASTE] - start[TASTE] < 0.7 * alone


def test_steps_that_do_not_help_are_shortened():
    """Facts that hardly move near the start and run away beyond it: never worse than the start."""
    world = Scenario()
    start = start_of_interests(world)[MOOD]

    class Bent(Made):
        def __init__(self, other, slopes):
            super().__init__(other, slopes)
            x = to_scale(get(other, "interests.mood_sd"), "log") - start
            self.values = np.array([x + 20 * x**2])

    moments = Moments(("fact 0",), np.array([0.5]), np.array([0.01]))
    rng = np.random.default_rng(0)
    fit = fit_interests(
        world, moments, start_of_interests(world), lambda other: Bent(other, np.zeros((1, len(INTERESTS)))),
        lambda people: resamples(rng, people, 20), lambda: None,
    )  # fmt: skip
    assert abs(fit.simulated[0] - 0.5) < 0.5


def test_ties_and_bounds():
    """The cloud takes intents to be what they are; a video has not more in common than all it has."""
    world = with_settings(Scenario(), ["catalogue.tag_share=0.5", "catalogue.author_share=0.25"])
    x = start_of_interests(world)
    x[NAMES.index("catalogue.tag_share")] = 4.0
    x[INTENT] = 0.3
    values = settings_at(world, x)
    assert values["catalogue.tag_share"] == 0.75
    other = with_settings(world, values)
    assert [get(other, tied) for tied in TIED.values()] == [get(other, name) for name in TIED]
    assert other.server.assumed_intent_sd == pytest.approx(0.3)


def test_no_intent_is_said_to_be_possible():
    """A fact that is the intent itself, of error .01: at .01 there may be none, at 1.5 there is one."""
    slopes = np.zeros((1, len(INTERESTS)))
    slopes[0, INTENT] = 1.0
    for told, said in ((0.01, True), (1.5, False)):
        fit, draws, simulated = fitted(Scenario(), slopes, [told])
        assert fit.without == pytest.approx((told / np.hypot(0.01, ERROR)) ** 2, rel=0.6)
        assert simulated[-1].interests.intent_sd == 0
        assert simulated[-1].server.assumed_intent_sd == pytest.approx(fit.x[INTENT])  # the cloud imagines them
        lines = "\n".join(said_of(fit, draws, 0.5))
        assert ("interests.intent_sd: not excluded: 0" in lines) == said
        assert "only bounded by this log" in lines and "population.taste_sd" in lines
        assert "interests.intent_sd" not in lines.split("held near")[1]


def test_what_a_log_must_have():
    log = shipped_log()
    assert too_little_for_interests(log) == ""
    assert "tags" in too_little_for_interests(type(log)(**{**vars(log), "tag": None}))
    few = too_little_for_interests(log.select(log.user < 1_000))
    assert few.startswith("needs 5,000 pairs of a person")


def test_lives_tell_every_fact_and_people_count_as_often_as_said():
    """Who counts twice does so in every fact: as if there were two of them. Nobody else: as if alone."""
    world = scenario(catalogue__videos=10_000)
    shown = Shown(np.repeat(np.arange(5), 20), np.tile(np.arange(10), 10), 5, 20)
    lives = live(world, shown, 10_000, 10, seed=3)
    every = lives.facts(np.ones(lives.people))
    assert set(FACTS) <= set(every)
    assert lives.facts(np.full(lives.people, 2.0)) == pytest.approx(every, nan_ok=True)
    alone = np.zeros(lives.people)
    alone[4] = 1
    told = lives.facts(alone)["next item same tag"]
    mine = lives.tags_of == 4
    assert told == pytest.approx(lives.tags.same[mine].sum() / lives.tags.pairs[mine].sum())
    assert np.bincount(lives.copy_of).min() >= 1 and lives.copy_of.max() == lives.people - 1


def test_sequences_by_hand():
    """0 0 1 and 1 1 1: three of four neighbours are the same; without the first user both."""
    shown = Shown(np.array([0, 0, 0, 1, 1, 1]), np.array([0, 0, 1, 1, 1, 1]), 2)
    told, (other,) = told_by_tags(shown, [np.array([0.0, 1.0])])
    assert told["next item same tag"] == 0.75 and other["next item same tag"] == 1.0


def test_calibrate_says_why_interests_are_left(monkeypatch):
    monkeypatch.setattr(module, "DRAWS", 20)
    log = shipped_log()
    few = log.select(log.user < 400)
    found = calibrate(few, people=50, rounds=1, days=1.0, interests=True)
    assert any("interests.intent_sd" in line and "pairs of a person's rows" in line for line in found.missed)
    assert found.scenario.interests.intent_sd == Scenario().interests.intent_sd
    assert "interests.mood_sd" in {e.name for e in found.estimates}
