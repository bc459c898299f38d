"""What a policy sees: columns against values worked out by hand, bounds over random worlds, and nothing hidden."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nextone.envs.features import (
    CANDIDATE,
    CONTEXT,
    GROUPS,
    HISTORY,
    PREDICTED,
    C,
    H,
    Observation,
    X,
    empty_observation,
    feature_table_markdown,
    tag_index,
)
from nextone.envs.observing import observe
from nextone.sim import state
from nextone.sim.config import DIMS, FEEDBACK, PARAMS_DTYPE, TIERS, Scenario
from nextone.sim.records import MOMENT
from nextone.sim.state import DEAD, IDLE, PLAYING, PXTR, READY, SENT, SWIPING, World

USERS, SLOTS, PAST, VIDEOS, TAGS = 5, 6, 4, 9, 43
SECOND = 1_000_000
EMBEDDINGS = tuple(f"embedding_{d}" for d in range(DIMS))
TABLES = ((CANDIDATE, C), (HISTORY, H), (CONTEXT, X))
CROSSING = tuple(f"diff_{name}" for name in PXTR) + ("diff_time", "diff_position", "same_tag")


def bare_world(users=USERS, slots=SLOTS, past=PAST, videos=VIDEOS):
    """A world of zeros in which nobody has any candidate or past; videos last 10 s."""
    zeros = {
        "params": Scenario().params(),
        "key": np.zeros((users, 2), np.uint32),
        "users": np.zeros(users, state.USER),
        "screen": np.zeros(users, state.IMPRESSION),
        "pool": np.zeros((users, slots), state.SLOT),
        "waiting": np.zeros((users, slots), state.WAITING_VIDEO),
        "history": np.zeros((users, past), state.PAST),
        "behaviours": np.zeros((users, 2), state.BEHAVIOUR),
        "mind": np.zeros(users, state.MIND),
        "belief": np.zeros(users, state.BELIEF),
        "stored": np.zeros((users, slots), state.STORED),
        "seen": np.zeros((users, 2, 0), np.uint8),
        "videos": np.zeros(videos, state.VIDEO),
        "content": np.zeros((videos, state.DIMS), np.float32),
        "indexed": np.zeros(videos, state.INDEXED),
        "knots": np.zeros(2, state.KNOT),
        "impressions": np.zeros((1, 0), state.IMPRESSION),
        "requests": np.zeros((1, 0), state.REQUEST),
        "sessions": np.zeros((1, 0), state.SESSION),
        "moments": np.zeros(0, MOMENT),
        "arms": np.zeros((users, 1), np.int8),
    }
    integers = {"trace_first": 2, "link_traces": (8, 2)}
    integers |= {"queue_waits": 0, "logged": (1, 3), "traced": 2}
    floats = {"trace_mean_bps": 1, "link_levels": (8, 2), "rtt": (3, 2), "propensities": (6, 2), "pace": 2}
    floats |= {"activity": 25}
    zeros |= {name: np.zeros(shape, np.int64) for name, shape in integers.items()}
    zeros |= {name: np.zeros(shape) for name, shape in floats.items()}
    world = World(**zeros)
    world.users["user"] = np.arange(users)
    world.users["impression"] = world.users["impressions_before"] = -1
    world.screen["video"] = -1
    world.pool["rank"] = DEAD
    world.videos["duration_us"] = 10 * SECOND
    return world


def scribble(array, names, rng):
    """Random bits over the named fields; floats stay finite."""
    for name in names:
        field = array[name]
        if field.dtype.kind == "f":
            field[...] = rng.normal(0, 1000, field.shape)
        else:
            info = np.iinfo(field.dtype)
            field[...] = rng.integers(info.min, info.max, field.shape, field.dtype, endpoint=True)


def random_world(seed, **sizes):
    """A world whose every value is anything that it may be, hidden ones included."""
    rng = np.random.Generator(np.random.Philox(key=seed))
    world = bare_world(**sizes)
    for array in (world.users, world.screen, world.pool, world.history, world.videos, world.indexed, world.mind):
        scribble(array, array.dtype.names, rng)
    users, pool = world.users, world.pool
    n, videos = len(users), len(world.videos)
    users["user"] = np.arange(n)
    users["now_us"] = rng.integers(0, 10**12, n)
    users["impression"] = rng.integers(-1, 3 * world.history.shape[1], n)
    users["impressions_before"] = rng.integers(-1, users["impression"] + 1)
    users["opened_us"] = rng.integers(0, users["now_us"] + 1)
    users["past_impressions"] = rng.integers(0, 10**8, n) * rng.integers(0, 2, n)
    users["rate_bps"] = rng.integers(0, 2**40, n) * rng.integers(0, 2, n)
    users["tier"], users["link"] = rng.integers(0, 4, n), rng.integers(0, 8, n)
    users["request_state"], users["phase"] = rng.integers(0, 7, n), rng.integers(0, 11, n)
    users["software_decoder"] = rng.integers(0, 2, n)
    for name in ("past", "left"):
        users[name] = np.abs(users[name] // 2)
    world.screen["video"] = rng.integers(-1, videos, n)
    pool["video"] = rng.integers(0, videos, pool.shape)
    pool["buffered"] = np.abs(pool["buffered"] // 2) * rng.integers(0, 2, pool.shape)
    pool["score"] = rng.uniform(-1, 1, pool.shape)
    pool["bitrate"] = np.where(pool["buffered"] > 0, rng.integers(0, 3, pool.shape), -1)
    pool["arrived_us"] = rng.integers(0, users["now_us"][:, None] + 1, pool.shape)
    users["model"] = rng.integers(0, 4, n)
    users["model_since"] = users["request"] - 0x10000  # any page's embeddings are of that version
    pool["rank"] = np.where(rng.integers(0, 4, pool.shape) == 0, DEAD, rng.integers(0, 250, pool.shape))
    world.history["video"] = rng.integers(0, videos, world.history.shape)
    world.videos["duration_us"] = rng.integers(1, 2 * 3600 * SECOND, videos)
    world.videos["popularity"] = np.abs(world.videos["popularity"] // 2)
    world.videos["tag"], world.videos["tag2"] = rng.integers(0, 100, (2, videos))
    return world


def seen(world, rows=None):
    rows = np.arange(len(world.users)) if rows is None else np.asarray(rows)
    observation = empty_observation(len(rows), world.pool.shape[1], world.history.shape[1])
    for array in observation[:3]:
        array[...] = np.nan  # whatever was there before must not show
    observe(world, rows, *observation)
    return observation


def same(a, b):
    return all(np.array_equal(x.view(np.uint8), y.view(np.uint8)) for x, y in zip(a, b, strict=True))


def test_names_and_columns_agree():
    for features, columns in TABLES:
        assert columns._fields == tuple(f.name for f in features)
        assert tuple(columns) == tuple(range(len(features)))
        for f in features:
            assert f.group in GROUPS and f.low < f.high and f.scale and f.meaning
    assert {f.group for features, _ in TABLES for f in features} == set(GROUPS)
    assert C._fields[-len(CROSSING) :] == CROSSING
    # the kernel fills these as runs
    for columns in (C, H):
        assert [getattr(columns, name) - columns.pevtr for name in PXTR] == list(range(len(PREDICTED)))
        assert (columns.tag - columns.duration, columns.tag2 - columns.duration) == (1, 2)
        assert [getattr(columns, name) - columns.embedding_0 for name in EMBEDDINGS] == list(range(DIMS))
    assert [getattr(H, kind) - H.like for kind in FEEDBACK] == list(range(6))
    assert [getattr(X, f"past_{kind}") - X.past_like for kind in FEEDBACK] == list(range(6))
    assert [getattr(X, f"past_{kind}_rate") - X.past_like_rate for kind in FEEDBACK] == list(range(6))
    assert [getattr(X, f"tier_{tier}") - X.tier_android_low for tier in TIERS] == list(range(4))


def test_markdown_has_a_line_for_every_feature():
    text = feature_table_markdown()
    assert text.count("\n") == 2 + len(CANDIDATE) + len(HISTORY) + len(CONTEXT)
    assert "| candidates | 7 | `duration` | video | s |" in text


def test_every_column_of_a_candidate_by_hand():
    world = bare_world()
    user, slot = world.users[2], world.pool[2, 1]
    user["now_us"], user["impression"], user["request"] = 100 * SECOND, 11, 7
    slot["video"], slot["rank"], slot["request"], slot["arrived_at"] = 3, 4, 5, 9
    slot["score"], world.indexed[3]["embedding"] = 0.25, [2, -1, 9, -9, 0, 0, 0, 0]  # / 4, clipped
    slot["arrived_us"], slot["pxtr"] = 41 * SECOND, [2000, -3500, 0, 30000, -30000, 1, -1]
    slot["bitrate"], slot["buffered"] = 1, 162_500  # 1.3 Mbit/s: 1 s of content, of 3 s to preload
    world.videos[3]["duration_us"], world.videos[3]["popularity"] = 59 * SECOND, 99
    world.videos[3]["tag"], world.videos[3]["tag2"] = 42, 7
    row = seen(world).candidates[2, 1]
    expected = {
        "pevtr": 0.2, "plvtr": -0.35, "pltr": 0.0, "pwtr": 1.0, "pcmtr": -1.0, "pftr": 0.0001, "phtr": -0.0001,
        "duration": np.log(60) / np.log(3601), "tag": 42 / 128, "tag2": 7 / 128,
        "popularity": np.log(100) / np.log(10_001), "rank": np.log(5) / np.log(251), "score": 0.25,
        **dict(zip(EMBEDDINGS, (0.5, -0.25, 1, -1, 0, 0, 0, 0), strict=True)), "page_age": 2 / 8,
        "age": np.log(60) / np.log(3601), "impressions_since": np.log(3) / np.log(251),
        "preloaded": 1 / 3, "buffered_s": 1 / 20,
    }  # fmt: skip
    # twelve were watched, all of them at 0 s, video 0 with tag 0, every rate predicted as a half
    expected |= dict(zip(CROSSING, (0.1, -0.175, 0.0, 0.5, -0.5, 0.00005, -0.00005), strict=False))
    expected |= {"diff_time": np.log(101) / np.log(3601), "diff_position": np.log(2) / np.log(251), "same_tag": 0}
    assert list(expected) == list(C._fields)
    assert row == pytest.approx(list(expected.values()), abs=1e-4)
    assert tag_index(row[[C.tag, C.tag2]]).tolist() == [42, 7]
    assert seen(world).mask.sum() == 1 and not seen(world).candidates[2, 0].any()


def past_world(on_screen):
    """The person has finished six impressions (0 to 5), the history holds four; perhaps the seventh is on screen."""
    world = bare_world()
    user = world.users[0]
    user["now_us"], user["impression"], user["phase"] = 100 * SECOND, 5 + on_screen, PLAYING if on_screen else SWIPING
    world.screen[0]["video"] = 1 if on_screen else -1
    for n in range(6 + on_screen):
        past = world.history[0, n % PAST]
        past["video"], past["start_ms"], past["play_ms"], past["position"] = n, 10_000 * n, 1000 * n, n
        past["feedback"], past["pxtr"] = 1 << n, 100 * n
    world.videos["duration_us"][:7] = np.array([1, 2, 3, 4, 2, 50, 60]) * SECOND
    world.indexed["embedding"][:7, 1] = np.arange(7)
    return world


def test_history_by_hand():
    rows = seen(past_world(on_screen=0)).history[0]
    assert rows[:, H.present].tolist() == [1, 1, 1, 1]
    assert rows[:, H.pevtr] == pytest.approx([0.05, 0.04, 0.03, 0.02])  # newest first
    assert rows[:, H.embedding_1].tolist() == [1.0, 1.0, 0.75, 0.5] and not rows[:, H.embedding_0].any()
    assert rows[0, H.watch_ratio] == pytest.approx(5 / 50 / 2)
    assert rows[1, H.watch_ratio] == 1.0  # 4 s of a video of 2 s: twice
    assert rows[:, H.valid_play].tolist() == [0, 1, 0, 0]
    assert rows[:, H.long_view].tolist() == [0, 1, 0, 0]
    assert rows[:, H.completion].tolist() == [0, 1, 0, 0]
    assert rows[:, H.skip].tolist() == [0, 0, 0, 0]
    assert rows[:, H.like : H.profile + 1].argmax(1).tolist() == [5, 4, 3, 2]
    assert rows[:, H.like : H.profile + 1].sum() == 4
    assert rows[:, H.since] == pytest.approx(np.log([51, 61, 71, 81]) / np.log(3601), abs=1e-4)
    assert rows[:, H.position] == pytest.approx(np.log([6, 5, 4, 3]) / np.log(251))


def test_what_is_on_screen_is_not_yet_history():
    rows = seen(past_world(on_screen=1)).history[0]
    assert rows[:, H.present].tolist() == [1, 1, 1, 0]  # the seventh has taken the place of the oldest
    assert rows[:3, H.pevtr] == pytest.approx([0.05, 0.04, 0.03])
    assert not rows[3].any()


def test_crossings_by_hand():
    """Watched, newest first: tags 5, 4 and 2, 3, 2. A candidate's counterpart is the newest that shares a tag, or 5."""
    world = past_world(on_screen=0)
    world.videos["tag"][:9] = world.videos["tag2"][:9] = [9, 9, 2, 3, 4, 5, 3, 8, 5]
    world.videos["tag2"][[4, 8]] = 2, 3  # video 4 has tags 4 and 2, video 8 has 5 and 3
    expected = {6: (2, 1), 7: (0, 0), 8: (0, 1), 2: (1, 1)}  # video: (its counterpart, 0 the newest; same tag)
    for k, video in enumerate(expected):
        slot = world.pool[0, k]
        slot["rank"], slot["video"], slot["pxtr"] = k, video, [1000, 0, 200, 300, 400, 10_000, -10_000]
    rows = seen(world).candidates[0]
    for row, (counterpart, same_tag) in zip(rows, expected.values(), strict=False):
        watched = 100 * (5 - counterpart)  # of all its rates, in 1/1000 logit
        differences = (np.array([1000, 0, 200, 300, 400, 10_000, -10_000]) - watched) / 20_000
        assert row[C.diff_pevtr : C.diff_phtr + 1] == pytest.approx(differences, abs=1e-6)
        assert row[C.diff_time] == pytest.approx(np.log(51 + 10 * counterpart) / np.log(3601), abs=1e-5)
        assert row[C.diff_position] == pytest.approx(np.log(2 + counterpart) / np.log(251), abs=1e-6)
        assert row[C.same_tag] == same_tag
    assert not rows[len(expected) :].any()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**63))
