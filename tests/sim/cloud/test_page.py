"""A page by hand: when the cloud looks for new videos, what it ships and with which rates, how it ranks what is held.

Estimates are written out in numpy; what they mean in chances is held by `test_rates.py`.
"""

import numpy as np
import pytest
from cloud_by_hand import MINUTE_US, page_of, scored, tell, world_of
from numba import njit

from nextone.sim.cloud.page import score_held
from nextone.sim.cloud.rates import feedback_chances, person_chances, view_rates, what_is_known, what_is_known_for_good
from nextone.sim.state import CURRENT, DEAD, ID, INTENT, MISSING, SHOWN, TOLD, person_of

RATES = 7
SHIPPED = 12  # more than a page and what is spare


@njit
def rates_by(w, i, video, estimate, lasting, out):
    """Chances (7,) of a video by the cloud's estimate now and its lasting one; those of views before the bias."""
    p, user, row, chances = w.params[0], w.users[i], w.indexed[video], np.empty((5, 3))
    known = what_is_known(p, user, w.belief[i])
    out[0], out[1] = view_rates(np.float32(estimate), row.skip_long, row.watch_long, known)
    person_chances(p, user, chances)
    feedback_chances(p, row, chances, np.float32(lasting), what_is_known_for_good(p, user), out[2:])


@njit
def rank_held(w, i, scores):
    score_held(w.params[0], person_of(w, i), w.indexed, scores)


def taught(**settings):
    """A world whose cloud has learnt something of everybody's level, mood and intent, and is surer of them."""
    world = world_of(catalogue__videos=3000, server__recall=200, server__kept=60, **settings)
    rng = np.random.default_rng(8)
    world.belief["cov"] *= 0.25
    world.belief["expected"][:, : INTENT + world.params["content_dims"][0]] = rng.normal(0, 0.7, (12, 1))
    world.belief["expected"][:, 1:3] += rng.normal(0, 0.7, (12, 2))
    return world


@pytest.mark.parametrize(
    "settings", [{}, {"server__pxtr_bias": 0.4, "server__objective": (0.1, 0.1, 5.0, 2.0, 2.0, 2.0, -3.0)}]
)
def test_rates_and_scores_are_of_what_is_stored_and_what_was_learnt_since(settings):
    """What was learnt of the intent counts as far as `server.filter_use` says; a bias moves every rate. Feedback's part
    of a score is by the lasting estimate, and rounded to 1/32767."""
    world, bias = taught(server__filter_use=0.6, **settings), settings.get("server__pxtr_bias", 0.0)
    weights, chances = world.params["objective"][0], np.zeros(RATES)
    for who in range(3):
        page, learnt = page_of(world, who, SHIPPED), world.belief["expected"][who]
        for early in page:
            row, video = world.stored[who][early["place"]], int(early["video"])
            lasting = row["lasting"] / 1000.0
            drawn = float(learnt[INTENT:] @ world.indexed["embedding"][video])
            rates_by(world, who, video, lasting + float(learnt[0] + learnt[1]) + 0.6 * drawn, lasting, chances)
            logits = np.log(chances / (1 - chances))
            logits[:2] += bias
            shipped = 1000 * np.clip(logits, -13.815511, 13.815511)  # a chance of a millionth, the least that is told
            assert np.abs(early["pxtr"] - shipped).max() < 1.0, (who, video)
            worth = (weights / (1 + np.exp(-logits))).sum() / np.abs(weights).sum()
            assert early["score"] == pytest.approx(worth, abs=1.7e-5)


def test_a_phone_that_does_not_rank_is_sent_the_first_rate_alone():
    for model, rates in ((CURRENT, RATES), (MISSING, 1)):
        world = taught()
        world.users["model_sent"][0], world.waiting["pxtr"][0] = model, 7_777
        page = page_of(world, 0, SHIPPED)
        assert (page["pxtr"] != 7_777).all(axis=0).tolist() == [True] * rates + [False] * (RATES - rates)


def test_what_is_shipped_says_where_it_stands_and_starts_empty():
    """Sets are counted modulo 65,536: this one is the 70,001st."""
    world, scores = taught(), np.zeros(60, np.float32)
    world.users["recalls"][0] = 70_000
    world.waiting["buffered"], world.waiting["bitrate"] = 9, 2
    page = page_of(world, 0, SHIPPED)
    scored(world, 0, scores)
    assert (world.stored[0]["video"][page["place"]] == page["video"]).all() and len(page) == SHIPPED
    assert (page["score"] == scores[page["place"]]).all()
    assert (page["meeting"] == 70_001 - 65_536).all()
    assert not page["buffered"].any() and (page["bitrate"] == -1).all()


@pytest.mark.parametrize("model", [CURRENT, MISSING])
def test_new_videos_are_looked_for_when_no_page_is_left(model):
    """A page is six and one to spare, whoever ranks. What was told is not shipped, and scored below everything; what
    was only shown may be."""
    for left, fresh in ((8, False), (7, False), (6, True)):
        world, scores = taught(), np.zeros(60, np.float32)
        world.users["model_sent"][0] = model
        first = page_of(world, 0, 1)[0]
        world.stored[0]["video"] |= SHOWN
        world.stored[0]["video"][:left] &= ID
        tell(world, 0)
        world.stored[0]["video"][:left] |= SHOWN
        page = page_of(world, 0, SHIPPED)
        scored(world, 0, scores)
        assert world.users["recalls"][0] == (2 if fresh else 1) and first["meeting"] == 1
        assert len(page) == (SHIPPED if fresh else left)
        assert (page["place"] < (60 if fresh else left)).all()
        assert np.isneginf(scores).sum() == (0 if fresh else 60 - left)
        assert not (world.stored[0]["video"][page["place"]] & TOLD).any()


def test_what_has_come_up_by_the_turn_is_taken_in_however_seldom():
    """At .4 a minute, two in six minutes; and what was learnt has faded until then."""
    for per_min, arrived in ((0.4, 2), (0.0, 0)):
        world = taught(server__arrivals_per_min=per_min)
        page_of(world, 0, 1)
        world.users["impression"][0] += 100
        page_of(world, 0, 1, turn_us=6 * MINUTE_US)
        assert world.users["arrived"][0] == arrived and world.belief["at_us"][0] == 6 * MINUTE_US


@pytest.mark.parametrize("bias", [0.0, 0.4])
def test_what_a_phone_holds_is_ranked_as_the_cloud_would_now(bias):
    """Slots hold: a video of the set; one that has left; one from a set before at the place of another; one at a place
    that the present set does not use; one that was shown. Only the first and the last have a score of now."""
    world = taught(server__pxtr_bias=bias)
    page_of(world, 0, 1)
    scores, pool, user = np.zeros(60, np.float32), world.pool[0], world.users[0]
    scored(world, 0, scores)
    ids = world.stored[0]["video"].copy()
    user["stored"], world.stored[0]["video"][9] = 50, ids[9] | SHOWN | TOLD
    pool["rank"], pool["score"], held = DEAD, 0.25, np.full(len(pool), 5.0, np.float32)
    for slot, (video, place) in enumerate(((ids[4], 4), (ids[5], 5), (ids[7], 8), (ids[50], 50), (ids[9], 9))):
        pool["video"][slot], pool["place"][slot], pool["rank"][slot] = video, place, DEAD if slot == 1 else 3
    rank_held(world, 0, held)
    assert held[:5] == pytest.approx([scores[4], 5.0, 0.25, 0.25, scores[9]], abs=1e-6)
    assert (held[5:] == 5.0).all() and len(set(held[:4].tolist())) == 3
