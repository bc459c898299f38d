"""Golden: one short session as readable text. A change of the world shows here as a line a person can read.

If the change was meant, write it anew and say in the commit message why: python tests/sim/test_golden.py --write
"""

import difflib
import sys
from pathlib import Path

from worlds import AMPLE, run, scenario

from nextone.sim.config import FEEDBACK, LINK_CLASSES
from nextone.sim.state import ASKED, COMPLETE, CUT, LAST, LONG, REQUEST_OUTCOMES, SKIP, STALE, VALID

SEED = 13
GOLDEN = Path(__file__).parent / "golden" / "session.txt"
WORDS = {VALID: "valid", LONG: "long", COMPLETE: "complete", SKIP: "skip", STALE: "stale", ASKED: "asked",
         LAST: "last", CUT: "cut"}  # fmt: skip
HEAD = "{:>3} {:>7} {:>5} {:>7} {:>4} {:>4} {:>5} {:>6} {:>6} {:>6} {:>6} {:>7} {:>8}  {}"


def story() -> str:
    """The first session of one person on a slow link with a short TTL: impressions and requests, ms and bytes."""
    world_of = scenario(
        population__users=3, catalogue__videos=20_000, network__constant_mbps=1.5,
        network__shares=(0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0), network__outages_per_hour=20.0,
        network__loss=0.1, client__ttl_s=45.0, server__candidates=9,
        feedback__like=0.3, feedback__browse=0.3,
    )  # fmt: skip
    finished = run(world_of, "tag_momentum", seed=SEED, minutes=20.0, engine="event", workers=AMPLE)
    who = 2
    user = finished.world.users[who]
    log, requests, sessions = (table[table["user"] == who] for table in finished.records)
    ms = [f"person {who} on {LINK_CLASSES[user['link']]}, tier {user['tier']}; times in ms",
          f"session {sessions['open_us'][0] // 1000} to {sessions['close_us'][0] // 1000}, cut {sessions['cut'][0]}",
          "", HEAD.format("n", "start", "video", "request", "rank", "live", "wait", "start-", "play", "stall", "browse",
                         "kbit/s", "bytes", "outcome, feedback").replace("start-", "startup")]  # fmt: skip
    for row in log:
        said = [word for bit, word in WORDS.items() if row["outcome"] & bit]
        said += [kind for k, kind in enumerate(FEEDBACK) if row["feedback"] & (1 << k)]
        ms.append(HEAD.format(
            row["impression"], row["start_us"] // 1000, row["video"], row["request"], row["rank"], row["live"],
            row["wait_us"] // 1000, row["startup_us"] // 1000, row["play_us"] // 1000, row["stall_us"] // 1000,
            row["browse_us"] // 1000, row["bitrate_bps"] // 1000, row["bytes"], " ".join(said)))  # fmt: skip
    ms += ["", "request attempt    sent   ended  outcome"]
    for row in requests:
        sent, ended, outcome = row["sent_us"] // 1000, row["ended_us"] // 1000, REQUEST_OUTCOMES[row["outcome"]]
        ms.append(f"{row['request']:>7} {row['attempt']:>7} {sent:>7} {ended:>7}  {outcome}")
    names = ("delivered", "watched", "wasted", "cancelled", "served", "shown", "expired", "dropped", "unseen",
             "inferences")  # fmt: skip
    ms += ["", ", ".join(f"{name} {user[name]}" for name in names)]
    return "\n".join(ms) + "\n"


def test_the_golden_session_is_what_it_was():
    expected, found = GOLDEN.read_text(), story()
    difference = "".join(difflib.unified_diff(expected.splitlines(True), found.splitlines(True), "golden", "now"))
    assert found == expected, (
        f"the world changed:\n{difference}\nIf that was meant: python test_golden.py --write, and say why in the "
        "commit message"
    )


def test_the_golden_session_tells_something():
    """It has enough in it to notice: a stall or a wait, an expiry or a drop, feedback, a skip, a long view."""
    text = GOLDEN.read_text()
    assert 10 <= text.count("asked") <= 150
    for word in ("like", "skip", "long", "served"):
        assert word in text, word


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        GOLDEN.write_text(story())
    else:
        print(story())
