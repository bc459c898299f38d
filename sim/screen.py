"""The screen: a video takes it, plays, and is left; and how the person reacts. Steps 7, 8 and 10 of the journey.

Called by `sim/events.py`.
"""

import numpy as np

from nextone.sim.engine.chance import uniform
from nextone.sim.engine.kernel import inlined
from nextone.sim.engine.luck import LIFE, PERCEPTION

from .cloud.belief import learn_outcomes, report_outcome
from .cloud.recall import mark_shown
from .feedback import draw_feedback
from .interest import along, live_on, reinforce, settle, tire
from .network import saturated
from .next_one import note_quiet
from .player import bytes_for, choose_bitrate, held_us
from .pool import live_slots, next_slots, past_ttl
from .session import feel, stall_patience_us
from .state import BROWSING, DEAD, PLAYING, SCREEN, STALE, STARTING, TURNED
from .watching import draw_watch_us, outcome_of, sigmoid, stay_logit, stayed


@inlined
def start_impression(p, key, person, videos, content):
    """A video takes the screen: the best live slot in the present order. It starts at once if enough is preloaded."""
    user, screen, pool, history, mind = person.user, person.screen, person.pool, person.history, person.mind
    stale = user.ranking != 0
    slot, _ = next_slots(user, pool, -1)
    row = pool[slot]
    video = videos[row.video]
    screen.late = 1 if past_ttl(p, user, row) else 0
    user.impression += 1
    screen.user, screen.session, screen.impression = user.user, user.session, user.impression
    screen.video, screen.request, screen.meeting, screen.rank = row.video, row.request, row.meeting, row.rank
    screen.live = np.uint8(live_slots(pool))
    screen.position = np.uint8(min(max(p.page_size - user.left, 0), p.page_size - 1))
    if stale:
        screen.outcome |= STALE
    screen.buffered = row.buffered
    screen.bytes = row.buffered
    bitrate = row.bitrate if row.bitrate >= 0 else choose_bitrate(p, user)
    screen.bitrate_bps = p.bitrates_bps[bitrate]
    screen.total_bytes = bytes_for(video.duration_us, screen.bitrate_bps)
    screen.start_us = user.now_us
    user.shown += 1
    user.overdue += screen.late
    mark_shown(p, person, row.video, row.place)
    if user.fetching == slot:
        user.fetching = SCREEN  # goes on without a new round trip
    past = history[user.impression % len(history)]
    past.video, past.position, past.play_ms, past.feedback = row.video, screen.position, 0, 0
    past.start_ms = np.uint32(user.now_us // 1000)
    for head in range(len(row.pxtr)):
        past.pxtr[head] = row.pxtr[head]
    row.buffered = 0
    row.rank = DEAD
    user.left = max(user.left - 1, 0)
    live_on(p, key, user, mind, user.now_us)
    settle(p, user, mind, user.now_us)
    logit = stay_logit(p, key, user, mind, screen.video, video, content[screen.video])
    screen.mood, screen.intent = user.mood, np.float32(along(mind.intent, content[screen.video]))
    screen.stay_logit = np.float32(logit)
    screen.target_us = draw_watch_us(p, key, user, screen.video, video.duration_us, screen.meeting, logit)
    user.goal = min(screen.total_bytes, bytes_for(p.buffer_us, screen.bitrate_bps))
    if held_us(screen, video) >= min(p.startup_us, video.duration_us):
        start_playing(user, screen)
    else:
        user.phase = STARTING
        user.phase_end_us = saturated(user.now_us, stall_patience_us(p, key, user, np.int64(0)))


@inlined
def start_playing(user, screen):
    """Frames run until the person has had enough, unless the buffer runs dry first."""
    user.phase = PLAYING
    user.phase_end_us = user.now_us + screen.target_us - screen.play_us


@inlined
def stop_watching(p, key, user, screen, videos):
    """Play is over: feedback is given, comments may be read. Whether nothing is left to do with the video."""
    video = videos[screen.video]
    user.encoded_us = user.now_us
    if p.edge and p.perception_us > 0:
        user.encoded_us += np.int64(p.perception_us * uniform(key, LIFE, user.user, user.impression, PERCEPTION))
    browse_us = 0
    if screen.play_us > 0:
        outcome = outcome_of(screen.play_us, video.duration_us)
        suits = screen.stay_logit - (p.stay + user.person + screen.mood + video.quality)
        bits, browse_us = draw_feedback(
            p, key, user, screen.video, video, screen.meeting, suits, screen.play_us, outcome
        )
        screen.feedback = np.uint8(bits)
    user.phase = BROWSING
    user.phase_end_us = user.now_us + browse_us
    return browse_us == 0


@inlined
def finish_impression(p, key, person, videos, content, index):
    """The finger lifts (or the session ends): bytes, history, what the person feels, what the cloud will hear."""
    user, screen, history, mind = person.user, person.screen, person.history, person.mind
    video = videos[screen.video]
    watched = min(screen.bytes, bytes_for(min(screen.play_us, video.duration_us), screen.bitrate_bps))
    user.watched += watched
    user.wasted += screen.bytes - watched
    screen.outcome |= np.uint8(outcome_of(screen.play_us, video.duration_us))
    past = history[user.impression % len(history)]
    past.play_ms = np.uint32(screen.play_us // 1000)
    past.feedback = screen.feedback
    if p.quiet > 0:
        note_quiet(user, screen)
    turn_us = user.arrived_us + user.queue_us if user.request_state == TURNED else user.now_us
    learn_outcomes(p, key, person, index, min(turn_us, user.now_us) - p.feature_lag_us)
    report_outcome(user, person.behaviours, screen.video, screen.outcome, user.now_us)
    settle(p, user, mind, user.now_us)
    tire(mind, content[screen.video])
    if p.reinforcement > 0.0:
        chance = sigmoid(np.float64(screen.stay_logit))
        stays = stayed(key, user, screen.video, screen.meeting, np.float64(screen.stay_logit))
        reinforce(p, mind, content[screen.video], np.float64(stays), chance)
    screen.startup_us += screen.pick_us
    feel(p, user, screen.outcome, screen.feedback, screen.stall_us + screen.startup_us)