def test_crossings_are_those_of_a_search(seed):
    """Property: found by looking through the past from the newest on, for each candidate."""
    world = random_world(seed)
    world.videos["tag"] %= 4
    world.videos["tag2"] %= 4
    candidates, history, _, mask = seen(world)
    for i, k in np.argwhere(mask):
        row, watched = candidates[i, k], history[i][history[i, :, H.present] == 1]
        shared = np.isin(watched[:, [H.tag, H.tag2]], row[[C.tag, C.tag2]]).any(1)
        if not len(watched):
            assert not row[C.diff_pevtr :].any()
            continue
        counterpart = int(shared.argmax())  # 0 if none
        assert row[C.same_tag] == shared.any() and row[C.diff_time] == watched[counterpart, H.since]
        rates = (row[C.pevtr : C.phtr + 1], watched[counterpart, H.pevtr : H.phtr + 1])
        assert row[C.diff_pevtr : C.diff_phtr + 1] == pytest.approx((rates[0] - rates[1]) / 2, abs=1e-6)
        assert row[C.diff_position] == pytest.approx(np.log(2 + counterpart) / np.log(251), abs=1e-6)


@pytest.mark.parametrize("finished", [0, 1, 3])
def test_history_shorter_than_its_room_is_padded(finished):
    world = bare_world()
    world.users["impression"] = finished - 1
    assert seen(world).history[0, :, H.present].tolist() == [1] * finished + [0] * (PAST - finished)


