"""The timeline of a session over unlike worlds: the format's contract, sums against the ledgers, one golden session."""

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from nextone.experiments.output import timeline as module
from nextone.experiments.output.timeline import (
    LANES,
    LONG_ENOUGH,
    READABLE,
    Event,
    chrome_trace,
    make_timeline,
    read_timeline,
    timeline_sentence,
    timeline_text,
    worth_a_look,
    write_timeline,
)
from nextone.sim.config import Scenario
from nextone.sim.scenario import SettingError, with_settings
from nextone.sim.state import PHASES

SMALL = with_settings(Scenario(), ["population.users=12", "catalogue.videos=7248"])
MINUTES = 30
GOLDEN = Path(__file__).parent / "golden_timeline.txt"
CELLULAR = "network.shares=[0,0,0,0,0,1,0,0]"

# label: (policy, settings); the session is that of person USER, a long one
USER = 9
WORLDS = {
    "default": ("tag_momentum", []),
    "cloud": ("cloud_only", []),
    "slow link": ("tag_momentum", ["network.constant_mbps=0.7"]),
    "outages": ("cloud_only", [CELLULAR, "network.outages_per_hour=60", "network.loss=0.5"]),
    "short ttl": ("cloud_only", ["client.ttl_s=15"]),
    "ttl in impressions": ("server_score", ["client.ttl_impressions=3"]),
    "merge": ("tag_momentum", ["client.on_refill=merge", "client.ttl_s=60"]),
    "asked at start": ("tag_momentum", ["client.decide_at=start"]),
    "no latency": ("tag_momentum", ["phone.inference_ms=0"]),
    "slow phone": ("tag_momentum", ["phone.inference_ms=900"]),
    "one server": ("cloud_only", ["server.workers=1", "server.service_ms=4000", "server.queue_limit=1",
                                  "server.page_size=2"]),
    "one candidate": ("tag_momentum", ["server.candidates=1", "server.page_size=1", "client.refill_at=0"]),
}  # fmt: skip


@pytest.fixture(scope="module", params=WORLDS, ids=[name.replace(" ", "_") for name in WORLDS])
def made(request):
    """A timeline and the run that it was made from."""
    policy, settings = WORLDS[request.param]
    runs, run_arm = [], module.run_arm
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "run_arm", lambda *a, **k: runs.append(run_arm(*a, **k)) or runs[0])
        timeline = make_timeline(with_settings(SMALL, settings), USER, 0, policy, minutes=MINUTES)
    return timeline, runs[0], USER


def test_lanes_add_up_to_the_ledger(made):
    timeline, run, user = made
    sums = Counter()
    for event in timeline.events:
        if event.lane == "screen":
            sums[event.kind] += event.end_us - event.start_us
    ledger = run.world.users["ledger_us"][user].tolist()
    assert {name: sums[name] for name in PHASES[:7]} == dict(zip(PHASES[:7], ledger, strict=True))
    assert sum(sums.values()) == timeline.close_us - timeline.open_us == run.world.users["wall_us"][user]


def test_nothing_overlaps_within_a_lane(made):
    """Stretches of a lane follow on one another; only a request's parts lie within it, and fill it."""
    timeline, _, _ = made
    assert {event.lane for event in timeline.events} <= set(LANES)
    for lane in LANES:
        spans = sorted((e.start_us, e.end_us) for e in timeline.events
                       if e.lane == lane and e.end_us > e.start_us and e.kind != "part")  # fmt: skip
        assert all(a[1] <= b[0] for a, b in pairwise(spans)), lane
        assert all(timeline.open_us <= start and end <= timeline.close_us for start, end in spans), lane
    for whole in (e for e in timeline.events if e.kind == "request" and "lost" not in e.name):
        parts = [e for e in timeline.events if e.kind == "part" and whole.start_us <= e.start_us < whole.end_us]
        assert sum(e.end_us - e.start_us for e in parts) == whole.end_us - whole.start_us, whole


def test_every_impression_request_and_decision_is_there(made):
    timeline, run, user = made
    shown = run.records.impressions[run.records.impressions["user"] == user]
    told = [e.args for e in timeline.events if e.lane == "screen" and "video" in e.args]
    played = shown[shown["play_us"] > 0]
    assert [args["video"] for args in told] == played["video"].tolist()
    assert sum(round(args["watched_s"] * 1e6) for args in told) == shown["play_us"].sum()
    asked = run.records.requests[run.records.requests["user"] == user]
    assert [e.start_us for e in timeline.events if e.kind == "request"] == asked["sent_us"].tolist()
    decisions = [e for e in timeline.events if e.kind == "decision"]
    assert abs(len(decisions) - run.world.users["inferences"][user]) <= 1  # one asked as the session ends has no time


