"""The state of the world: a few structured arrays with the same first axis, one row per person.

These arrays are a snapshot of the world. P (pool slots), H (history rows), L (behaviours that the cloud has not seen
yet) and R (videos stored for a session) are sizes at run time and never part of a compiled type, so one compiled
signature serves all sizes. Compiled functions take rows (`users[i]`, `pool[i]`).

Their arguments come in one order, that of `World`: the parameters p and the key; the rows of a person, as one `Person`
where four or more of them are needed; the world's tables (videos, content, indexed, knots, ..., rtt, ...); the logs and
which part of them; and at last the arguments of this call.
"""

from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from nextone.sim.engine.kernel import pasted

from .config import DIMS, FEEDBACK

PXTR = ("pevtr", "plvtr", "pltr", "pwtr", "pcmtr", "pftr", "phtr")
"""Rates the server predicts (int16, 0.001 logit), in the order of every array of them, here and in observations."""
PREDICTED = ("valid_play", "long_view", "like", "follow", "comment", "forward", "hate")
"""What each of them is the rate of: two kinds of views, then kinds of feedback."""
PEVTR, PLVTR, PLTR = range(3)
KIND_OF_RATE = np.array([FEEDBACK.index(name) if name in FEEDBACK else -1 for name in PREDICTED])
"""config.FEEDBACK's index of each, -1 of the views."""
FIRST_OF_FEEDBACK = PLTR

# What a person and phone are doing. The first seven index `users.ledger_us`.
PLAYING, STALLED, STARTING, SWIPING, WAITING, BROWSING, AWAY = range(7)
# Picking (inference after a wait) and decoding (first frame) count as startup.
PICKING, DECODING, CLOSED, GONE = 7, 8, 9, 10
PHASES = ("play", "stall", "startup", "swipe", "wait", "browse", "away", "pick", "decode", "closed", "gone")

# Where the outstanding request is.
IDLE, SENT, LOST, TURNED, ARRIVING, BACKOFF, READY = range(7)
"""No request / on its way or queued / never arrives / service known / payload flows / to be retried / page waits."""

# Who the link works for; a pool slot k is k, the waiting page's k-th video is FROM_WAITING + k.
NOBODY, PAYLOAD, SCREEN, MODEL = -1, -2, -3, -4
FROM_WAITING = 1000

# Versions of the model that ranks on a phone; a candidate's embeddings are of one of them.
BUILT_IN, CURRENT, PREVIOUS, MISSING, MISSED = range(5)
MODEL_VERSIONS = ("built_in", "current", "previous", "missing", "missed")
"""Comes with the app (a rule) / downloaded: the current, the one before, none yet / the page's embeddings missed."""

UNRANKED, DEAD = 250, 255  # `order` of a slot no finished ranking has seen; `rank` of an empty slot

# How a request ended.
SERVED, TIMED_OUT, REFUSED, LEFT = range(4)
REQUEST_OUTCOMES = ("served", "timed_out", "refused", "left")

# Outcome bits of an impression.
VALID, LONG, COMPLETE, SKIP, STALE, ASKED, LAST, CUT = (1 << k for k in range(8))

