"""Every field of the scenario moves a metric in its stated direction: monotone under shared draws.

A field that moves nothing has no business in the scenario. Each row of the table runs a small world at two settings
with the same people and luck, in three replications; `quantity` is a metric's name or a function of the run.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
from quantities import (
    alike_in_a_row,
    alike_starts,
    authors_shown,
    beyond_the_end_s,
    first_bitrate,
    hours_between_sessions,
    like_ratio,
    like_ratio_of_completions,
    like_ratio_of_skips,
    liked_appeal,
    liked_logit,
    longest_waits_s,
    looped,
    mean_of,
    new_to_the_person,
    one_author,
    same_tag_after,
    sessions_each,
    share,
    shown_durations,
    spread_beyond_the_end,
    spread_of_choosiness,
    spread_of_intents,
    spread_of_likes,
    spread_of_skips,
    spread_of_valid_play,
    switches,
)

from nextone.envs.features import C, H, X
from nextone.experiments.runs.metrics import METRICS, Run
from nextone.experiments.runs.replication import run_arm
from nextone.sim.config import FEEDBACK, Scenario
from nextone.sim.scenario import with_settings

NAMED = {metric.name: metric.of for metric in METRICS}
BASE = ["population.users=100", "catalogue.videos=7248"]
MINUTES = 20.0

# Worlds that several rows share.
SOME_TRACES = "network.synthetic_traces=5"
SLOW = "network.constant_mbps=0.7"
HAPPY = "watching.stay=5"
CELLULAR = "network.shares=[0,0,0,1,0,0,0,0]"
SYNTHETIC = "catalogue.kind=synthetic"
LONG_VIDEOS = [SYNTHETIC, "catalogue.duration_log_mean=6"]
NO_PRELOAD = "player.preload_videos=0"
UNKNOWN = ["server.quality_correlation=0", "population.taste_sd=0", "population.match_sd=0", "interests.intent_sd=3",
           "server.assumed_intent_sd=3", "server.filter_use=1", "server.feature_lag_s=0"]  # fmt: skip
ONLY_INTENT = ["population.person_sd=0", "population.taste_sd=0", "population.match_sd=0", "interests.mood_sd=0",
               "catalogue.tag_share=1", "catalogue.author_share=0", "server.filter_use=0", "catalogue.videos=600"]
FEW = ["server.recall=60", "server.kept=30"]
AWAKE = [CELLULAR, NO_PRELOAD]
LEAVES_SOON = "sessions.leave_per_min=0.3"
NEAR_BY = "network.constant_mbps=inf"  # a start takes a round trip
ALL_OLD = ["phone.no_model=0", "phone.old_model=1"]
FOR_LIKES = ["server.objective=[0,0,1,0,0,0,0]", "feedback.like=0.1"]
COME_BACK = ["sessions.gap_hours=0.6", "sessions.gap_log_sd=0", "population.users=40"]


class Noting:
    """The server's order, as a policy that notes what it observes."""

    def __init__(self, what: Callable, downloaded: bool = False) -> None:
        self.what, self.downloaded, self.seen = what, downloaded, []

    def start(self, n):
        self.seen.clear()

    def __call__(self, observation, memory):
        self.seen.append(self.what(observation))
        return -observation.candidates[..., C.rank], None


past_seen = Noting(lambda o: o.history[..., H.present].sum(1).mean())
encoded = Noting(lambda o: o.history[..., H.encoded].sum() / max(o.history[..., H.present].sum(), 1))
a_model = Noting(lambda o: o.context[:, X.old_model].mean(), downloaded=True)
embedded = Noting(lambda o: np.abs(o.candidates[o.mask][:, C.embedding_0 :][:, :8]).mean(), downloaded=True)
predicted = Noting(lambda o: o.candidates[..., C.pevtr][o.mask > 0].mean())


def noted(run: Run) -> float:
    return float(np.mean(NOTES[run.scenario].seen))


