"""Facts of people over time, of groups and of factors, by hand; thinning; noise floors; what a log lacks."""

import math
from dataclasses import replace

import numpy as np
import pytest
from logs_by_hand import log_of

from nextone.experiments.fitting.people import spectrum
from nextone.experiments.fitting.people.facts import level_facts
from nextone.experiments.fitting.people.groups import (
    ACTIVITY,
    ACTIVITY_CORRELATION,
    LIKE_AUTHORS,
    NEXT_AUTHOR,
    activity_facts,
    author_facts,
    author_likeness,
    author_likeness_sums,
    author_sums,
    people_sums,
)
from nextone.experiments.fitting.people.lags import (
    EDGES_MS,
    LAGS,
    OTHER_LESS_LASTING,
    REACTION,
    SAME_LESS_OTHER,
    SECOND_STAGE,
    SHOWN,
    add_lags,
    lag_facts,
    next_row,
    sum_lags,
)
from nextone.experiments.fitting.people.missing import what_is_needed
from nextone.experiments.fitting.people.sampling import distance_floors, noise_floors
from nextone.experiments.fitting.people.thinning import Fortnight, dense_rows, share_kept, thin
from nextone.experiments.fitting.people.validate import as_many

MINUTE_MS = 60_000
DAY = 86_400


def lived(impressions, length=1_000_000):
    """A fortnight in which person k saw so many videos, one after another, all of tag k."""
    person = np.repeat(np.arange(len(impressions)), impressions)
    n = len(person)
    zero, none = np.zeros(n, np.int64), np.zeros(0, np.int64)
    return Fortnight(
        person, np.arange(n), zero + length, person % 43, zero - 1, zero.astype(float), np.arange(n) * 1000,
        zero + 5000, zero, np.zeros((n, 5)), zero, none, none, none, none, none, np.zeros((len(impressions), 6)),
        np.ones(len(impressions)),
    )  # fmt: skip


# ---- by lag


def test_products_of_residuals_by_hand():
    """Person 0: rows at 0, 10 and 30 min with residuals 1, -2, 3, tags 5, 5, 6, and video 0 again, 9, at 40 min.
    Person 1: two rows 13 days apart. Person 2: two of one delivery, a third 30 s later."""
    time = np.array([0, 10, 30, 40, 0, 13 * 1440, 0, 0, 0.5]) * MINUTE_MS
    tag, video = np.array([5, 5, 6, 5, 1, 1, 2, 3, 2]), np.array([0, 1, 2, 0, 4, 5, 6, 7, 8])
    residual = np.array([1.0, -2, 3, 9, 2, 2, 1, 5, 7])
    out = np.zeros((3, len(EDGES_MS) - 1, 3, 2))
    add_lags(np.array([0, 4, 6, 9]), time.astype(np.int64), tag, video, residual, EDGES_MS, out)
    lag = dict(zip(("same delivery", "under a minute", *LAGS), range(len(EDGES_MS) - 1), strict=True))
    expected = np.zeros_like(out)
    expected[0, lag["5 to 15 min"], 0] = -2, 1  # rows 0 and 1
    expected[0, lag["15 to 30 min"], 1] = -6, 1  # 1 and 2
    expected[0, lag["30 to 60 min"], 1] = 3, 1  # 0 and 2, exactly half an hour
    expected[0, lag["30 to 60 min"], 0] = -18, 1  # 1 and 3
    expected[0, lag["30 to 60 min"], 2] = 9, 1  # 0 and 3, one video
    expected[0, lag["5 to 15 min"], 1] = 27, 1  # 2 and 3
    expected[1, lag["beyond a day"], 0] = 4, 1
    expected[2, lag["same delivery"], 1] = 5, 1
    expected[2, lag["under a minute"], 0] = 7, 1
    expected[2, lag["under a minute"], 1] = 35, 1
    np.testing.assert_array_equal(out, expected)


def test_the_next_row_is_of_another_video_and_a_minute_later():
    time = np.array([0, 30, 70, 80, 200, 0, 59], np.int64) * 1000
    after = next_row(np.array([0, 5, 7]), time, np.array([1, 2, 1, 3, 4, 5, 6]))
    assert after.tolist() == [3, 4, 4, 4, -1, -1, -1]  # of row 0 not row 2, which is the same video again


def test_the_cloud_s_reaction_by_hand():
    """Ten minutes after a long view of tag 1 the same tag comes once in two; after a skip of it once in three. A play
    of 3 s of a long video is neither."""
    user, time, tag, play = [], [], [], []
    for k, (first_s, then) in enumerate([(20, 1), (20, 2), (1, 1), (1, 2), (1, 3), (3, 1)]):
        user += [k, k]
        time += [0, 600]
        tag += [1, then]
        play += [first_s, 3]
    found = lag_facts(sum_lags(log_of(user, play, [90] * 12, time_s=time, tag=tag)))
    told = {name: value for name, value in found.items() if name in REACTION and not math.isnan(value)}
    assert told == pytest.approx({REACTION[1]: 1 / 2 - 1 / 3})


