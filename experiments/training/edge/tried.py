"""What would have happened with each candidate if it had been shown now; and a logging policy's random choices.

The labels are for evaluation only: no log of a real system holds them, and no training reads them. They use the same
draws as showing the video would. So for the video that is shown they are what happened, unless it stalled. Keyed and
compiled; called by `collect.py`, `logging_policy.py`, and the estimates of `experiments/training/off_policy/`.
"""


from nextone.sim.engine.chance import uniform, uniform2
from nextone.sim.engine.kernel import entry
from nextone.sim.engine.luck import POLICY
from nextone.sim.feedback import draw_feedback
from nextone.sim.interest import live_on, settle
from nextone.sim.pool import rankable
from nextone.sim.watching import draw_watch_us, outcome_of, stay_logit

NO_VIDEO = 0xFFFFFFFF  # in keys: a draw that is about no video


@entry
def try_candidates(w, rows, outcome, feedback, played_us):
    """Outcome and feedback bits, uint8 (n, P), and time played, int64 (n, P), that every live candidate of the people
    in `rows` (n,) would have if it were shown now."""
    p, key = w.params[0], w.key
    for k in range(len(rows)):
        i = rows[k]
        one, feels = w.users[i : i + 1].copy(), w.mind[i : i + 1].copy()
        user, mind = one[0], feels[0]
        live_on(p, key[i], user, mind, user.now_us)  # as when a video is shown, but in copies
        settle(p, user, mind, user.now_us)
        for j in range(w.pool.shape[1]):
            slot = w.pool[i, j]
            if not rankable(user, slot):
                continue
            video = w.videos[slot.video]
            logit = stay_logit(p, key[i], user, mind, slot.video, video, w.content[slot.video])
            play_us = draw_watch_us(p, key[i], user, slot.video, video.duration_us, slot.meeting, logit)
            bits = outcome_of(play_us, video.duration_us)
            suits = logit - (p.stay + user.person + user.mood + video.quality)
            given, _ = draw_feedback(p, key[i], user, slot.video, video, slot.meeting, suits, play_us, bits)
            outcome[k, j], feedback[k, j], played_us[k, j] = bits, given, play_us


@entry
def draw_picks(key, users, rows, draws):
    """Draw two uniforms for each person's present decision into draws (n, 2): whether to pick at random, and which."""
    for k in range(len(rows)):
        user = users[rows[k]]
        draws[k, 0], draws[k, 1] = uniform2(key[rows[k]], POLICY, user.user, NO_VIDEO, user.impression + 1)


@entry
def draw_people(key, people, draws):
    """Draw a uniform for each of `people` (n,) into draws (n,): to which part of the data they belong."""
    for k in range(len(people)):
        draws[k] = uniform(key, POLICY, people[k], NO_VIDEO, NO_VIDEO)