USER = np.dtype(  # each part names the file in sim/ that writes it; some fields of cloud, model and player fill gaps
    [
        # person and phone (population); phase: what the person is doing (events)
        ("user", "i4"),
        ("tier", "i1"),  # index into config.TIERS
        ("link", "i1"),  # index into config.LINK_CLASSES
        ("software_decoder", "i1"),
        ("phase", "i1"),
        # person, hidden but for the past counts (population)
        ("person", "f4"),  # logit
        ("taste_sd", "f4"),  # logit
        ("minute", "i4"),  # interest: minutes of this session that mood and intent have lived through
        ("propensity", "f4", (len(FEEDBACK),)),  # chance per impression, config.FEEDBACK's order
        ("past", "i4", (len(FEEDBACK),)),  # feedback given before the simulation, same order
        ("past_impressions", "i4"),
        ("frequency", "f4"),  # how often the app is opened, as a multiple of the average person's
        ("pace", "f4"),  # rate of leaving per minute, as a multiple of the average person's
        # session, and the person's clock (session, screen, clock)
        ("session", "i4"),  # number in this life, from 0
        ("impression", "i4"),  # number in this life, from 0; of the one on screen or the last one
        ("impressions_before", "i4"),  # this session
        ("mood", "f4"),
        ("satisfaction", "f4"),
        ("will_to_stay", "f4"),  # cumulated leave hazard that this session still bears
        ("behaviours", "i2"),  # cloud: rows in use of the behaviours it has not seen, and the oldest of them
        ("oldest", "i2"),
        ("now_us", "i8"),  # the person's own clock
        ("phase_end_us", "i8"),
        ("opened_us", "i8"),
        ("closed_us", "i8"),
        ("settled_us", "i8"),  # interests have recovered up to here
        ("checked_us", "i8"),  # leaving was last considered here
        # link (network, player)
        ("first_knot", "i4"),
        ("last_knot", "i4"),
        ("knot", "i4"),  # where the last look-up ended: a hint, never a result
        ("fetching", "i4"),  # who the link works for
        ("outage", "i4"),  # number of the next or present outage in this session
        ("model_since", "i4"),  # model: the first request whose embeddings are for the version that ranks
        ("loop_us", "i8"),  # when the trace last began anew
        ("scale", "i8"),  # capacity / the trace's, in 1/65536
        ("rtt_level_us", "i8"),
        ("outage_start_us", "i8"),
        ("outage_end_us", "i8"),
        ("link_ready_us", "i8"),  # the present transfer's first byte can come no earlier
        ("link_used_us", "i8"),  # last byte
        ("fetched", "i8"),  # bytes of the present transfer, if it is a video's
        ("rate_bps", "i8"),  # measured throughput of video transfers, running mean
        # page and candidates (pool, request)
        ("left", "i4"),  # impressions of the page still to come
        ("stream", "i4"),  # cloud: videos looked at so far in this life
        ("recalls", "i4"),  # cloud: sets of them stored so far in this life
        ("stored", "i4"),  # cloud: videos of the present set, 0 if the session has none yet
        ("arrived", "i4"),  # cloud: further videos looked at in this session
        ("joined", "i4"),  # cloud: the impression at which it last looked at any
        ("waiting", "i2"),  # videos of the response that waits beside the pool
        ("quiet", "i2"),  # next_one: impressions since a policy that waits for so many was asked, -1 after feedback
        ("preload", "i4"),  # player: next to preload, or NOBODY
        ("goal", "i8"),  # player: bytes of the video on screen to hold before pausing
        ("ttl_at_us", "i8"),  # next expiry
        # request (request)
        ("request", "i4"),  # number in this life; of the outstanding one or the last one
        ("attempt", "i4"),
        ("request_state", "i1"),
        ("refresh", "i1"),  # the policy asked for it: it takes over on arrival
        # model (population, pool, events): its version that ranks now, the newest there, the last request's
        *((name, "i1") for name in ("model", "model_held", "model_sent")),
        # decision (next_one, events); cold: the first one since the app opened or a new version came is to come
        ("cold", "i1"),
        ("ranking", "i1"),  # one is being computed; 2: and another one is asked for
        ("page_wanted", "i1"),  # and it asks for a page
        ("cut", "i1"),  # session: the run's end came during a session
        ("arm", "i1"),  # impression: the row of `World.params` that this session lives by
        # request (request)
        ("sent_us", "i8"),
        ("arrived_us", "i8"),  # at the server
        ("queue_us", "i8"),
        ("service_us", "i8"),
        ("response_us", "i8"),  # first byte back on the phone
        ("give_up_us", "i8"),
        ("retry_us", "i8"),
        ("payload_left", "i4"),
        ("model_at_us", "i8"),  # model: the CDN sends it from then on
        ("model_left", "i4"),  # model: bytes of the model's current version still to download
        # decision (next_one, screen)
        ("ready_us", "i8"),
        ("encoded_us", "i8"),  # when a model's encoder has taken in the newest behaviour; it has the older ones
        # books, over this life (clock, player, pool, request, session; checked by ledger)
        ("ledger_us", "i8", (7,)),
        ("wall_us", "i8"),
        *((name, "i8") for name in ("delivered", "watched", "wasted", "cancelled")),
        ("data_bytes", "i8"),  # bytes of pages and models: all that is not video
        ("served", "i4"),
        ("shown", "i4"),
        ("expired", "i4"),
        ("dropped", "i4"),
        ("unseen", "i4"),
        ("inferences", "i4"),
        ("overdue", "i4"),  # shown after expiry: 0 unless client.expired_offline = serve
        ("cloud_person", "f4"),  # cloud: its lasting estimate of `person`
        ("generation_us", "i8"),  # cloud: since when the newer memory of what was shown is kept
    ],
    align=True,
)