def test_a_video_played_to_the_end_counts_as_such_although_history_is_in_milliseconds():
    world = bare_world()
    world.users["impression"] = 0
    world.videos["duration_us"] = 4_000_999
    world.history["play_ms"] = 4_000
    row = seen(world).history[0, 0]
    assert row[[H.valid_play, H.long_view, H.completion, H.skip]].tolist() == [1, 1, 1, 0]


def test_context_by_hand():
    world = bare_world()
    user = world.users[0]
    user["now_us"], user["opened_us"] = 3600 * SECOND, 3000 * SECOND  # an hour after 20:00; ten minutes
    user["impression"], user["impressions_before"], user["left"] = 30, 21, 3
    user["past_impressions"], user["past"] = 9999, [99, 0, 0, 0, 0, 9999]
    user["link"], user["rate_bps"], user["software_decoder"], user["tier"] = 3, 9_000_000, 1, 3
    user["outage_start_us"], user["outage_end_us"], user["request_state"] = 3599 * SECOND, 3601 * SECOND, SENT
    world.pool["rank"][0, 2:4] = 0
    row = seen(world).context[0]
    expected = dict.fromkeys(X._fields, 0.0) | {
        "past_impressions": np.log(1e4) / np.log(1e8 + 1), "past_like": np.log(100) / np.log(1e8 + 1),
        "past_profile": np.log(1e4) / np.log(1e8 + 1), "past_like_rate": np.sqrt(99 / 9999), "past_profile_rate": 1,
        "hour_sin": np.sin(21 / 24 * 2 * np.pi), "hour_cos": np.cos(21 / 24 * 2 * np.pi),
        "session_impressions": np.log(10) / np.log(1001), "session_minutes": np.log(11) / np.log(241),
        "left": np.log(4) / np.log(251), "live": np.log(3) / np.log(251), "cellular": 1,
        "throughput": np.log(10) / np.log(1001), "offline": 1, "requested": 1, "software_decoder": 1, "tier_ios": 1,
    }  # fmt: skip
    assert list(expected) == list(X._fields)
    assert row == pytest.approx(list(expected.values()), abs=1e-5)


