"""A request and its page by hand: when one goes out, what it meets on the way, what a page does when it lands.

Round trips last 100,001 us without jitter, so one way is 50,000. The link brings a byte a microsecond.
"""

import numpy as np
import pytest
from cloud_by_hand import world_of
from numba import njit
from scipy.stats import norm
from worlds import scenario

from nextone.sim.cloud.belief import report_outcome
from nextone.sim.config import CELLULAR, NEVER_US
from nextone.sim.engine.chance import uniform2
from nextone.sim.engine.luck import QUEUE_WAIT, REQUEST, ROUND_TRIP_BACK, ROUND_TRIP_THERE
from nextone.sim.network import SCALE_ONE, rtt_us
from nextone.sim.request import (
    REFUSED_QUEUE_US,
    answer,
    ask_for_page,
    candidate_in,
    expire_slots,
    page_lands,
    response_arrives,
    send_request,
    wants_page,
)
from nextone.sim.state import (
    ARRIVING,
    BACKOFF,
    BEHAVIOUR,
    BELIEF,
    CLOSED,
    CURRENT,
    DEAD,
    FROM_WAITING,
    GONE,
    IDLE,
    IMPRESSION,
    KNOT,
    LOST,
    MIND,
    MISSING,
    NOBODY,
    PAST,
    PAYLOAD,
    PLAYING,
    READY,
    SENT,
    SHOWN,
    SLOT,
    STORED,
    SWIPING,
    TOLD,
    TURNED,
    UNRANKED,
    USER,
    VALID,
    VIDEO,
    WAITING,
    WAITING_VIDEO,
    Person,
    person_of,
)

S = 1_000_000
KEY = np.array([7, 9], np.uint32)
STEADY = np.ones((2, 2, 3))  # every round trip is its level
UNSTEADY = np.linspace(1.0, 3.0, 12).reshape(2, 2, 3)
ONE_WAY_US = 50_000
SERVICE_US = 600_000 + 7 * 5_000  # a page of six and one more


def filled(rows, fields):
    """The rows with some fields set."""
    for name, value in fields.items():
        rows[name] = value
    return rows


KNOTS = filled(np.zeros(2, KNOT), {"t_us": [0, 10**9], "bytes": [0, 10**9]})
VIDEOS = filled(np.zeros(40, VIDEO), {"duration_us": 20 * S})


def params(**fields):
    usual = {"loss": 0.0, "timeout_us": 10 * S, "service_us": 600_000.0, "service_per_candidate_us": 5_000.0,
             "service_cv": 0.0, "chain_us": 40_000, "page_size": 6, "candidates": 20, "refill_at": 1, "edge": 0,
             "radio_wake_us": 0, "spell_share": 0.0}  # fmt: skip
    return filled(scenario().params(), usual | fields)[0]


def phone(**fields):
    """Somebody's row, five seconds into their life."""
    usual = {"now_us": 5 * S, "request": 3, "outage_start_us": NEVER_US, "outage_end_us": NEVER_US,
             "rtt_level_us": 100_001, "phase": PLAYING, "queue_us": 1, "response_us": 1, "last_knot": 1,
             "scale": SCALE_ONE, "fetching": NOBODY}  # fmt: skip
    return filled(np.zeros(1, USER), usual | fields)


# -- asking ------------------------------------------------------------------------------------------------------------


def test_a_page_is_wanted_when_few_are_left_or_none_and_no_request_is_out():
    """One left or none, or an empty pool; asked for at swipes, only when the finger moves or somebody waits."""
    for wanted, state, phase, left, live, at_swipe in (
        (True, IDLE, PLAYING, 1, 2, 0),
        (True, IDLE, PLAYING, 0, 2, 0),
        (False, IDLE, PLAYING, 2, 2, 0),
        (False, IDLE, PLAYING, 2, 1, 0),
        (True, IDLE, PLAYING, 2, 0, 0),
        (False, SENT, PLAYING, 0, 0, 0),
        (False, READY, WAITING, 0, 0, 0),
        (False, IDLE, CLOSED, 0, 0, 0),
        (False, IDLE, GONE, 0, 0, 0),
        (True, IDLE, SWIPING, 1, 2, 1),
        (True, IDLE, WAITING, 1, 2, 1),
        (False, IDLE, PLAYING, 0, 0, 1),
        (False, IDLE, SWIPING, 2, 2, 1),
    ):
        user, pool = phone(request_state=state, phase=phase, left=left), np.zeros(2, SLOT)
        pool["rank"][: 2 - live] = DEAD
        case = (state, phase, left, live, at_swipe)
        assert wants_page(params(ask_at_swipe=at_swipe), user[0], pool) == wanted, case


