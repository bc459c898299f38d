"""The cloud: which videos it retrieves, that it ranks them rightly, and that it sees nothing too early.

By hand, and brute force over small catalogues.
"""

import math

import numpy as np
import pytest
from numba import njit
from worlds import run, scenario

from nextone.sim.batch_run import advance_rows
from nextone.sim.cloud import learn_outcomes, predict_rates, rank_page, report_outcome, retrieve, what_is_known
from nextone.sim.config import Scenario
from nextone.sim.engine.chance import philox, world_key
from nextone.sim.engine.luck import MATCH, PERSON
from nextone.sim.impression import DECIDE
from nextone.sim.interest import belief, truth_and_belief
from nextone.sim.state import BEHAVIOUR, PXTR, READY, TASTE, TURNED, USER, VALID, VIDEO, WAITING_VIDEO
from nextone.sim.watching import sigmoid
from nextone.sim.world import build_world

KEY = world_key(3, 0)


def world_of(**settings):
    return build_world(scenario(**settings), edge=True, seed=3, window_us=60_000_000, queue_waits=np.zeros(1, np.int64))


def pages(world, who, count):
    """Rows of `listed` and nth meetings of each of a person's next pages."""
    p, out = world.params[0], []
    room = int(p["retrieved_per_impression"] * p["page_size"]) + len(world.tag_start)
    for _ in range(count):
        found, meeting = np.zeros(room, np.int64), np.zeros(room, np.int64)
        scratch = np.zeros(len(found), np.int64), *np.zeros((2, len(found)), np.uint64)
        n = retrieve(p, world.key[who], world.users[who], world.listed, world.tag_start, found, meeting, *scratch)
        out.append((found[:n].copy(), meeting[:n].copy()))
    return out


# -- retrieval ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page_size", [1, 2, 6, 20])
def test_a_page_retrieves_33_videos_an_impression(page_size):
    """Per page within the rounding of each tag's share; over pages the rounding does not add up."""
    world = world_of(catalogue__videos=20_000, catalogue__tags=43, server__page_size=page_size, server__candidates=20)
    tags = 43
    for who in range(4):
        counts = [len(found) for found, _ in pages(world, who, 12)]
        assert all(abs(n - 33 * page_size) <= tags for n in counts)
        assert abs(sum(counts) - 12 * 33 * page_size) <= tags


def test_nobody_meets_a_video_again_before_the_list_is_used_up():
    """Within each tag: round after round, each a permutation of the tag's videos; `meeting` says which round."""
    world = world_of(catalogue__videos=300, catalogue__tags=5, server__retrieved_per_impression=5,
                     server__retrieval_focus=1.0)  # fmt: skip
    for who in range(5):
        found, meeting = (np.concatenate(parts) for parts in zip(*pages(world, who, 60), strict=True))
        for tag in range(5):
            first, after = world.tag_start[tag], world.tag_start[tag + 1]
            mine = (found >= first) & (found < after)
            videos, rounds = found[mine], meeting[mine]
            length = after - first
            assert len(videos) > length  # at least one whole round
            for k in range(len(videos)):
                assert rounds[k] == k // length
            for start in range(0, len(videos) - length + 1, length):
                assert len(set(videos[start : start + length].tolist())) == length


def test_people_walk_in_orders_of_their_own():
    world = world_of(catalogue__videos=2_000, population__users=40)
    firsts = [tuple(pages(world, who, 1)[0][0][:5]) for who in range(40)]
    assert len(set(firsts)) == 40


def test_the_stream_hardly_depends_on_the_page_size():
    """Three pages of 2 retrieve exactly what one of 6 does: the stream is a function of how many came before."""
    settings = {"catalogue__videos": 5_000, "server__candidates": 20}
    large = pages(world_of(**settings, server__page_size=6), 1, 1)[0][0]
    small = np.concatenate([f for f, _ in pages(world_of(**settings, server__page_size=2), 1, 3)])
    assert sorted(large.tolist()) == sorted(small.tolist())


def test_retrieval_leans_to_the_tags_a_person_is_believed_to_like():
    """Focus 0: by the size of the lists alone; focus 3: more of what the prior likes."""
    for focus, least, most in ((0.0, -0.35, 0.35), (3.0, 0.6, 1.0)):
        world = world_of(catalogue__videos=20_000, catalogue__tags=20, server__retrieval_focus=focus)
        correlations = []
        for who in range(8):
            found = np.concatenate([f for f, _ in pages(world, who, 30)])
            per_tag = np.histogram(found, bins=world.tag_start)[0] / np.diff(world.tag_start)
            correlations.append(np.corrcoef(np.log(per_tag + 1e-9), world.taste["believed"][who])[0, 1])
        assert least < np.mean(correlations) < most


