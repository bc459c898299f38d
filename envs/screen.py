"""The phone's screen, so that one can watch a policy work: the pool, what is preloaded of it, and the last reactions.

Called by `render` of the environments. Shows only what the phone knows, as `envs/features.py` does; not the observation
itself.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nextone.sim.config import LINK_CLASSES, TIERS
from nextone.sim.network import offline
from nextone.sim.player import preload_size
from nextone.sim.state import BACKOFF, COMPLETE, DEAD, GONE, IDLE, LONG, PEVTR, PLTR, READY, SKIP, VALID, World
from nextone.sim.watching import outcome_of

from .canvas import Canvas, Colour, of_palette

WIDTH, HEIGHT = 960, 640  # pixels; even, as video encoders want
PAST = 16  # impressions shown
MOST_ROWS = 26  # candidates shown, each in its slot's place if there are no more slots
MARKS = ("♥", "+", "“", "➤", "✖", "☺")  # config.FEEDBACK: like, follow, comment, forward, hate, profile
INK, SCREEN, PALE, PAPER, GROUND = "#1d2433", "#31394b", "#8a93a6", "#ffffff", "#eef1f6"
TRACK = "#757c88"  # of the phone's progress bar
COLOURS = {"complete": "#1a8f5c", "long": "#48b07f", "valid": "#8fcfb0", "short": "#c9ced8", "skip": "#e2604f"}


class Candidate(NamedTuple):
    """A candidate in the pool, as the picture shows it."""

    slot: int
    tag: int
    duration_s: float
    effective: float  # server's predicted rate of effective views
    like: float
    preloaded: float  # share of what is to be preloaded


class Impression(NamedTuple):
    """A past impression, as the picture shows it."""

    tag: int
    play_s: float
    duration_s: float
    kind: str  # one of COLOURS
    marks: str


class Screen(NamedTuple):
    """What the picture shows."""

    title: str
    facts: tuple[str, ...]
    slots: int
    pool: list[Candidate]
    past: list[Impression]  # newest first
    acted: int  # slot whose video was shown last, -1 unknown


def frame(world: World, i: int, acted: int, mode: str) -> str | NDArray[np.uint8]:
    """The screen of the person in row i: text, or an image (HEIGHT, WIDTH, 3)."""
    seen = screen(world, i, acted)
    return text(seen) if mode == "ansi" else picture(seen)


def screen(world: World, i: int, acted: int) -> Screen:
    """What the phone of row i knows. acted: the slot whose video was shown last."""
    p, user, videos = world.params[0], world.users[i], world.videos
    ring, count = world.history[i], int(user["impression"]) + 1
    over = count - (world.screen[i]["video"] >= 0)  # the one on screen is not over
    oldest = max(over - PAST, count - len(ring), 0)
    past = [_impression(ring[n % len(ring)], videos) for n in range(over - 1, oldest - 1, -1)]
    pool = [_candidate(p, k, slot, videos) for k, slot in enumerate(world.pool[i]) if slot["rank"] != DEAD]
    hour = (float(p["start_hour"]) + user["now_us"] / 3.6e9) % 24
    state = user["request_state"]
    page = "waits beside the pool" if state == READY else "under way" if IDLE < state <= BACKOFF else "none"
    gone = " has left" if user["phase"] == GONE else ""
    facts = (
        f"{TIERS[user['tier']].replace('_', ' ')} on {LINK_CLASSES[user['link']]}"
        + (", offline" if offline(user, user["now_us"]) else ""),
        f"measured {user['rate_bps'] / 1e6:.1f} Mbit/s",
        f"{int(hour):02d}:{int(hour % 1 * 60):02d}, minute {(user['now_us'] - user['opened_us']) / 6e7:.1f}",
        f"{_shown(user)} videos shown",
        f"{user['left']} left of the page",
        f"request: {page}",
        f"wasted {user['wasted'] / 1e6:.1f} MB",
    )
    return Screen(f"person {user['user']}{gone}", facts, world.pool.shape[1], pool, past, int(acted))


def _shown(user: Any) -> int:
    """Videos of the session. Once it is over, the model counts those of the next one: an episode has no other."""
    before = -1 if user["phase"] == GONE else user["impressions_before"]
    return int(user["impression"] - before)


def _candidate(p: Any, k: int, slot: Any, videos: Any) -> Candidate:
    video = videos[slot["video"]]
    rates = 1 / (1 + np.exp(-slot["pxtr"] / 1000.0))
    goal = preload_size(p, video, p["bitrates_bps"][max(slot["bitrate"], 0)])
    share = min(float(slot["buffered"]) / max(goal, 1), 1.0)
    return Candidate(k, int(video["tag"]), video["duration_us"] / 1e6, float(rates[PEVTR]), float(rates[PLTR]), share)


def _impression(past: Any, videos: Any) -> Impression:
    video = videos[past["video"]]
    play_us, bits = int(past["play_ms"]) * 1000, int(past["feedback"])
    outcome = outcome_of(play_us, int(video["duration_us"]) // 1000 * 1000)
    kinds = ((COMPLETE, "complete"), (LONG, "long"), (VALID, "valid"), (SKIP, "skip"))
    kind = next((name for bit, name in kinds if outcome & bit), "short")
    marks = "".join(mark for k, mark in enumerate(MARKS) if bits >> k & 1)
    return Impression(int(video["tag"]), play_us / 1e6, video["duration_us"] / 1e6, kind, marks)


def text(seen: Screen) -> str:
    """The screen as lines of text."""
    lines = [f"{seen.title} · " + " · ".join(seen.facts), "slot  tag  length  effective    like  preloaded"]
    for c in seen.pool:
        lines.append(
            f"{c.slot:4d} {c.tag:4d} {c.duration_s:6.0f}s  {_bar(c.effective, 6)} {c.effective:4.0%}  {c.like:5.1%}"
            f"  {_bar(c.preloaded, 6)}"
        )
    reactions = (f"{x.kind} {x.play_s:.0f}/{x.duration_s:.0f}s{x.marks}" for x in seen.past[:6])
    shown = f" (slot {seen.acted})" if seen.acted >= 0 else ""
    return "\n".join([*lines, f"last{shown}: " + (", ".join(reactions) or "nothing yet")]) + "\n"


def _bar(share: float, width: int) -> str:
    filled = round(share * width)
    return "█" * filled + "░" * (width - filled)


def picture(seen: Screen) -> NDArray[np.uint8]:
    """The screen as an image (HEIGHT, WIDTH, 3): the phone on the left, the pool beside it, reactions below."""
    canvas = Canvas(WIDTH, HEIGHT, GROUND)
    _draw_phone(canvas, seen)
    _draw_pool(canvas, seen)
    _draw_past(canvas, seen)
    return canvas.pixels


def _draw_phone(canvas: Canvas, seen: Screen) -> None:
    canvas.box(24, 24, 232, 430, INK, 22)
    last = seen.past[0] if seen.past else None
    canvas.box(34, 48, 212, 382, SCREEN, 10)
    canvas.say(44, 70, seen.title, PAPER, 13, bold=True)
    for k, fact in enumerate(seen.facts):
        canvas.say(44, 94 + 19 * k, fact, PAPER, 9.5)
    if last is None:
        canvas.say(140, 320, "choosing the first video", PAPER, 11, centred=True)
        return
    slot = f"slot {seen.acted}, " if seen.acted >= 0 else ""
    canvas.box(104, 238, 72, 72, _tag_colour(last.tag), 8)
    canvas.say(140, 274, last.marks or "▶", INK, 26, centred=True)
    canvas.say(140, 330, f"last: {slot}tag {last.tag}", PAPER, 11, centred=True)
    canvas.say(140, 356, f"{last.play_s:.1f} of {last.duration_s:.0f} s", PAPER, 15, bold=True, centred=True)
    canvas.say(140, 380, last.kind, PAPER, 11, centred=True)
    canvas.box(48, 404, 184, 8, TRACK)
    canvas.box(48, 404, 184 * min(last.play_s / max(last.duration_s, 1e-9), 1), 8, PAPER)


def _draw_pool(canvas: Canvas, seen: Screen) -> None:
    left, top, room = 280, 24, 430
    canvas.box(left, top, WIDTH - left - 24, room, PAPER, 12)
    crowded = seen.slots > MOST_ROWS
    part = f", the first {MOST_ROWS} of them" if crowded and len(seen.pool) > MOST_ROWS else ""
    title = f"candidate pool: {len(seen.pool)} of {seen.slots} slots{part}"
    canvas.say(left + 18, top + 20, title, INK, 11.5, bold=True)
    for x, name in ((left + 18, "slot"), (left + 66, "tag"), (left + 130, "length"), (left + 190, "effective view"),
                    (left + 400, "like"), (left + 460, "preloaded")):  # fmt: skip
        canvas.say(x, top + 42, name, PALE, 8.5)
    step = min((room - 66) / min(seen.slots, MOST_ROWS), 26.0)
    size = min(9.5, step * 0.55)
    for line, c in enumerate(seen.pool[:MOST_ROWS]):
        y = top + 60 + step * (line if crowded else c.slot) + step / 2 - 6
        tall = step * 0.62
        canvas.say(left + 18, y, f"{c.slot}", INK, size)
        canvas.box(left + 62, y - tall / 2, 14, tall, _tag_colour(c.tag))
        canvas.say(left + 84, y, f"{c.tag}", INK, size)
        canvas.say(left + 130, y, f"{c.duration_s:.0f} s", INK, size)
        _fill(canvas, left + 190, y, 150, tall, c.effective, "#4a7bd0")
        canvas.say(left + 348, y, f"{c.effective:.0%}", INK, size)
        canvas.say(left + 400, y, f"{c.like:.1%}", INK, size)
        _fill(canvas, left + 460, y, 170, tall, c.preloaded, "#e0a13a")


def _draw_past(canvas: Canvas, seen: Screen) -> None:
    left, top, tall, wide = 24, 474, 96, 54
    canvas.box(left, top, WIDTH - 48, 144, PAPER, 12)
    canvas.say(left + 16, top + 18, "last reactions, newest first: seconds played", INK, 10.5, bold=True)
    for k, (name, colour) in enumerate(COLOURS.items()):
        canvas.box(left + 420 + 96 * k, top + 12, 12, 12, colour)
        canvas.say(left + 438 + 96 * k, top + 18, name, INK, 9)
    base = top + 122
    for k, x in enumerate(seen.past):
        at = left + 18 + (wide + 1) * k
        part = min(x.play_s / max(x.duration_s, 1e-9), 1.0)
        canvas.box(at, base - 76, wide - 10, 76, GROUND)
        canvas.box(at, base - 76 * part, wide - 10, 76 * part, COLOURS[x.kind])
        canvas.box(at, base + 2, wide - 10, 5, _tag_colour(x.tag))
        canvas.say(at + (wide - 10) / 2, base - tall + 32, x.marks, INK, 12, centred=True)
        canvas.say(at + (wide - 10) / 2, base - 9, f"{x.play_s:.0f} s", INK, 8.5, centred=True)


def _fill(canvas: Canvas, x: float, y: float, wide: float, tall: float, share: float, colour: str) -> None:
    canvas.box(x, y - tall / 2, wide, tall, GROUND)
    canvas.box(x, y - tall / 2, wide * share, tall, colour)


def _tag_colour(tag: int) -> Colour:
    return of_palette(tag * 7)