def test_who_shares_a_mood_for_ten_minutes_is_found():
    """People of four rows: the first two ten minutes apart, the last two two days later. In the first two all stay or
    nobody does; then everybody tosses a coin. Tags differ, or the first two have one tag."""
    rng, n = np.random.default_rng(0), 4_000
    stays = rng.random((n, 4)) < 0.5
    stays[:, 1] = stays[:, 0]
    log = log_of(
        np.repeat(np.arange(n), 4).tolist(), np.where(stays, 60, 1).ravel(), [90] * 4 * n,
        time_s=np.tile([0, 600, 2 * DAY, 2 * DAY + 7200], n), tag=np.tile([0, 3, 1, 2], n),
        video=rng.integers(0, 50, 4 * n),
    )  # fmt: skip
    found = lag_facts(sum_lags(log))
    assert found[OTHER_LESS_LASTING[1]] == pytest.approx(1, abs=0.1)
    assert found[OTHER_LESS_LASTING[5]] == pytest.approx(0, abs=0.1)
    assert math.isnan(found[SAME_LESS_OTHER[1]])  # ten minutes apart there is no pair of one tag
    half = np.where(np.arange(len(log.tag)) % 8 == 1, 0, log.tag).astype(np.int16)
    assert lag_facts(sum_lags(replace(log, tag=half)))[SAME_LESS_OTHER[1]] == pytest.approx(0, abs=0.1)
    assert set(SECOND_STAGE) < set(found)


def test_a_log_without_tags_says_nothing_by_lag():
    found = lag_facts(sum_lags(log_of([0, 0], [1, 20], [90, 90], time_s=[0, 600])))
    assert all(math.isnan(value) for value in found.values())


# ---- groups


def test_valid_plays_by_activity_by_hand():
    """Ten people: five of one row, valid; five of three rows, one of them valid. The middle fifth is one of these and
    one of those, 2 valid plays of 4 rows."""
    sums = np.array([[1, 1]] * 5 + [[3, 1]] * 5)
    found = activity_facts(sums)
    assert [found[name] for name in ACTIVITY] == pytest.approx([1, 1, 2 / 4, 1 / 3, 1 / 3])
    assert found[ACTIVITY_CORRELATION] == pytest.approx(-1)
    doubled = activity_facts(sums, np.full(10, 2.0))
    assert doubled == pytest.approx(found)
    first = activity_facts(np.concatenate([sums, [[9, 0]] * 3]), np.array([1.0] * 10 + [0.0] * 3))
    assert first == pytest.approx(found)


def test_people_are_counted_from_a_log():
    assert people_sums(log_of([0, 0, 1], [8, 1, 20], [90] * 3)).tolist() == [[2, 1], [1, 1]]


def test_authors_by_hand():
    """Rows a minute apart: of authors 1, 1, 2, unknown, 1. Known ones in a row: 1 then 1, 1 then 2, 2 then 1."""
    log = log_of([0] * 5, [8] * 5, [90] * 5, time_s=[0, 60, 120, 180, 240], author=[1, 1, 2, -1, 1])
    assert author_facts(author_sums(log)) == {NEXT_AUTHOR: pytest.approx(1 / 3)}
    assert math.isnan(author_facts(author_sums(replace(log, author=None)))[NEXT_AUTHOR])


def test_likeness_of_an_author_s_videos_by_hand():
    """Author 0: two videos with 10 of 10 long views; author 1: two with none; author 2: one with half. Departures
    from the mean rate of .5 are .5, .5, -.5, -.5, 0: the covariance is .25, that of a long view too."""
    video = np.repeat(np.arange(5), 10)
    long = np.repeat([1.0, 1, 0, 0, 0], 10)
    long[40:45] = 1
    author = np.array([0, 0, 1, 1, 2])[video]
    log = log_of([*range(50)], np.where(long > 0, 60, 1), [90] * 50, video=video, author=author)
    assert author_likeness(author_likeness_sums(log)) == {LIKE_AUTHORS: pytest.approx(1)}
    alone = replace(log, author=video.astype(np.int32))
    assert math.isnan(author_likeness(author_likeness_sums(alone))[LIKE_AUTHORS])


def test_levels_count_every_impression_once():
    found = level_facts(log_of([0, 0, 0, 1], [1, 8, 20, 91], [90] * 4))
    assert found == pytest.approx(
        {"valid play": 0.75, "long view": 0.5, "complete": 0.25, "skip < 2 s": 0.25, "mean play time, s": 30}
    )


# ---- a factor of users and videos


def made(strength, seed=3, users=300, videos=60, rows=20):
    rng = np.random.default_rng(seed)
    user, video = np.repeat(np.arange(users), rows), rng.integers(0, videos, users * rows)
    logit = strength * rng.standard_normal(users)[user] * rng.standard_normal(videos)[video]
    stays = rng.random(len(user)) < 1 / (1 + np.exp(-logit))
    return log_of(user.tolist(), np.where(stays, 60, 1), [90] * len(user), video=video)


def test_a_planted_factor_is_seen_and_none_is_not():
    strong, none = spectrum.largest_factor(made(1.5)), spectrum.largest_factor(made(0.0))
    assert strong.p <= 0.05 and strong.ratio > strong.high
    assert none.low < none.ratio < 1.1 and strong.ratio > none.ratio
    assert none.low < 1 < none.high