IMPRESSION = np.dtype(
    [
        ("user", "i4"),
        ("session", "i4"),
        ("impression", "i4"),
        ("video", "i4"),
        ("request", "i4"),  # number of the request that brought it
        ("stay_logit", "f4"),  # hidden from policies; unitless
        ("mood", "f4"),  # hidden; logit, part of it
        ("intent", "f4"),  # hidden; logit, part of it: what passes by itself draws to this video
        ("buffered", "i4"),  # bytes held when it took the screen
        ("bitrate_bps", "i4"),
        ("meeting", "u2"),
        ("stalls", "i2"),
        ("rank", "u1"),
        ("position", "u1"),  # in the page, from 0; impressions beyond the page repeat the last
        ("live", "u1"),  # candidates to choose from
        ("outcome", "u1"),  # bits VALID to CUT
        ("feedback", "u1"),  # bit k: config.FEEDBACK[k]
        ("late", "u1"),  # shown after expiry
        ("start_us", "i8"),  # takes the screen
        ("wait_us", "i8"),  # before it: no page to show
        ("pick_us", "i8"),  # before it: inference after a wait; part of startup
        ("swipe_us", "i8"),  # before it
        ("startup_us", "i8"),
        ("play_us", "i8"),
        ("target_us", "i8"),  # content the person would watch without stalls; hidden
        ("stall_us", "i8"),
        ("browse_us", "i8"),
        ("away_us", "i8"),
        ("bytes", "i8"),  # fetched of it, in all
        ("total_bytes", "i8"),
    ],
    align=True,
)

SLOT = np.dtype(
    [
        ("arrived_us", "i8"),
        ("video", "i4"),
        ("buffered", "i4"),  # bytes
        ("arrived_at", "u2"),  # impression number on arrival, modulo 2**16
        ("request", "u2"),  # request number, modulo 2**16
        ("meeting", "u2"),
        ("place", "u2"),  # in the cloud's set for the session
        ("score", "f4"),  # by which the cloud ranked it
        ("pxtr", "i2", (len(PXTR),)),
        ("rank", "u1"),  # DEAD: empty
        ("order", "u1"),  # in the last finished ranking; UNRANKED if none saw it
        ("next_order", "u1"),  # in the ranking being computed
        ("bitrate", "i1"),  # index, -1 before the first byte is asked for
    ],
    align=True,
)

WAITING_VIDEO = np.dtype(
    [
        ("video", "i4"),
        ("buffered", "i4"),
        ("score", "f4"),
        ("meeting", "u2"),
        ("place", "u2"),
        ("pxtr", "i2", (len(PXTR),)),
        ("bitrate", "i1"),
    ],
    align=True,
)
"""Of the page that was ranked last, best first, from service until it takes over; `pxtr`: as the cloud shipped it."""

PAST = np.dtype(
    [
        ("video", "i4"),
        ("start_ms", "u4"),
        ("play_ms", "u4"),
        ("pxtr", "i2", (len(PXTR),)),
        ("feedback", "u1"),
        ("position", "u1"),
    ],
    align=True,
)

BEHAVIOUR = np.dtype([("end_us", "i8"), ("video", "i4"), ("valid", "i1")], align=True)
"""One the cloud has not seen yet, and whether it was a valid play."""

MIND = np.dtype([("taste", "f4", (DIMS,)), ("intent", "f4", (DIMS,)), ("satiety", "f4", (DIMS,))], align=True)
"""What draws a person to content, by dimension: for good, for a while; and the content seen of late, fading."""