def sent(p, rtt=STEADY, waits=(), **fields):
    """(a person's row after a request went out, whether the driver must answer it)."""
    user = phone(**fields)
    return user[0], send_request(p, KEY, user[0], rtt, np.array(waits, np.int64))


def test_a_request_takes_half_a_round_trip_and_the_driver_answers_it():
    user, answered = sent(params(), model_held=CURRENT, model_sent=MISSING)
    assert answered and user["request_state"] == SENT and user["model_sent"] == CURRENT
    assert (user["sent_us"], user["give_up_us"], user["arrived_us"]) == (5 * S, 15 * S, 5 * S + ONE_WAY_US)
    assert user["service_us"] == SERVICE_US and user["queue_us"] == user["response_us"] == NEVER_US


def test_a_phone_that_ranks_is_shipped_all_that_it_has_room_for():
    assert sent(params(edge=1), model_held=CURRENT)[0]["service_us"] == 600_000 + 21 * 5_000
    assert sent(params(edge=1), model_held=MISSING)[0]["service_us"] == SERVICE_US


def test_without_network_a_request_is_put_off_until_it_is_back():
    for start_us, end_us, state in ((4 * S, 8 * S, BACKOFF), (5 * S, 8 * S, BACKOFF), (4 * S, 5 * S, SENT)):
        user, answered = sent(params(), outage_start_us=start_us, outage_end_us=end_us)
        assert user["request_state"] == state and answered == (state == SENT)
        assert user["retry_us"] == (8 * S if state == BACKOFF else 0)
        assert user["sent_us"] == (0 if state == BACKOFF else 5 * S)


def test_a_radio_that_sleeps_wakes_up_first():
    p = params(radio_wake_us=300_000, radio_idle_us=S)
    asleep, _ = sent(p, link=CELLULAR, link_used_us=3 * S)
    assert asleep["arrived_us"] == 5 * S + 300_000 + ONE_WAY_US and asleep["link_used_us"] == 5 * S
    awake, _ = sent(p, link=CELLULAR, link_used_us=4 * S)
    assert awake["arrived_us"] == 5 * S + ONE_WAY_US and awake["link_used_us"] == 4 * S


def test_what_is_lost_or_late_never_comes_back():
    for fields, state in (({"loss": 1.0}, LOST), ({"timeout_us": ONE_WAY_US}, LOST), ({"timeout_us": 50_001}, SENT)):
        for waits in ((), (0,)):
            user, answered = sent(params(**fields), waits=waits)
            assert user["request_state"] == (TURNED if state == SENT and waits else state)
            assert answered == (state == SENT and not waits)
            assert (user["response_us"] == NEVER_US) == (user["request_state"] != TURNED)


@njit
def drawn(user, b, out):
    out[0], out[1] = uniform2(KEY, REQUEST, user.user, user.request, b)


def test_the_wait_in_the_queue_and_the_time_of_service_are_drawn_for_each_attempt():
    """Given waits, by rising probability, the phone knows when the response is back; service is lognormal."""
    out, met = np.zeros(2), set()
    for who in range(60):
        user, answered = sent(params(service_cv=1.0), waits=(10, 20, 30, 40), user=who, attempt=who % 3)
        drawn(user, who % 3 + QUEUE_WAIT, out)
        assert not answered and user["queue_us"] == 10 * (1 + int(4 * out[0]))
        met.add(int(user["queue_us"]))
        drawn(user, who % 3, out)
        sd = np.sqrt(np.log(2.0))
        assert user["service_us"] == pytest.approx(SERVICE_US * np.exp(sd * norm.ppf(out[1]) - sd**2 / 2), abs=1.01)
        there_us = user["arrived_us"] + user["queue_us"] + user["service_us"]
        assert user["request_state"] == TURNED and user["response_us"] == there_us + 40_000 + ONE_WAY_US
    assert met == {10, 20, 30, 40}


def test_every_trip_of_every_attempt_has_its_own_jitter():
    p = params()
    for attempt in range(3):
        user, _ = sent(p, UNSTEADY, (0,), attempt=attempt)
        there, back = (rtt_us(p, KEY, user, UNSTEADY, 5 * S, 3, first + 2 * attempt) // 2
                       for first in (ROUND_TRIP_THERE, ROUND_TRIP_BACK))  # fmt: skip
        assert there != back and user["arrived_us"] == 5 * S + there
        assert user["response_us"] == user["arrived_us"] + user["service_us"] + 40_000 + back