def test_a_catalogue_smaller_than_a_page_repeats_itself_and_still_ends():
    world = world_of(catalogue__videos=3, catalogue__tags=2, server__page_size=6)
    (found, _), *_ = pages(world, 0, 1)
    assert set(found.tolist()) == {0, 1, 2} and len(found) >= 150


# -- ranking -----------------------------------------------------------------------------------------------------------


@njit
def match_beliefs(key, user, videos, sd, correlation, out):
    for k in range(len(videos)):
        words = philox(MATCH, user, videos[k], 0, key[0], key[1])
        out[k] = belief(words.w0, words.w1, sd, correlation)


def test_ranking_returns_the_best_of_what_was_retrieved():
    """Brute force: cloud quality + belief in the tags + belief in the match, float32, ties in order of retrieval."""
    for seed in range(12):
        settings = {"catalogue__videos": 900, "server__page_size": 6, "server__candidates": 1 + 5 * (seed % 4) + 5}
        world, again = world_of(**settings), world_of(**settings)
        p, who = world.params[0], seed
        found = pages(again, who, 1)[0][0]
        rows = world.listed[found]
        match = np.zeros(len(found))
        match_beliefs(world.key[who], who, rows["video"], p["match_sd"], p["match_correlation"], match)
        taste = world.taste["believed"][who]
        liked = 0.5 * (taste[rows["tag"]] + taste[rows["tag2"]])
        estimate = (rows["cloud_quality"] + liked + match).astype(np.float32)
        best = np.argsort(-estimate, kind="stable")[: settings["server__candidates"]]
        waiting, estimates = world.waiting[who], np.zeros(settings["server__candidates"], np.float32)
        n = rank_page(p, world.key[who], world.users[who], waiting, world.taste[who], world.listed, world.tag_start,
                      estimates)  # fmt: skip
        assert n == settings["server__candidates"]
        np.testing.assert_allclose(estimates, estimate[best], rtol=1e-6)
        assert waiting["video"][:n].tolist() == rows["video"][best].tolist()
        assert (waiting["bitrate"][:n] == -1).all() and not waiting["buffered"][:n].any()