def test_the_pool_loses_what_the_ledger_says(made):
    timeline, run, user = made
    gone = Counter()
    for event in timeline.events:
        if event.kind == "expired":
            gone["expired"] += int(event.name.split()[0])
        elif event.kind == "takeover":
            gone.update({why: n for why, n in event.args.items() if why != "live"})
    row = run.world.users[user]
    assert sum(gone.values()) == row["expired"] + row["dropped"]
    if not gone["expired or dropped"]:
        assert gone["expired"] == row["expired"]


def test_bytes_of_the_link_add_up_to_the_ledger(made):
    timeline, run, user = made
    carried = Counter()
    for event in timeline.events:
        if event.lane == "link" and event.kind in ("screen", "preload"):
            carried[event.kind] += event.args["bytes"]
    row = run.world.users[user]
    assert carried.total() == row["delivered"]
    shown = run.records.impressions[run.records.impressions["user"] == user]
    extra = carried["screen"] - (shown["bytes"] - shown["buffered"]).sum()
    assert 0 <= extra <= row["cancelled"]  # what still came for a video just left


def test_chrome_format(made):
    timeline, _, _ = made
    trace = json.loads(json.dumps(chrome_trace(timeline), allow_nan=False))
    assert set(trace) == {"traceEvents", "displayTimeUnit", "metadata"}
    assert trace["displayTimeUnit"] == "ms"
    names = {e["args"]["name"]: e["tid"] for e in trace["traceEvents"] if e["name"] == "thread_name"}
    assert list(names) == list(LANES)
    for event in trace["traceEvents"]:
        assert event["ph"] in {"M", "X", "i", "C", "s", "f"} and event["pid"] == 1 and isinstance(event["name"], str)
        if event["ph"] != "M":
            assert type(event["ts"]) is int and timeline.open_us <= event["ts"] <= timeline.close_us
        if event["ph"] == "X":
            assert type(event["dur"]) is int and event["dur"] > 0 and event["tid"] in names.values()
    counters = {e["name"] for e in trace["traceEvents"] if e["ph"] == "C"}
    assert counters == {"pool: live candidates", "link: capacity"}
    starts, ends = ([e["id"] for e in trace["traceEvents"] if e["ph"] == ph] for ph in "sf")
    assert starts == ends and len(set(starts)) == len(starts)


def test_what_the_worlds_show():
    """Each unlike world shows what makes it unlike."""

    def kinds(label):
        policy, settings = WORLDS[label]
        events = make_timeline(with_settings(SMALL, settings), USER, 0, policy, minutes=MINUTES).events
        return {e.kind for e in events}, " ".join(e.name for e in events)

    assert "stall" in kinds("slow link")[0]
    found, names = kinds("outages")
    assert {"outage", "backoff"} <= found and "lost on its way" in names and "attempt 2" in names
    assert "expired" in kinds("short ttl")[0]
    assert "stale" in kinds("slow phone")[1]
    found, names = kinds("one server")
    assert "queue" in names and "timed out" in names and "refused" in names
    assert "decision" not in kinds("cloud")[0] | kinds("one candidate")[0]


def test_later_sessions_of_whole_days():
    world = with_settings(SMALL, ["network.outages_per_hour=30", "network.shares=[0,0,0,0,0,0,1,0]"])
    first, second = (make_timeline(world, 1, 0, "cloud_only", days=1, session=k) for k in (0, 1))
    assert first.close_us < second.open_us
    assert [made.about["session"] for made in (first, second)] == [0, 1]
    offline = [e for e in second.events if e.kind == "outage"]
    busy = [e for e in second.events if e.lane == "link" and e.kind != "outage"]
    assert offline
    assert not [e for e in busy for o in offline if e.start_us < o.end_us and o.start_us < e.end_us]


def test_written_whole_and_the_same_every_time(tmp_path):
    files = [tmp_path / "a.json", tmp_path / "b.json"]
    for file in files:
        assert write_timeline(make_timeline(SMALL, 3, 0, "cloud_only", minutes=MINUTES), file) == file
    assert files[0].read_bytes() == files[1].read_bytes()
    assert json.loads(files[0].read_text())["metadata"]["policy"] == "cloud_only"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.json", "b.json"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"user": 12}, "user=12 must be >= 0 and < population.users=12"),
        ({"user": -1}, "user=-1 must be"),
        ({"session": 1}, "session=1 must be >= 0 and < 1, the times user 3 opened the app within 30 min"),
    ],
)
def test_what_cannot_be_shown(change, message):
    asked = {"user": 3, "seed": 0, "policy": "cloud_only", "minutes": MINUTES} | change
    with pytest.raises(SettingError, match=message):
        make_timeline(SMALL, **asked)