def test_a_full_queue_answers_at_once_and_no_turn_never():
    for queue_us, response_us in ((REFUSED_QUEUE_US, 2 * S + ONE_WAY_US), (NEVER_US, NEVER_US),
                                  (0, 2 * S + 77 + 40_000 + ONE_WAY_US)):  # fmt: skip
        user = phone(request_state=SENT, queue_us=queue_us, arrived_us=2 * S, service_us=77)
        answer(params(), KEY, user[0], STEADY)
        assert user["request_state"] == TURNED and user["response_us"] == response_us
    assert REFUSED_QUEUE_US < 0  # never a wait


# -- the page ----------------------------------------------------------------------------------------------------------


def somebody(videos, waiting, shown=(), held=0, **fields):
    """(person, rows) with a pool of `videos`, -1: an empty slot, `held` bytes each, and a page that waits. shown: of
    the page, what was shown meanwhile."""
    user = phone(**{"waiting": len(waiting), "stored": 4, "request_state": ARRIVING, "left": 2} | fields)
    pool, page, stored = np.zeros(len(videos), SLOT), np.zeros(max(len(waiting), 1), WAITING_VIDEO), np.zeros(4, STORED)
    pool["video"], pool["rank"], pool["buffered"] = videos, np.where(np.array(videos) < 0, DEAD, 0), held
    pool["order"], pool["arrived_us"], page["bitrate"] = UNRANKED, 4 * S, -1
    for k, video in enumerate(waiting):
        page["video"][k], page["place"][k], stored["video"][k] = video, k, video | (SHOWN if video in shown else 0)
    rows = [np.zeros(1, dtype)[0] for dtype in (IMPRESSION, MIND, BELIEF)]
    rings = [np.zeros(2, dtype) for dtype in (PAST, BEHAVIOUR)]
    seen = np.zeros((2, 0), np.uint8)
    return Person(user[0], rows[0], pool, page, *rings, *rows[1:], stored, seen)


def test_a_new_request_tells_what_was_shown_and_starts_its_own_count():
    for refresh in (False, True):
        person = somebody([1, 2], [7, 8, 9], shown=[8], attempt=2, refresh=1 - refresh, request_state=IDLE)
        assert ask_for_page(params(), KEY, person, STEADY, np.zeros(0, np.int64), refresh)
        user = person.user
        assert (user["request"], user["attempt"], user["refresh"], user["request_state"]) == (4, 0, refresh, SENT)
        assert (person.stored["video"] & TOLD != 0).tolist() == [False, True, False, False]


@njit
def arrives(w, i):
    response_arrives(w.params[0], w.key[i], person_of(w, i), w.indexed)


@njit
def report(w, i, video, outcome, end_us):
    report_outcome(w.users[i], w.behaviours[i], video, outcome, end_us)


def test_a_page_is_of_the_moment_of_its_turn_and_weighs_what_it_ships():
    """The cloud has heard of what ended half a second before the turn, not of what came a microsecond later."""
    for model, per_video, videos, size in ((CURRENT, 1_000, 21, 23_100), (MISSING, 1_000, 7, 7_000),
                                           (CURRENT, 200_000_000, 21, 2_000_000_000)):  # fmt: skip
        world = world_of(server__arrivals_per_min=0.0)
        filled(world.params, {"item_bytes": per_video, "embedding_bytes": 100, "feature_lag_us": 500_000})
        filled(world.users, {"arrived_us": 3 * S, "queue_us": S, "model_sent": model, "now_us": 9 * S})
        report(world, 1, 17, VALID, 3_500_000)
        report(world, 1, 18, VALID, 3_500_001)
        arrives(world, 1)
        user = world.users[1]
        assert (user["waiting"], user["payload_left"]) == (videos, size)
        assert user["behaviours"] == 1 and world.belief["at_us"][1] == 4 * S


def lands(person, **fields):
    """Whether a page was waited for that lands on a phone with room for two."""
    return page_lands(params(**{"page_size": 2} | fields), person, VIDEOS, KNOTS)


def live(person):
    return person.pool["video"][person.pool["rank"] != DEAD].tolist()


def test_a_page_waits_until_the_one_before_is_used_up_or_the_pool_is_dry():
    for videos, fields, settings, taken in (
        ([1, 2], {"left": 1}, {}, False),
        ([1, -1], {"left": 1}, {}, False),
        ([1, 2], {"left": 0}, {}, True),
        ([-1, -1], {"left": 1}, {}, True),
        ([1, 2], {"left": 1, "refresh": 1}, {}, True),
        ([1, -1], {"left": 1}, {"merge": 1}, True),
    ):
        person = somebody(videos, [7, 8], served=5, **fields)
        assert not lands(person, **settings)
        user = person.user
        assert user["response_us"] == 5 * S and user["served"] == 7
        assert (user["request_state"], user["waiting"]) == ((IDLE, 0) if taken else (READY, 2))
        assert (8 in live(person)) == taken