def test_a_person_s_level_and_a_video_s_are_no_factor():
    rng = np.random.default_rng(5)
    log = made(0.0, users=400, rows=30)
    logit = 1.2 * rng.standard_normal(log.users)[log.user] + rng.standard_normal(log.videos)[log.video]
    stays = rng.random(len(log.user)) < 1 / (1 + np.exp(-logit))
    assert spectrum.largest_factor(replace(log, play_ms=np.where(stays, 60_000, 1_000))).p > 0.01


def test_how_strong_a_factor_would_be_seen():
    log = made(0.0)
    assert spectrum.seen_share(log, 2.0, 2) == 1
    assert spectrum.text(log, 1).count("%") == 1 + len(spectrum.STRENGTHS)


# ---- thinning


def test_everybody_gives_the_same_share():
    """Of 1,000, 2,000 and 4,000 impressions a tenth each, by binomial draws (theory: within 4 sd)."""
    seen = np.array([1_000, 2_000, 4_000])
    log, row = thin(lived(seen), 700 / 3, 1)
    kept = np.bincount(log.user)
    assert (np.abs(kept - seen / 10) < 4 * np.sqrt(0.09 * seen)).all()
    assert (np.diff(row) > 0).all() and len(row) == kept.sum()
    again, _ = thin(lived(seen), 700 / 3, 2)
    assert len(again.user) != len(log.user) or (again.video != log.video).any()


def test_who_keeps_no_row_is_absent_and_the_rest_have_the_log_s_mean():
    """20,000 people of 5 impressions: at a share s those with any have 5 s / (1 - (1 - s)^5) on average."""
    fortnight = lived(np.full(20_000, 5))
    log, _ = thin(fortnight, 2.0, 0)
    assert log.users < 20_000 and len(log.user) / log.users == pytest.approx(2, abs=0.03)
    share = share_kept(np.full(9, 5), 2.0)
    assert 5 * share / (1 - (1 - share) ** 5) == pytest.approx(2)


def test_a_person_stands_for_several_and_gives_no_row_twice():
    log, row = thin(lived([400, 800]), 60.0, 0, times=8)
    assert log.users == 16 and len(np.unique(row)) == len(row)
    assert thin(lived([400, 800]), 590.0, 0, times=8)[0].users == 2  # there are not enough for two of each


def test_too_few_impressions_are_all_kept_and_too_few_rows_leave_somebody():
    assert len(thin(lived([30, 60]), math.inf, 0)[0].user) == 90
    assert len(thin(lived(np.full(100, 50)), 1.0, 0)[0].user) > 3
    with pytest.raises(ValueError, match="nobody saw"):
        thin(lived([]), 9.0, 0)


def test_of_a_list_of_the_last_ones_the_last_are_kept():
    log, row = thin(lived([100, 10]), math.inf, 0, most=20)
    assert np.bincount(log.user).tolist() == [20, 10]
    assert row.tolist() == [*range(80, 110)]


def test_dense_rows_are_in_proportion_and_have_facts():
    fortnight = lived([300, 900])
    log, _ = dense_rows(fortnight, 0)
    few, many = np.bincount(log.user)
    assert 10 < few < 35 and 40 < many < 80
    assert set(SECOND_STAGE) | set(SHOWN) < set(lag_facts(sum_lags(log)))


# ---- how sure


def test_noise_floors_are_those_of_two_logs_of_that_size():
    """Theory: means of n draws of spread s differ by 2 s / sqrt(pi n) on average."""
    x = np.random.default_rng(0).normal(0, 2, 1_000)
    floor = noise_floors(lambda w: {"mean": float(w @ x / w.sum())}, 1_000)["mean"]
    assert floor == pytest.approx(2 * 2 / np.sqrt(np.pi * 1_000), rel=0.4)  # of 50 halves: 11 %
    assert distance_floors(lambda w: {"mean": abs(float(w @ x / w.sum() - x.mean()))}, 1_000)["mean"] == pytest.approx(
        floor
    )


def test_a_simulation_is_tested_at_the_size_of_the_log():
    log = made(0.0)
    assert as_many(log, 100).users == 100 and as_many(log, 1_000).users == 300


# ---- what a log lacks


def test_what_would_be_needed_is_named():
    log = log_of([0], [1], [90])
    assert what_is_needed("profile given long view", log) == "needs a column profile (KuaiRand: is_profile_enter)"
    assert what_is_needed("spread between users: like", log) == "needs a column like (KuaiRand: is_like)"
    assert what_is_needed("next item same tag", log).endswith("or --videos FILE with columns video_id and tag")
    assert what_is_needed(REACTION[0], log).startswith("needs tags")
    assert what_is_needed(NEXT_AUTHOR, log).endswith("with columns video_id and author_id")
    assert what_is_needed("spread between users: valid play", log) == "needs more rows or people"
    assert what_is_needed("next item same tag", replace(log, tag=np.zeros(1, np.int16))) == "needs more rows or people"