def test_a_person_alone_lives_as_among_the_others():
    """One person's timeline costs one person's run: the others never open the app, and nothing changes for that one."""
    alone, among = (
        module.run_arm(SMALL, "tag_momentum", seed=0, replication=0, minutes=MINUTES, engine="batch", traced=USER,
                       alone=only)
        for only in (True, False)
    )  # fmt: skip
    impressions = among.records.impressions
    assert alone.records.impressions.tolist() == impressions[impressions["user"] == USER].tolist()
    assert len(alone.records.sessions) == 1 < len(among.records.sessions)
    made = make_timeline(SMALL, USER, 0, "tag_momentum", minutes=MINUTES)
    assert made.about["engine"] == "batch" and made.about["impressions"] == len(alone.records.impressions)
    crowded = with_settings(SMALL, ["server.workers=2"])
    assert make_timeline(crowded, USER, 0, "tag_momentum", minutes=MINUTES).about["engine"] == "event"


def test_the_person_shown_by_default_has_a_session_to_look_at():
    user = worth_a_look(SMALL, 0, "tag_momentum")
    seen = [make_timeline(SMALL, k, 0, "tag_momentum").about["impressions"] for k in range(user + 1)]
    assert LONG_ENOUGH <= seen[user] <= READABLE
    assert not [n for n in seen[:user] if LONG_ENOUGH <= n <= READABLE]
    hasty = with_settings(SMALL, ["sessions.leave_per_min=20", "population.users=4"])
    seen = [make_timeline(hasty, k, 0, "tag_momentum").about["impressions"] for k in range(4)]
    assert max(seen) < LONG_ENOUGH and worth_a_look(hasty, 0, "tag_momentum") == seen.index(max(seen))
    with pytest.raises(SettingError, match="nobody among the first people opened the app"):
        worth_a_look(with_settings(SMALL, ["sessions.gap_hours=900"]), 0, "cloud_only", days=0.02)


def test_a_timeline_is_read_back_equal(made, tmp_path):
    timeline, _, user = made
    assert read_timeline(write_timeline(timeline, tmp_path / "t.json")) == timeline
    assert timeline_sentence(timeline).startswith(f"User {user} saw {timeline.about['impressions']} videos in ")
    (tmp_path / "t.json").write_text('{"metadata": {}, "traceEvents": []}')
    with pytest.raises(SettingError, match=r"t\.json' is no timeline"):
        read_timeline(tmp_path / "t.json")


def test_somebody_who_never_opened_the_app():
    quiet = with_settings(SMALL, ["sessions.gap_hours=900"])
    with pytest.raises(SettingError, match="user 0 did not open the app within"):
        make_timeline(quiet, 0, 0, "cloud_only", days=0.02)


def golden() -> str:
    """A page comes; the first pick waits for its inference, starts slowly and is watched to its end; the second is
    shown before its ranking is ready. By hand, on 2 Mbit/s (250 bytes a millisecond) without round trips: a payload of
    20 (1,500 + 640) bytes takes 171.2 ms; a start-up of .5 s at 1.3 Mbit/s, 81,250 bytes, .325 s; a preload of 3 s,
    487,500 bytes, 1.95 s; a buffer refilled from 5 to 20 s, 2,437,500 bytes, 9.75 s."""
    steady = ["network.constant_mbps=2", "network.rtt_scale=0", "network.loss=0"]
    sure = ["server.service_cv=0", "server.workers=9", "phone.inference_ms=400", "phone.inference_log_sd=0"]
    return timeline_text(make_timeline(with_settings(SMALL, steady + sure), 4, 1, "server_score", minutes=2))


def test_golden_text():
    """One short session as readable text. If it is meant to change: python test_timeline.py writes it anew."""
    assert golden() == GOLDEN.read_text(encoding="utf-8")


def test_lanes_of_an_event_by_hand():
    event = Event("screen", 5, 9, "play", "play 7", {})
    about = {"user": 0, "session": 0, "policy": "p", "phone": "ios", "link": "4g"}
    rows = chrome_trace(module.Timeline(about, 0, 9, [event], [(0, 3)], [(0, 1.5)]))["traceEvents"]
    assert {"ph": "X", "pid": 1, "tid": 1, "ts": 5, "dur": 4, "cat": "play", "name": "play 7", "args": {}} in rows


if __name__ == "__main__":
    GOLDEN.write_text(golden(), encoding="utf-8")