@pytest.mark.parametrize("request_state", range(7))
def test_a_request_is_none_or_under_way_or_a_page_waits(request_state):
    world = bare_world()
    world.users["request_state"] = request_state
    flags = seen(world).context[0, [X.may_ask, X.requested, X.page_waits]].tolist()
    assert flags == [request_state == IDLE, request_state not in (IDLE, READY), request_state == READY]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**63))
def test_every_value_is_finite_and_in_its_stated_range(seed):
    observation = seen(random_world(seed))
    for array, (features, _) in zip(observation[:3], TABLES, strict=True):
        assert array.dtype == np.float32 and np.isfinite(array).all()
        for column, f in enumerate(features):
            assert array[..., column].min() >= f.low and array[..., column].max() <= f.high, f.name
    assert not observation.candidates[~observation.mask].any()
    assert not observation.history[observation.history[..., H.present] == 0].any()


# All that a phone knows of the state; whatever is not named here is hidden. `screen.video`: whether there is one.
KNOWN = {
    "users": {"now_us", "impression", "impressions_before", "opened_us", "past", "past_impressions", "left", "rate_bps",
              "tier", "link", "request", "request_state", "software_decoder", "outage_start_us", "outage_end_us",
              "model", "model_since", "encoded_us"},
    "screen": {"video"},
    "pool": {"arrived_us", "video", "buffered", "arrived_at", "request", "pxtr", "score", "rank", "bitrate"},
    "history": set(state.PAST.names),
    "videos": {"duration_us", "popularity", "tag", "tag2"},
    "indexed": {"embedding"},
}  # fmt: skip


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**63))
def test_nothing_hidden_is_seen(seed):
    world, before = random_world(seed), seen(random_world(seed))
    rng = np.random.Generator(np.random.Philox(key=seed + 1))
    for name, array in world._asdict().items():
        if array.dtype.names and name != "params":
            scribble(array, set(array.dtype.names) - KNOWN.get(name, set()), rng)
        elif name != "params":
            array.view(np.uint8)[...] = 171
    later = world.users["outage_start_us"] > world.users["now_us"]  # outages to come
    world.users["outage_start_us"][later] = 2**62
    assert same(before, seen(world))


def test_every_parameter_a_phone_cannot_know_is_unseen():
    known = {"start_hour", "bitrates_bps", "preload_us"}
    world = random_world(3)
    before = seen(world)
    for name in PARAMS_DTYPE.names:
        world.params[name] = world.params[name] if name in known else 77
    assert same(before, seen(world))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**63), st.permutations(range(USERS)))
def test_people_are_seen_alike_alone_and_together(seed, order):
    world = random_world(seed)
    together = seen(world, order)
    for k, i in enumerate(order):
        assert same(seen(world, [i]), Observation(*(array[k : k + 1] for array in together)))


def test_one_compiled_signature_for_any_pool_and_history():
    seen(random_world(1, slots=6, past=4))
    compiled = len(getattr(observe, "signatures", [0]))  # real worlds of other tests have read-only catalogues
    for slots, past in ((20, 20), (100, 50)):
        seen(random_world(1, slots=slots, past=past))
    assert len(getattr(observe, "signatures", [0])) == compiled


def test_the_documentation_shows_the_table() -> None:
    """Contract: docs/observation.md is what the one table says."""
    page = (Path(__file__).parents[2] / "docs" / "observation.md").read_text()
    assert page.endswith(feature_table_markdown() + "\n")