def test_selection_per_impression_hardly_depends_on_the_page_size():
    """Best 1 of 33, 6 of 198, 20 of 660: the mean estimate of what is shipped differs by less than .2 standard
    deviations of the estimates within a tag (for normal estimates the best lie 2.1 to 2.3 of them above the mean)."""
    means = []
    for page in (1, 6, 20):
        world = world_of(catalogue__videos=50_000, catalogue__tags=43, population__users=60, server__page_size=page,
                         server__candidates=20)  # fmt: skip
        estimates = []
        for who in range(60):
            for _ in range(60 // page):
                waiting, kept = np.zeros(20, WAITING_VIDEO), np.zeros(page, np.float32)
                rank_page(world.params[0], world.key[who], world.users[who], waiting, world.taste[who], world.listed,
                          world.tag_start, kept)  # fmt: skip
                estimates.append(kept.mean() - world.taste["believed"][who].mean())
        p = world.params[0]
        sd = np.hypot(p["quality_sd"] * p["quality_correlation"], p["match_sd"] * p["match_correlation"])
        means.append(np.mean(estimates) / sd)
    assert max(means) - min(means) < 0.2 and min(means) > 2.0


@njit
def beliefs_and_truths(key, sd, correlation, out):
    for k in range(out.shape[1]):
        out[0, k], out[1, k] = truth_and_belief(key, PERSON, k, 0, sd, correlation)


def test_an_all_knowing_cloud_believes_the_truth():
    out = np.zeros((2, 100))
    beliefs_and_truths(KEY, 0.6, 1.0, out)
    np.testing.assert_allclose(out[0], out[1])


# -- what it may see ---------------------------------------------------------------------------------------------------


def video(tag, tag2):
    row = np.zeros(1, VIDEO)
    row["tag"], row["tag2"], row["duration_us"] = tag, tag2, 10_000_000
    return row[0]


def test_behaviour_younger_than_the_lag_is_not_seen():
    """By hand: outcomes at 10.0, 20.0005 and 30 s; seen up to 20 s: one; up to 20.001 s (rounded up): two."""
    p, user = scenario(server__learning=1.0).params()[0], np.zeros(1, USER)
    ring, taste = np.zeros(5, BEHAVIOUR), np.zeros(4, TASTE)
    for end_us, row in ((10_000_000, video(0, 0)), (20_000_500, video(1, 2)), (30_000_000, video(3, 3))):
        report_outcome(user[0], ring, row, 0, VALID, end_us)
    assert user["behaviours"] == 3
    learn_outcomes(p, user[0], ring, taste, 9_999_999)
    assert not taste["believed"].any()
    learn_outcomes(p, user[0], ring, taste, 20_000_999)
    assert taste["believed"].tolist() == pytest.approx([0.5, 0, 0, 0], abs=1e-4)  # happened 1, predicted .5
    learn_outcomes(p, user[0], ring, taste, 20_001_000)
    assert taste["believed"].tolist() == pytest.approx([0.5, 0.5, 0.5, 0], abs=1e-4)
    assert user["cloud_person"][0] == pytest.approx(0.5, abs=1e-4) and user["behaviours"] == 1


def test_a_disappointment_is_learnt_downwards():
    """Predicted .9, not watched: -.9 of a step; predicted .1, watched: +.9."""
    p, user = scenario(server__learning=0.5).params()[0], np.zeros(1, USER)
    ring, taste = np.zeros(5, BEHAVIOUR), np.zeros(2, TASTE)
    logit = round(1000 * math.log(0.9 / 0.1))
    report_outcome(user[0], ring, video(0, 0), logit, 0, 0)
    report_outcome(user[0], ring, video(1, 1), -logit, VALID, 0)
    learn_outcomes(p, user[0], ring, taste, 10**12)
    assert taste["believed"].tolist() == pytest.approx([-0.45, 0.45], abs=1e-3)


def test_a_full_ring_loses_the_oldest_and_counts_none_twice():
    p, user = scenario(server__learning=1.0).params()[0], np.zeros(1, USER)
    ring, taste = np.zeros(3, BEHAVIOUR), np.zeros(8, TASTE)
    for k in range(8):
        report_outcome(user[0], ring, video(k, k), 0, VALID, k * 1_000_000)
    assert user["behaviours"] == 3
    learn_outcomes(p, user[0], ring, taste, 10**12)
    assert taste["believed"].tolist() == pytest.approx([0] * 5 + [0.5] * 3, abs=1e-4)


def test_the_ring_is_never_overfull_in_a_run():
    for settings in ({}, {"server__page_size": 20, "server__feature_lag_s": 0.0}, {"network__loss": 0.5}):
        world = run(scenario(**settings), "random", minutes=15.0).world
        assert world.users["behaviours"].max() <= world.behaviours.shape[1]


def test_a_longer_lag_never_sees_more():
    """In a whole run with the same pages: what has not been taken in grows with the lag."""
    unseen = []
    for lag in (0.0, 30.0, 600.0):
        world = run(scenario(server__feature_lag_s=lag, server__learning=0.0), minutes=15.0).world
        unseen.append(world.users["behaviours"].sum())
    assert unseen[0] < unseen[1] < unseen[2]


def step(world):
    """Everybody's next impression; phones keep the server's order."""
    n, slots = world.pool.shape
    rows, scores = np.arange(n), np.zeros((0, 0), np.float32)
    while len(rows):
        why = np.zeros(len(rows), np.int8)
        advance_rows(world, rows, scores, np.zeros(n, np.bool_), 60_000_000_000, False, 1, why, 0, len(rows), 0)
        rows = rows[why == DECIDE]
        scores = np.zeros((len(rows), slots), np.float32)


def copied(world):
    """The people of a world twice; the tables are shared, and so is the log, which nobody reads."""
    rows = ("users", "screen", "pool", "waiting", "history", "behaviours", "taste", "logged")
    return world._replace(**{name: getattr(world, name).copy() for name in rows})


def behave_otherwise(world, i, turn_us):
    """Person i is somebody else from now on; what happened since the turn and the cloud has not seen happened too."""
    user, unseen = world.users[i : i + 1], world.behaviours[i]
    user["person"] -= 4 * np.sign(user["person"])
    user["propensity"] = 1 - user["propensity"]
    since = unseen["end_ms"].astype(np.int64) * 1000 > turn_us
    unseen["surprise"][since] = np.where(unseen["surprise"][since] > 0, -30_000, 30_000)
    unseen["tag"][since] = (unseen["tag"][since] + 1) % world.taste.shape[1]


def taken_over(world, requests):
    """{person: (videos in the order shipped, their rates, the cloud's estimate of the person by then)} of the pages of
    requests {person: number} that take over within a dozen impressions."""
    found = {}
    for _ in range(12):
        step(world)
        for i, number in requests.items():
            if i not in found and (world.pool["request"][i] == number).all():
                slots = world.pool[i]
                found[i] = slots["video"].tolist(), slots["pxtr"].tolist(), world.users["cloud_person"][i]
    return found


def test_nothing_that_happens_after_service_changes_a_page():
    """Property: people are changed between service of a page and its use, on its way or waiting; no bit of it changes.

    Seven of ten pages in each state are used after the cloud has learnt something else: the test would notice."""
    slow = scenario(server__feature_lag_s=0.0, server__service_ms=4_000.0, server__chain_ms=2_000.0,
                    client__refill_at=5, client__timeout_s=60.0, population__users=30)  # fmt: skip
    world = build_world(slow, edge=True, seed=3, window_us=60_000_000, queue_waits=np.zeros(1, np.int64))
    users, counts = world.users, {state: [0, 0] for state in (TURNED, READY)}  # pages, learnt otherwise
    for _ in range(15):
        step(world)
        turn_us = users["arrived_us"] + users["queue_us"]
        served = np.flatnonzero(np.isin(users["request_state"], list(counts)) & (turn_us <= users["now_us"]))
        other = copied(world)
        for i in served:
            behave_otherwise(other, i, turn_us[i])
        requests = dict(zip(served.tolist(), users["request"][served].tolist(), strict=True))
        as_it_was, otherwise = taken_over(copied(world), requests), taken_over(other, requests)
        for i in as_it_was.keys() & otherwise.keys():
            assert as_it_was[i][:2] == otherwise[i][:2]
            counts[users["request_state"][i]][0] += 1
            counts[users["request_state"][i]][1] += as_it_was[i][2] != otherwise[i][2]
    assert all(pages > 20 and noticed > 0.7 * pages for pages, noticed in counts.values()), counts


# -- predicted rates ---------------------------------------------------------------------------------------------------


def test_predicted_rates_rise_with_the_estimate_and_with_the_bias():
    row, rates = video(0, 0), []
    for bias, estimate in ((0.0, -1.0), (0.0, 1.0), (0.5, 1.0)):
        p, user, out = Scenario().params(), np.zeros(1, USER), np.zeros(len(PXTR), np.int16)
        p["pxtr_bias"], p["edge"] = bias, 1
        user["taste_sd"] = 0.6
        predict_rates(p[0], user[0], 4, row, np.float32(estimate), what_is_known(p[0], user[0]), out)
        rates.append(out.copy())
    assert (rates[1][:2] > rates[0][:2]).all()
    assert (np.abs(rates[2].astype(int) - rates[1] - 500) <= 1).all()


def test_predicted_views_are_calibrated():
    """Mean predicted effective view against the share of valid plays of what was shown first, all learning off: within
    .05 for a cloud that knows its errors (quality, taste and match correlations as stated)."""
    outcome = run(scenario(population__users=4_000, catalogue__videos=5_000, server__learning=0.0, interests__drift=0.0,
                           interests__satiation=0.0, interests__new_interest=0.0, network__constant_mbps=100.0),
                  minutes=3.0, log_rows=1 << 16)  # fmt: skip
    log, world = outcome.records.impressions, outcome.world
    first = log[(log["impression"] == 0) & (log["outcome"] & 128 == 0)]
    ring = world.history.shape[1]
    past = world.history[first["user"], 0]
    kept = world.users["impression"][first["user"]] < ring  # row 0 still holds impression 0
    predicted = sigmoid(past["pxtr"][kept][:, 0] / 1000.0)
    happened = (first["outcome"][kept] & VALID) != 0
    assert kept.sum() > 1_000 and abs(predicted.mean() - happened.mean()) < 0.05
    order = np.argsort(predicted)
    low, high = np.array_split(happened[order], 2)
    assert high.mean() > low.mean()