LEVEL, MOOD, INTENT, BELIEFS = 0, 1, 2, 2 + DIMS
"""Rows of a belief: the error of the lasting estimate of the person, the mood, the intent's first; how many."""
BELIEF = np.dtype(
    [
        ("at_us", "i8"),  # it stands for this moment
        ("taste", "f4", (DIMS,)),  # lasting estimate
        ("expected", "f4", (BELIEFS,)),
        ("cov", "f4", (BELIEFS * (BELIEFS + 1) // 2,)),  # lower triangle, row by row
    ],
    align=True,
)
"""What the cloud believes of a person: a Gaussian over what it has to learn from behaviour."""

STORED = np.dtype([("video", "i4"), ("lasting", "i2"), ("rest", "i2")], align=True)
"""A video of the set that a session is served from. video: its number, and SHOWN and TOLD; lasting: the cloud's lasting
estimate of staying, in 1/1000 logit; rest: what its predicted feedback adds to the score, in 1/32767."""
ID, SHOWN, TOLD = (1 << 24) - 1, 1 << 24, 1 << 25
"""Of `STORED.video`: the video's number / it was shown / and the cloud has been told."""

VIDEO = np.dtype(
    [
        ("duration_us", "i8"),
        ("quality", "f4"),  # logit, with length
        ("appeal", "f4"),  # log odds of feedback
        ("popularity", "i4"),  # impressions in the log
        ("author", "i4"),
        ("tag", "i2"),
        ("tag2", "i2"),  # = tag when there is one only
    ],
    align=True,
)

INDEXED = np.dtype(
    [
        ("embedding", "f4", (DIMS,)),
        ("quality", "f4"),  # logit, with length
        ("skip_long", "f4"),  # chance that who leaves early has played it long
        ("watch_long", "f4"),  # logit of the same of who stays, at neutral odds of staying
        ("appeal", "f4", (len(PXTR) - FIRST_OF_FEEDBACK,)),  # factor of each kind of feedback, errors included
    ],
    align=True,
)
"""A video as the cloud knows it, in one line of memory: all that retrieval and ranking read."""

KNOT = np.dtype([("t_us", "i8"), ("bytes", "i8")], align=True)
"""A trace is its cumulative byte curve: piecewise linear between integer knots."""

REQUEST = np.dtype(
    [
        ("user", "i4"),
        ("session", "i4"),
        ("request", "i4"),
        ("attempt", "i4"),
        ("outcome", "i1"),
        ("refresh", "i1"),
        ("model", "i1"),  # version on the phone that asked
        ("sent_us", "i8"),
        ("arrived_us", "i8"),
        ("queue_us", "i8"),
        ("service_us", "i8"),
        ("response_us", "i8"),
        ("ended_us", "i8"),  # landed, given up, or person gone
    ],
    align=True,
)

SESSION = np.dtype(
    [
        ("user", "i4"),
        ("session", "i4"),
        ("impressions", "i4"),
        ("cut", "i1"),  # ended by the run, not by the person
        ("dry", "i1"),  # ended while waiting for a page
        ("satisfaction", "f4"),
        ("mood", "f4"),  # hidden from policies; logit
        ("open_us", "i8"),
        ("close_us", "i8"),
    ],
    align=True,
)

Array = NDArray[Any]


def blank(shape: int | tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Zeroed rows. Without compilation rows must have attributes too: then they are record arrays."""
    rows = np.zeros(shape, dtype)
    return rows.view(np.recarray) if numba.config.DISABLE_JIT else rows  # type: ignore[attr-defined]


class Person(NamedTuple):
    """The rows of one person, which travel together through the compiled model: one row of each array of `World`."""

    user: Any  # USER
    screen: Any  # IMPRESSION
    pool: Any  # (P,) SLOT
    waiting: Any  # (C,) WAITING_VIDEO
    history: Any  # (H,) PAST
    behaviours: Any  # (L,) BEHAVIOUR
    mind: Any  # MIND
    belief: Any  # BELIEF
    stored: Any  # (R,) STORED
    seen: Any  # (2, B) uint8, or (2, 0)


class World(NamedTuple):
    """The arrays that the compiled model works on."""

    params: Array  # (A,) config.PARAMS_DTYPE: of each arm; one, but in an A/B test
    arms: Array  # (N, T) int8: the arm of each person in each period of `params.period_us`, the last one without end
    key: Array  # (N, 2) uint32: of each row, the same for all but in environments
    users: Array  # (N,) USER
    screen: Array  # (N,) IMPRESSION: the one on screen
    pool: Array  # (N, P) SLOT
    waiting: Array  # (N, C) WAITING_VIDEO
    history: Array  # (N, H) PAST, a ring: impression n in row n % H
    behaviours: Array  # (N, L) BEHAVIOUR, a ring
    mind: Array  # (N,) MIND
    belief: Array  # (N,) BELIEF
    stored: Array  # (N, R) STORED
    seen: Array  # (N, 2, B) uint8: bit v of what was shown, newer and older; B = 0 if no video can come twice in time
    videos: Array  # (V,) VIDEO
    content: Array  # (V, DIMS) float32, centred and white over the catalogue
    indexed: Array  # (V,) INDEXED
    knots: Array  # (K,) KNOT
    trace_first: Array  # (T + 1,) int64
    trace_mean_bps: Array  # (T,) float64
    link_traces: Array  # (8, 2) int64: first and one past the last trace of each link class
    link_levels: Array  # (8, Q) float64, bit/s by rising probability; 0: the trace as it is
    rtt: Array  # (2, 2, R) float64: level us and jitter ratio, for chance.tailed_quantile
    propensities: Array  # (6, Q) float64: quantiles of the chance of each feedback
    pace: Array  # (K,) float64: `population.pace_table`
    activity: Array  # (25,) float64: share of a day's opens before each hour
    queue_waits: Array  # (W,) int64 us by rising probability; (0,) if the driver answers requests
    impressions: Array  # (T, M) IMPRESSION log, one part per thread
    requests: Array  # (T, M) REQUEST log
    sessions: Array  # (T, M) SESSION log
    logged: Array  # (T, 3) int64: rows used of the three
    moments: Array  # (M,) records.MOMENT
    traced: Array  # (2,) int64: the person traced (-1: nobody), rows used
    earlier: Array = np.zeros((0, DIMS), np.float32)  # (V, DIMS): embeddings of a model's version before, if others


@pasted
def person_of(w, i):
    """Person i's rows."""
    return Person(
        w.users[i], w.screen[i], w.pool[i], w.waiting[i], w.history[i], w.behaviours[i], w.mind[i], w.belief[i],
        w.stored[i], w.seen[i],
    )  # fmt: skip
