"""Building a world: a scenario, a seed and a replication become the arrays of `state.World`."""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq

from nextone.sim.engine.chance import tailed_table, world_key
from nextone.sim.inputs.round_trips import level_and_jitter, redrawn_pings, shipped_pings
from nextone.sim.inputs.scenario_paths import stamps
from nextone.sim.inputs.trace_files import read_pings, read_traces
from nextone.sim.inputs.traces import Traces, bandwidth_tests, constant_trace, shipped_traces, synthetic_traces

from .catalogue import in_lines, make_catalogue
from .config import FREE, LINK_CLASSES, NEVER_US, PARAMS_DTYPE, Cost, Phone, Scenario
from .data import open_data
from .population import draw_people, pace_table, propensity_tables
from .records import MOMENT
from .scenario import SettingError
from .session import SESSION_GAP_US
from .state import (
    BEHAVIOUR,
    BELIEF,
    IMPRESSION,
    KNOT,
    MIND,
    PAST,
    REQUEST,
    SESSION,
    SLOT,
    STORED,
    USER,
    WAITING_VIDEO,
    Array,
    World,
    blank,
)

LEVELS = {"wifi4": "wifi4", "wifi5": "wifi5", "wifi6": "wifi6", "4g": "4G", "5g": "5G"}  # class: bts level
SYNTHETIC_S = 600  # length of a generated trace


class Links(NamedTuple):
    """What `Network` says of links, as arrays of `World`."""

    knots: Array
    trace_first: Array
    trace_mean_bps: Array
    link_traces: Array
    link_levels: Array
    rtt: Array


_links: dict[str, Links] = {}


def make_links(scenario: Scenario) -> Links:
    """Traces and levels of each link class. Raises TraceError for a user's bad files."""
    network = scenario.network
    known_as = f"{network.model_dump_json()} {stamps(scenario)}"  # a user's files may change between two runs
    cached = _links.get(known_as)
    if cached is not None:
        return cached
    levels = np.zeros((len(LINK_CLASSES), 513))
    if network.constant_mbps > 0:
        traces: Traces = constant_trace(network.constant_mbps)
        spans = [range(1)] * len(LINK_CLASSES)
    elif network.traces:
        traces = read_traces(network.traces, network.link_columns)
        spans = [range(len(traces.mean_bps))] * len(LINK_CLASSES)
    elif network.synthetic_traces > 0:
        n = network.synthetic_traces
        traces = synthetic_traces(n, SYNTHETIC_S, network.synthetic_mbps, network.synthetic_cv, 1)
        spans = [range(n)] * len(LINK_CLASSES)
    else:
        traces, groups = shipped_traces(network.trace_seed)
        spans = [groups["steady" if name in LEVELS else name] for name in LINK_CLASSES]
        tests = bandwidth_tests()
        for k, name in enumerate(LINK_CLASSES):
            if name in LEVELS:
                levels[k] = np.quantile(np.maximum(tests[LEVELS[name]], 0.1) * 1e6, np.linspace(0, 1, levels.shape[1]))
    knots = blank(len(traces.t_us), KNOT)
    knots["t_us"], knots["bytes"] = traces.t_us, traces.cum_bytes
    if network.rtt:
        pings = read_pings(network.rtt, network.link_columns)
    else:
        pings = redrawn_pings(shipped_pings(), network.trace_seed)
    rtt = np.stack([tailed_table(sample) for sample in level_and_jitter(pings)])
    ends = np.array([[span.start, span.stop] for span in spans], dtype=np.int64)
    links = Links(knots, traces.first, traces.mean_bps, ends, levels, rtt)
    if len(_links) > 8:
        _links.clear()
    _links[known_as] = links
    return links


@cache
def activity_shape() -> Array:
    """Share of a day's opens before each full hour, (25,). Source: KuaiRand-Pure main feed, UTC+8."""
    with open_data("kuairand/hours.parquet") as file:
        share = pq.read_table(file)["share"].to_numpy()
    return np.concatenate([[0.0], np.cumsum(share / share.sum())])


def run_params(scenario: Scenario, edge: bool, cost: Cost, instant: bool) -> Array:
    """The record that the compiled model reads, (1,) config.PARAMS_DTYPE: the scenario's numbers, its choices as flags,
    and what this run makes of them. See `build_world` for the arguments."""
    client = scenario.client
    params = blank(1, PARAMS_DTYPE)
    params[:] = scenario.params()
    params["merge"] = client.on_refill == "merge"
    params["decide_at_start"] = client.decide_at == "start"
    params["ask_at_swipe"] = client.ask_at == "swipe"
    params["serve_expired"] = client.expired_offline == "serve"
    params["refetch_us"] = round(params["buffer_us"][0] * scenario.player.refetch_share)
    params["edge"] = edge and scenario.server.candidates > 1
    charge(params, scenario.phone, cost if params["edge"][0] and not instant else FREE)
    if instant:
        params["inference_us"] = 0
    return params


def charge(params: Array, phone: Phone, cost: Cost) -> None:
    """Write into `params` what a policy of this cost takes of phones: time where the scenario leaves it open (-1), and
    bytes likewise. A policy without a cost of its own is a rule. It ships nothing and loads nothing, and takes time
    only if the scenario says so."""
    left_open = np.array(phone.inference_ms) < 0
    params["inference_us"] = np.where(left_open, np.rint(cost.time * params["reference_us"]), params["inference_us"])
    if left_open.any():
        params["inference_min_us"] = round(cost.time * params["inference_min_us"][0])
    if params["model_bytes"][0] < 0 or cost.bytes == 0:
        params["model_bytes"] = cost.bytes
    if cost.time == 0:
        params["cold_start"], params["contention"] = 1.0, 0.0