def spread_of_sessions(run: Run) -> float:
    return float(np.bincount(run.records.sessions["user"], minlength=len(run.world.users)).std())


def minutes_of_the_quick(run: Run) -> float:
    """How long the sessions of the half of people who stay least with videos are, min."""
    rows, person = run.records.sessions, run.world.users["person"]
    quick = rows[person[rows["user"]] < np.median(person)]
    return float((quick["close_us"] - quick["open_us"]).mean() / 6e7)


class Row(NamedTuple):
    """A field at two settings; what moves, and which way when the field goes from low to high."""

    low: str
    high: str
    quantity: str | Callable[[Run], float]
    direction: str  # "up", "down" or "differs"
    settings: list[str] = []  # noqa: RUF012 (nobody changes it)
    policy: object = "cloud_only"
    engine: str = "batch"
    minutes: float | None = MINUTES
    days: float | None = None


FIELDS: dict[str, Row] = {
    # catalogue
    "catalogue.kind": Row("kuairand", "synthetic", lambda r: shown_durations(r).mean(), "up",
                          ["catalogue.duration_log_mean=6"]),
    "catalogue.videos": Row("50", "7248", lambda r: len(np.unique(r.whole["video"])), "up"),
    "catalogue.catalogue_seed": Row("1", "2", "watch_s", "differs"),
    "catalogue.quality_sd": Row("0.1", "3", "valid_play", "up"),
        "catalogue.author_quality": Row("0", "1", one_author, "up", [SYNTHETIC, "catalogue.authors=50"]),
    "catalogue.tag_quality": Row("0", "3", "tag_entropy", "down"),
    "catalogue.appeal_sd": Row("0", "2", liked_appeal, "up", ["feedback.like=0.1"]),
    "catalogue.tags": Row("2", "43", "tags", "up", [SYNTHETIC]),
    "catalogue.authors": Row("10", "20000", authors_shown, "up", [SYNTHETIC]),
    "catalogue.author_zipf": Row("0", "0.95", authors_shown, "down", [SYNTHETIC]),
    "catalogue.content_dims": Row("1", "8", "valid_play", "up", UNKNOWN),
    "catalogue.tag_share": Row("0", "0.8", "tag_entropy", "down", ["population.taste_sd=2"]),
    "catalogue.author_share": Row("0", "1", one_author, "up", [SYNTHETIC, "catalogue.authors=50",
                                                               "catalogue.tag_share=0", "population.taste_sd=4"]),
    "catalogue.duration_log_mean": Row("2", "5", "completion", "down", [SYNTHETIC]),
    "catalogue.duration_log_sd": Row("0.1", "2", lambda r: np.log(shown_durations(r)).std(), "up", [SYNTHETIC]),
    # population
    "population.users": Row("20", "100", "utilisation", "up", ["server.workers=4"], engine="event"),
    "population.person_sd": Row("0", "3", spread_of_valid_play, "up"),
    "population.taste_sd": Row("0", "3", "tag_entropy", "down"),
    "population.taste_spread": Row("0", "2", spread_of_choosiness, "up", policy="random"),
    "population.match_sd": Row("0", "3", "valid_play", "up"),
    "population.past_impressions": Row("100", "100000", lambda r: r.world.users["past_impressions"].mean(), "up"),
    # interests
    "interests.mood_sd": Row("0", "3", spread_of_valid_play, "up"),
    "interests.mood_hours": Row("0.1", "1000", alike_in_a_row, "up",
                                [*COME_BACK, "population.person_sd=0", "interests.mood_sd=3"], minutes=None, days=0.5),
    "interests.intent_sd": Row("0", "3", same_tag_after, "up", ONLY_INTENT),
    "interests.intent_half_life_min": Row("0.1", "1000", "valid_play", "up", UNKNOWN),
    "interests.reinforcement": Row("0", "2", spread_of_intents, "up", ["interests.intent_sd=0.1"]),
    "interests.satiation": Row("0", "1", "valid_play", "down"),
    "interests.satiation_s": Row("1", "1e6", "valid_play", "down", ["interests.satiation=0.5"]),
    # watching
    "watching.stay": Row("-5", "3", "valid_play", "up"),
    "watching.stay_shorter": Row("0", "3", "valid_play", "down"),
    "watching.stay_longer": Row("-3", "1", "valid_play", "up", LONG_VIDEOS),
    "watching.dead_time_s": Row("0", "3", "skip_2s", "down"),
    "watching.dead_time_log_sd": Row("0", "2", "skip_2s", "up", ["watching.dead_time_s=3"]),
    "watching.skip_log_mean": Row("0", "3", "skip_2s", "down"),
    "watching.skip_log_sd": Row("0.1", "2", "skip_2s", "up", ["watching.stay=-20"]),
    "watching.skip_log_slope": Row("0", "1", spread_of_skips, "up"),
    "watching.watch_log_mean": Row("1", "5", "long_view", "up"),
    "watching.watch_log_sd": Row("0.1", "3", "long_view", "down",
                                 ["watching.stay=20", "watching.watch_log_slope=0",
                                  "watching.watch_log_mean=3.83"]),
    "watching.watch_log_slope": Row("0", "1", "long_view", "up", ["watching.stay=3", "watching.watch_log_mean=2"]),
    "watching.loop": Row("0", "0.9", looped, "up"),
    "watching.loop_log_mean": Row("0", "4", looped, "up"),
    "watching.loop_log_sd": Row("0", "2", spread_beyond_the_end, "up", ["watching.loop=1"]),
    "watching.react_log_mean": Row("-1", "1", lambda r: np.median(beyond_the_end_s(r)), "up", ["watching.loop=0"]),
    "watching.react_log_sd": Row("0", "2", spread_beyond_the_end, "up", ["watching.loop=0"]),
    "watching.most_rounds": Row("0", "20", looped, "up"),
    # feedback
    **{f"feedback.{kind}": Row("0.001", "0.3", kind, "up") for kind in FEEDBACK[:5]},
    "feedback.profile": Row("0.001", "0.3", share(1 << FEEDBACK.index("profile"), "feedback"), "up"),
    "feedback.skip_ratio": Row("0.2", "2", like_ratio_of_skips, "up", ["feedback.like=0.1", "feedback.match_slope=0"]),
    "feedback.long_ratio": Row("1", "20", like_ratio, "up", ["feedback.like=0.1", "feedback.match_slope=0"]),
    "feedback.complete_ratio": Row("1", "8", like_ratio_of_completions, "up",
                                   ["feedback.like=0.1", "feedback.match_slope=0"]),
    "feedback.match_slope": Row("0", "3", liked_logit, "up", ["feedback.like=0.1", "feedback.long_ratio=1"]),
    "feedback.usual_match": Row("0", "6", "like", "down", ["feedback.match_slope=0.5"]),
    "feedback.user_icc": Row("0.01", "0.9", spread_of_likes, "up", ["feedback.like=0.2"]),
    "feedback.browse": Row("0", "1", mean_of("browse_us"), "up"),
    "feedback.browse_log_mean": Row("0", "4", mean_of("browse_us"), "up"),
    "feedback.browse_log_sd": Row("0", "3", mean_of("browse_us"), "up", ["feedback.browse=0.5"]),
    # sessions
    "sessions.start_hour": Row("0", "18", lambda r: r.records.sessions["open_us"].mean(), "down", minutes=720.0),
    "sessions.warm_up_min": Row("0", "20", "utilisation", "up", ["server.workers=4"], engine="event", minutes=40.0),
    "sessions.leave_per_min": Row("0.05", "1", "session_min", "down"),
    "sessions.leave_pace": Row("0", "2", minutes_of_the_quick, "down", ["sessions.leave_per_min=0.3"]),
    "sessions.leave_satisfaction": Row("0", "5", "watch_s", "up", [HAPPY, "sessions.leave_per_min=0.3"]),
    "sessions.satisfaction_memory": Row("0", "0.99", "session_min", "down",
                                        [HAPPY, "sessions.leave_per_min=1", "sessions.leave_satisfaction=3"]),
    "sessions.stall_pain": Row("0", "10", "session_min", "down", [SLOW, "sessions.leave_per_min=0.3"]),
    "sessions.stall_felt_s": Row("0", "100", "session_min", "down", [SLOW, LEAVES_SOON]),
    "sessions.usual_valid_play": Row("0", "1", "session_min", "down", [LEAVES_SOON]),
    "sessions.completion_joy": Row("0", "5", "session_min", "up", [LEAVES_SOON]),
    "sessions.like_joy": Row("0", "10", "session_min", "up", [LEAVES_SOON, "feedback.like=0.3"]),
    "sessions.hate_pain": Row("0", "10", "session_min", "down", [LEAVES_SOON, "feedback.hate=0.3"]),
    "sessions.most_pain": Row("0", "20", "session_min", "down", [LEAVES_SOON, SLOW, "sessions.stall_pain=5"]),
    "sessions.stall_patience_s": Row("0.1", "100", "stall_ratio", "up", [SLOW]),
    "sessions.wait_patience_s": Row("0.1", "100", lambda r: r.records.sessions["dry"].mean(), "down"),
    "sessions.away": Row("0", "0.5", mean_of("away_us"), "up"),
    "sessions.away_s": Row("1", "300", mean_of("away_us"), "up", ["sessions.away=0.2"]),
    "sessions.gap_hours": Row("0.6", "6", sessions_each, "down", ["population.users=20"], minutes=None, days=1.0),
    "sessions.activity_log_sd": Row("0", "1.5", spread_of_sessions, "up", minutes=None, days=0.5),
    "sessions.gap_log_sd": Row("0", "2", lambda r: hours_between_sessions(r).std(), "up", ["population.users=20"],
                               minutes=None, days=2.0),
    "sessions.gap_satisfaction": Row("0", "5", sessions_each, "up",
                                     [HAPPY, "population.users=20", "sessions.gap_log_sd=0"],
                                     minutes=None, days=1.0),
    # network
    "network.shares": Row("[0,0,1,0,0,0,0,0]", "[0,0,0,0,0,0,0,1]", "stall_ratio", "up"),
    "network.traces": Row("FAST", "SLOW", "stall_ratio", "up"),
    "network.rtt": Row("NEAR", "FAR", "wait_ratio", "up"),
    "network.link_columns": Row('"mbps=fast"', '"mbps=slow"', "stall_ratio", "up", ["network.traces=EITHER"]),
    "network.trace_seed": Row("0", "1", "watch_s", "differs"),
    "network.constant_mbps": Row("0.6", "50", "stall_ratio", "down"),
    "network.synthetic_traces": Row("0", "5", "stall_ratio", "up", ["network.synthetic_mbps=0.5"]),
    "network.synthetic_mbps": Row("0.5", "50", "stall_ratio", "down", [SOME_TRACES]),
    "network.synthetic_cv": Row("0", "3", "stall_ratio", "up", [SOME_TRACES, "network.synthetic_mbps=2"]),
    "network.rtt_scale": Row("0", "30", "wait_ratio", "up"),
    "network.wifi_rtt_scale": Row("0", "30", "wait_ratio", "up", ["network.shares=[0,1,0,0,0,0,0,0]"]),
    "network.spell_share": Row("0", "0.5", alike_starts, "up", [*AWAKE, NEAR_BY, "network.spells_s=[600,600]"]),
    "network.spells_s": Row("[0.001,0.001]", "[600,600]", alike_starts, "up", [*AWAKE, NEAR_BY]),
    "network.loss": Row("0", "0.5", "timeout_rate", "up"),
    "network.outages_per_hour": Row("0", "200", "wait_ratio", "up", [CELLULAR]),
    "network.outage_s": Row("0.1", "100", "wait_ratio", "up", [CELLULAR, "network.outages_per_hour=100"]),
    "network.radio_wake_ms": Row("0", "5000", "startup_p50_ms", "up", [*AWAKE, "network.radio_idle_s=0.1"]),
    "network.radio_idle_s": Row("0.1", "1e5", "startup_p50_ms", "down", [*AWAKE, "network.radio_wake_ms=5000"]),
    # player
    "player.swipe_ms": Row("50", "2000", "stale_picks", "down", policy=a_model),
    "player.startup_s": Row("0.1", "5", "startup_p50_ms", "up", ["network.constant_mbps=3", NO_PRELOAD]),
    "player.rebuffer_s": Row("0.1", "5", mean_of("stalls"), "down", [SLOW]),
    "player.buffer_s": Row("1", "60", "wasted_mb", "up", ["network.constant_mbps=20"]),
    "player.preload_videos": Row("0", "5", "startup_p50_ms", "down"),
    "player.preload_s": Row("0", "10", "startup_p50_ms", "down"),
    "player.bitrates_mbps": Row("[0.3,0.3,0.3]", "[5,5,5]", "delivered_mb", "up"),
    "player.rate_safety": Row("0.1", "1", "delivered_mb", "up", ["network.constant_mbps=4"]),
    "player.rate_memory_bytes": Row("10000", "100000000", switches, "down", [SOME_TRACES, "network.synthetic_mbps=2"]),
    "player.recalled_videos": Row("0", "8", first_bitrate, "differs", [SOME_TRACES, "network.synthetic_mbps=2"]),
    "player.recalled_every_s": Row("0", "20", first_bitrate, "differs", [SOME_TRACES, "network.synthetic_mbps=2"]),
    "player.refetch_share": Row("0.05", "0.9", "wasted_mb", "up", ["network.constant_mbps=20"]),
    # client
    "client.ttl_s": Row("10", "inf", "expired", "down"),
    "client.ttl_impressions": Row("2", "inf", "expired", "down"),
    "client.refill_at": Row("0", "3", "waits_per_min", "down", ["server.chain_ms=4000"]),
    "client.on_refill": Row("replace", "merge", mean_of("live"), "up", ["server.recall=40", "server.kept=21"],
                            "server_score"),
    "client.decide_at": Row("swipe", "start", "stale_picks", "down", ["phone.inference_ms=500"], "server_score"),
    "client.ask_at": Row("start", "swipe", "waits_per_min", "up", ["client.refill_at=0"]),
    "client.expired_offline": Row("drop", "serve", "wait_ratio", "down",
                                  [CELLULAR, "network.outages_per_hour=100", "network.outage_s=60", "client.ttl_s=5"]),
    "client.timeout_s": Row("0.5", "30", "timeout_rate", "down"),
    "client.backoff_s": Row("0.01", "60", "wait_ratio", "up", ["network.loss=0.5", "sessions.wait_patience_s=1000"]),
    "client.backoff_doublings": Row("0", "8", "wait_ratio", "up",
                                    ["network.loss=0.5", "sessions.wait_patience_s=1000"]),
    "client.history": Row("1", "50", noted, "up", policy=past_seen),
    "client.uplink_loss": Row("0", "0.5", "samples", "down"),
    "client.uplink_s": Row("0", "36000", "samples", "down"),
    "client.sample_bytes": Row("100", "2000", "uplink_mb", "up", policy="server_score"),
    "client.event_bytes": Row("2000", "40000", "uplink_saved_mb", "up", policy="server_score"),
    "client.cdn_ms": Row("0", "600000", noted, "up", ALL_OLD, a_model),
    "client.cdn_hits": Row("0", "1", noted, "down", [*ALL_OLD, "client.origin_ms=600000"], a_model),
    "client.origin_ms": Row("0", "600000", noted, "up", [*ALL_OLD, "client.cdn_hits=0"], a_model),
    "client.model_bytes": Row("100000", "10000000", "data_mb", "up", policy=a_model),
    # server
    "server.page_size": Row("2", "12", "requests", "down"),
    "server.candidates": Row("6", "40", "unseen", "up", policy="server_score"),
    "server.workers": Row("1", "20", "queue_p95_ms", "down", engine="event"),
    "server.queue_limit": Row("0", "1000", "refusal_rate", "down", ["server.workers=1"], engine="event"),
    "server.service_ms": Row("100", "3000", "wait_ratio", "up"),
    "server.service_per_candidate_ms": Row("0", "300", "wait_ratio", "up"),
    "server.service_cv": Row("0", "1", longest_waits_s, "up"),
    "server.chain_ms": Row("0", "3000", "wait_ratio", "up"),
    "server.feature_lag_s": Row("0", "3600", "valid_play", "down", UNKNOWN),
    "server.recall": Row("60", "3000", "valid_play", "up", FEW),
    "server.kept": Row("30", "600", mean_of("meeting"), "down", ["server.arrivals_per_min=0"]),
    "server.arrivals_per_min": Row("0", "300", "valid_play", "up", FEW),
    "server.arrivals_every": Row("1", "100", "valid_play", "down", [*FEW, "server.arrivals_per_min=300"]),
    "server.repeat_after_days": Row("0", "1000", new_to_the_person, "up", [*COME_BACK, "server.recall=7248"],
                                    minutes=None, days=0.5),
    "server.objective": Row("[1,0,0,0,0,0,0]", "[0,0,1,0,0,0,0]", "like", "up", ["feedback.like=0.1"]),
    "server.filter_use": Row("0", "1", "valid_play", "up", UNKNOWN),
    "server.assumed_intent_sd": Row("0", "3", "valid_play", "up", UNKNOWN),
    "server.assumed_half_life_min": Row("0.01", "20", "valid_play", "up", UNKNOWN),
    "server.pool_min": Row("0", "1", "valid_play", "up",
                           ["server.quality_correlation=0", "catalogue.videos=1000", "catalogue.quality_sd=2"],
                           engine="event"),
    "server.quality_correlation": Row("0", "1", "valid_play", "up"),
    "server.person_correlation": Row("0", "1", lambda r: r.world.users["cloud_person"].std(), "up"),
    "server.embedding_correlation": Row("0", "1", "valid_play", "up", ["population.taste_sd=2"]),
    "server.taste_correlation": Row("0", "1", "valid_play", "up", ["population.taste_sd=2"]),
    "server.match_correlation": Row("0", "1", "valid_play", "up", ["population.match_sd=2"]),
    "server.pxtr_noise": Row("0", "5", "like", "down", FOR_LIKES),
    "server.pxtr_bias": Row("-2", "2", noted, "up", policy=predicted),
    "server.item_bytes": Row("0", "100000", "wait_ratio", "up", ["network.constant_mbps=4"]),
    "server.embedding_impressions": Row("0", "100000", "valid_play", "down", ["population.taste_sd=2"]),
    "server.version_gap": Row("0", "0.9", noted, "down", [*ALL_OLD, "server.embedding_impressions=100",
                                                          "client.model_bytes=1000000000"], embedded),
    "server.lookup_ms": Row("0", "3000", "wait_ratio", "up", policy="server_score"),
    "server.lookup_misses": Row("0", "0.5", "inferences", "down", policy="server_score"),
    "server.embedding_bytes": Row("0", "100000", "wait_ratio", "up", ["network.constant_mbps=8"], "server_score"),
    # phone
    "phone.shares": Row("[1,0,0,0]", "[0,0,0,1]", "stale_picks", "down", policy=a_model),
    "phone.inference_ms": Row("10", "600", "stale_picks", "up", policy="server_score"),
    "phone.reference_ms": Row("10", "600", "stale_picks", "up", policy=a_model),
    "phone.inference_min_ms": Row("0", "400", "stale_picks", "up", ["phone.inference_ms=400"], "server_score"),
    "phone.inference_log_sd": Row("0", "1", "stale_picks", "up", ["phone.inference_ms=150"], "server_score"),
    "phone.cold_start": Row("1", "100", "stale_picks", "up", [LEAVES_SOON], a_model),
    "phone.contention": Row("0", "3", "startup_p95_ms", "up", ["phone.reference_ms=900", NO_PRELOAD], a_model),
    "phone.perception_ms": Row("0", "1000", noted, "down", policy=encoded),
    "phone.no_model": Row("0", "0.8", "inferences", "down", ["client.model_bytes=100000000"], a_model),
    "phone.old_model": Row("0", "0.9", noted, "up", policy=a_model),
    "phone.software_decoder": Row("0", "1", "startup_p50_ms", "up", [NO_PRELOAD]),
    "phone.hardware_start_ms": Row("0", "2000", "startup_p50_ms", "up", [NO_PRELOAD]),
    "phone.software_start_ms": Row("0", "2000", "startup_p95_ms", "up", [NO_PRELOAD]),
}
ALL = [f"{section}.{name}" for section, part in Scenario.model_fields.items() for name in part.annotation.model_fields]
NOTES: dict[Scenario, Noting] = {}
REPLICATIONS = 3
CLEAR = 0.05  # least mean movement, of the larger value


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Traces and logs of round trips, by the words that stand for them in the table."""
    folder, words = tmp_path_factory.mktemp("links"), {"FAST": 30, "SLOW": 0.5, "NEAR": 20, "FAR": 2000}
    for name, value in words.items():
        column = "mbps" if name in ("FAST", "SLOW") else "rtt_ms"
        (folder / f"{name}.csv").write_text(f"t_s,{column}\n" + "".join(f"{t},{value}\n" for t in range(10)))
    (folder / "EITHER.csv").write_text("t_s,fast,slow\n" + "".join(f"{t},30,0.5\n" for t in range(10)))
    return {name: f'"{folder / name}.csv"' for name in (*words, "EITHER")}


def measured(row: Row, field: str, value: str, replication: int) -> float:
    settings = {text.split("=")[0]: text for text in [*BASE, *row.settings, f"{field}={value}"]}
    world = with_settings(Scenario(), list(settings.values()))
    quantity = NAMED[row.quantity] if isinstance(row.quantity, str) else row.quantity
    run = run_arm(
        world, row.policy, seed=0, replication=replication, minutes=row.minutes, days=row.days, engine=row.engine
    )
    if isinstance(row.policy, Noting):
        NOTES[run.scenario] = row.policy
    return float(quantity(run))


def test_every_field_is_in_the_table():
    assert list(FIELDS) == ALL


@pytest.mark.parametrize("field", ALL)
def test_the_field_moves_its_quantity(field, files):
    row = FIELDS[field]
    row = row._replace(settings=[text.replace("EITHER", files["EITHER"]) for text in row.settings])
    values = [files.get(value, value) for value in (row.low, row.high)]
    lows, highs = np.array([[measured(row, field, v, r) for r in range(REPLICATIONS)] for v in values])
    assert np.isfinite(lows).all() and np.isfinite(highs).all()
    told = f"{lows} at {row.low}, {highs} at {row.high}"
    if row.direction == "differs":
        assert (lows != highs).all(), told
    else:
        moved = highs - lows if row.direction == "up" else lows - highs
        assert (moved > 0).all(), told
        assert (moved / np.maximum(abs(lows), abs(highs))).mean() > CLEAR, told