def test_somebody_waited_if_there_is_something_to_show_now():
    assert lands(somebody([-1, -1], [7, 8], phase=WAITING)) and lands(somebody([-1, -1], [7], phase=WAITING))
    assert not lands(somebody([-1, -1], [7, 8], phase=PLAYING))
    assert not lands(somebody([-1, -1], [7, 8], shown=[7, 8], phase=WAITING))  # nothing is left of it


def test_a_transfer_goes_on_for_its_video_and_is_broken_off_without_it():
    """Slot 1 holds video 2, of which 100,000 or 30,000 of 625,000 bytes are to come; half a round trip brings 50,000
    more, which are cancelled if nobody wants them."""
    for page, held, slot, cancelled in (
        ([7, 2], 525_000, 1, 0),
        ([2, 7], 525_000, 0, 0),
        ([7, 8], 525_000, NOBODY, ONE_WAY_US),
        ([7, 8], 595_000, NOBODY, 30_000),
    ):
        person = somebody([1, 2], page, held=held, left=0, fetching=1)
        lands(person, preload_us=5 * S, bitrates_bps=[1 * S] * 3)
        user = person.user
        assert (user["fetching"], user["cancelled"], user["delivered"]) == (slot, cancelled, cancelled)


def test_a_transfer_for_the_first_slot_is_one_like_any_other():
    person = somebody([1, 2], [7, 8], held=595_000, left=0, fetching=0)
    lands(person, preload_us=5 * S, bitrates_bps=[1 * S] * 3)
    assert person.user["fetching"] == NOBODY and person.user["cancelled"] == 30_000


@pytest.mark.parametrize("fetching", [FROM_WAITING, FROM_WAITING + 1, NOBODY, PAYLOAD])
def test_who_comes_first_is_looked_up_anew_for_a_page_that_was_preloaded(fetching):
    person = somebody([1, 2], [7, 8], left=0, fetching=fetching)
    lands(person)
    assert person.user["fetching"] == (NOBODY if fetching >= FROM_WAITING else fetching)
    assert live(person) == [7, 8] and person.user["cancelled"] == 0


def expired(person, **fields):
    expire_slots(params(**{"page_size": 2, "ttl_us": S} | fields), person, VIDEOS, KNOTS)
    return live(person)


def test_what_is_past_its_ttl_leaves_and_an_empty_pool_ends_the_page():
    person = somebody([1, 2], [], request_state=IDLE)
    person.pool["arrived_us"][1] = 4 * S + 1  # a microsecond to go
    assert expired(person) == [2] and person.user["left"] == 2
    person.user["now_us"] += 1
    assert expired(person) == [] and person.user["left"] == 0 and person.user["expired"] == 2


def test_a_page_that_waits_takes_over_when_the_pool_expires():
    person = somebody([1, 2], [7, 8], request_state=READY)
    assert expired(person, ttl_us=2 * S) == [1, 2] and person.user["request_state"] == READY
    assert expired(person) == [7, 8] and person.user["request_state"] == IDLE and person.user["left"] == 2
    idle = somebody([1, 2], [7, 8], request_state=IDLE)  # no page waits
    assert expired(idle) == []


def test_without_network_what_is_past_its_ttl_may_be_kept():
    for serve, end_us, kept in ((1, 9 * S, [1, 2]), (0, 9 * S, []), (1, 5 * S, [])):
        person = somebody([1, 2], [], request_state=IDLE, outage_start_us=4 * S, outage_end_us=end_us)
        assert expired(person, serve_expired=serve) == kept


def test_the_transfer_of_what_expires_is_broken_off():
    for first_us, slot, cancelled in ((4 * S, NOBODY, 30_000), (5 * S, 0, 0)):
        person = somebody([1, 2], [], held=595_000, request_state=IDLE, fetching=0)
        person.pool["arrived_us"][0] = first_us
        expired(person, preload_us=5 * S, bitrates_bps=[1 * S] * 3)
        assert (person.user["fetching"], person.user["cancelled"]) == (slot, cancelled)
    ahead = somebody([1, 2], [7, 8], request_state=READY, fetching=FROM_WAITING)  # of a page that waits: it goes on
    ahead.pool["arrived_us"][0] = 5 * S
    assert expired(ahead) == [1] and ahead.user["fetching"] == FROM_WAITING


def test_a_candidate_is_known_by_its_request_video_and_rank():
    slot = filled(np.zeros(1, SLOT), {"request": 3, "video": 5, "rank": 7})
    assert candidate_in(slot[0]) == 3 * 2**40 + 5 * 2**8 + 7
    slot["rank"] = DEAD
    assert candidate_in(slot[0]) == -1