def may_repeat(scenario: Scenario, days_us: int | None) -> bool:
    """Whether retrieval may meet a video twice in a run, so that what was shown must be remembered. days_us: length of
    a run in which people come back, None where each has one session.

    A session looks at `server.recall` videos, again if it uses up what was stored; sessions are half an hour apart."""
    server = scenario.server
    sessions = 8 if days_us is None else 8 + days_us // SESSION_GAP_US
    arrivals = server.arrivals_per_min * (1440.0 if days_us is None else days_us / 6e7)
    return bool(server.recall * sessions + arrivals > scenario.catalogue.videos)


def _room(scenario: Scenario, ranks: bool) -> tuple[int, int, int]:
    """Slots of the pool, videos of a response, and behaviours that a design needs room for. ranks: on the phone."""
    server = scenario.server
    shipped = server.candidates if ranks else server.page_size
    slots = scenario.pool_slots - server.candidates + shipped
    return slots, shipped + scenario.client.refill_at, scenario.behaviour_slots


def ask_after(world: World, quiet: int) -> None:
    """Ask the policy, from now on, only after feedback, or after so many impressions without any (0: always)."""
    if world.params["edge"][0]:  # with nothing to rank nobody is asked
        world.params["quiet"] = quiet


def _own_copy(index: Array) -> Array:
    """Of this world alone, since its cloud learns; read-only to all who do not."""
    mine = in_lines(len(index))
    mine[:] = index
    mine.setflags(write=False)
    return mine


class Design(NamedTuple):
    """What people of one arm live by: a scenario, and of what ranks on the phone whether anything does and its cost."""

    scenario: Scenario
    edge: bool
    cost: Cost = FREE


class Arms(NamedTuple):
    """People of several arms in one world: designs beside the first, and who lives by which."""

    others: Sequence[Design]
    of: Array  # (N, T) int8: each person's design in each period, 0 the first; sessions keep that of their opening
    period_us: int = NEVER_US  # length of a period, the last one without end


def build_world(
    scenario: Scenario,
    *,
    edge: bool,
    seed: int,
    cost: Cost = FREE,
    instant: bool = False,
    replication: int = 0,
    window_us: int,
    days: bool = False,
    log_rows: int = 1 << 14,
    parts: int = 1,
    queue_waits: Array | None = None,
    traced: int = -1,
    drawn: bool = True,
    arms: Arms | None = None,
) -> World:
    """The world before anybody opens the app.

    edge: whether a policy ranks on the phone (False: cloud_only). With one candidate there is nothing to rank.
    cost: of that policy, for phones.
    instant: whether decisions take no time, whatever the phone.
    log_rows: rows of each part of the three logs between two collections (0: no logs). parts: one per thread.
    queue_waits: waits in the server's queue by rising probability, us; None if the driver answers requests itself.
    traced: the person whose every moment is noted (-1: nobody).
    drawn: whether people are drawn; otherwise their rows are blank, for who fills them one by one.
    arms: people of several designs; None: all of this one. What those differ in must be read from `World.params`.

    Raises SettingError where the cloud is to learn from everybody and each person lives alone.
    """
    n, server = scenario.population.users, scenario.server
    if server.pool_min and queue_waits is not None:
        raise SettingError(
            f"server.pool_min={server.pool_min:g}: the cloud learns from everybody only where people share servers, as "
            "in nextone compare, sweep and ab; set it to 0"
        )
    videos = make_catalogue(scenario)
    links = make_links(scenario)
    designs = (Design(scenario, edge, cost), *(arms.others if arms else ()))
    params, rooms = blank(len(designs), PARAMS_DTYPE), []
    for k, design in enumerate(designs):
        params[k : k + 1] = run_params(*design, instant)
        rooms.append(_room(design.scenario, bool(params["edge"][k])))
    params["period_us"] = arms.period_us if arms else NEVER_US
    slots, waiting, behaviours = np.max(rooms, axis=0).tolist()
    remembered = -(-len(videos.videos) // 8) if may_repeat(scenario, window_us if days else None) else 0
    world = World(
        params=params,
        arms=arms.of.astype(np.int8) if arms else np.zeros((n, 1), np.int8),
        key=np.tile(world_key(seed, replication), (n, 1)),
        users=blank(n, USER),
        screen=blank(n, IMPRESSION),
        pool=blank((n, slots), SLOT),
        waiting=blank((n, waiting), WAITING_VIDEO),
        history=blank((n, scenario.client.history), PAST),
        behaviours=blank((n, behaviours), BEHAVIOUR),
        mind=blank(n, MIND),
        belief=blank(n, BELIEF),
        stored=blank((n, server.kept), STORED),
        seen=np.zeros((n, 2, remembered), np.uint8),
        videos=videos.videos,
        content=videos.content,
        indexed=_own_copy(videos.indexed) if server.pool_min else videos.indexed,
        knots=links.knots,
        trace_first=links.trace_first,
        trace_mean_bps=links.trace_mean_bps,
        link_traces=links.link_traces,
        link_levels=links.link_levels,
        rtt=links.rtt,
        propensities=propensity_tables(scenario),
        pace=pace_table(scenario, videos.videos["duration_us"]),
        activity=activity_shape().copy(),
        queue_waits=np.zeros(0, np.int64) if queue_waits is None else queue_waits,
        impressions=blank((parts, log_rows), IMPRESSION),
        requests=blank((parts, log_rows), REQUEST),
        sessions=blank((parts, log_rows), SESSION),
        logged=np.zeros((parts, 3), np.int64),
        moments=blank(200_000 if traced >= 0 else 0, MOMENT),
        traced=np.array([traced, 0], dtype=np.int64),
        earlier=videos.earlier,
    )
    world.users["user"] = np.arange(n)
    if drawn:
        draw_people(world, window_us, days)
    return world
