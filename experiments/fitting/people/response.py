"""The response model on impressions it has not seen: can it predict who watches what, and are its chances right?

    nextone held-out

People of one half of a log show what videos are like. Each impression of the other half is then predicted from the
person's own earlier ones. The prediction is the model's: a posterior over the person's lasting effect and the video's
quality under `sim/watching.py`, with the scenario's numbers. A boosted tree on the same knowledge is compared with it.
"""

from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.optimize import brentq
from scipy.special import ndtr
from scipy.stats import rankdata

from nextone.experiments.fitting.logs.user_log import UserLog
from nextone.sim.config import Scenario
from nextone.sim.scenario import SettingError
from nextone.sim.state import Array
from nextone.sim.watching import LONG_US, PEAK_US, SKIP_US, VALID_US

NODES, NOISE_NODES = 25, 5  # quadrature: of a person's effect or a video's quality, of all that varies by impression
PASSES = 4  # of learning people given videos and videos given people
BINS = 10  # of equal size, for the calibration error
TREES = dict(learning_rate=0.03, max_iter=150, max_leaf_nodes=15, min_samples_leaf=100, l2_regularization=1.0)
FOLDS = 5  # of people, so that no impression of the baseline's lessons tells its own outcome
WHAT = ("valid play", "long view")
AUC_GAP, MOST_ERROR = 0.01, 0.02  # Assumed: so near a boosted tree's AUC, and so small a calibration error, will do


class Told(NamedTuple):
    """How well one outcome is predicted for held-out impressions."""

    outcome: str
    impressions: int
    auc: float
    baseline_auc: float
    calibration_error: float
    baseline_calibration_error: float


class Rows(NamedTuple):
    """Impressions of one half, by person and time."""

    user: Array
    video: Array
    length_s: Array
    level: Array  # 0: under 2 s, 1: under 7 s, 2: under 18 s, 3: a long view; the end counts as reached
    hour: Array
    tag: Array


def rows_of(log: UserLog) -> Rows:
    """The impressions of a log, with the level of each play."""
    play, length = log.play_ms * 1000, log.duration_ms * 1000
    level = sum((play >= np.minimum(us, length)).astype(int) for us in (SKIP_US, VALID_US, LONG_US))
    tag = np.full(len(play), -1) if log.tag is None else log.tag.astype(int)
    return Rows(log.user, log.video, length / 1e6, np.asarray(level), log.hour, tag)


class Model:
    """Chances of the four levels of play, given a person's effect and a video's quality."""

    def __init__(self, scenario: Scenario, rows: Rows) -> None:
        w, p = scenario.watching, scenario.population
        self.w, self.person_sd, self.quality_sd = w, p.person_sd, scenario.catalogue.quality_sd
        passing = scenario.interests
        sd = float(np.sqrt(p.match_sd**2 + p.taste_sd**2 + passing.mood_sd**2 + passing.intent_sd**2))
        x, weight = np.polynomial.hermite_e.hermegauss(NOISE_NODES)
        self.noise, self.weight = sd * x, weight / weight.sum()
        self.node, prior = np.polynomial.hermite_e.hermegauss(NODES)
        self.prior = prior / prior.sum()
        self.shift = 0.0  # what is shown was chosen: it suits more than a random video does
        self.shift = float(brentq(lambda s: self._surplus(rows, s), -8, 8, xtol=0.01))

    def _surplus(self, rows: Rows, shift: float) -> float:
        self.shift = shift
        some = np.arange(0, len(rows.user), max(len(rows.user) // 4_000, 1))
        spread = np.hypot(self.person_sd, self.quality_sd) * self.node
        long = self.chances(rows.length_s[some], spread[None], np.zeros(1))[3]
        return float((long @ self.prior).mean() - np.mean(rows.level == 3))

    def chances(self, length_s: Array, odds: Array, person: Array) -> Array:
        """The chances of the four levels, (4, n, K). odds: (n or 1, K) log-odds of staying, besides those of the
        length; person: (n or 1, K)."""
        w = self.w
        x = np.log(length_s / (PEAK_US / 1e6))
        base = w.stay + self.shift + w.stay_shorter * np.minimum(x, 0) + w.stay_longer * np.maximum(x, 0)
        shape = np.broadcast_shapes((len(x), 1), np.shape(odds), np.shape(person))
        reached = np.ones((4, *shape))
        for k, us in enumerate((SKIP_US, VALID_US, LONG_US), start=1):
            t = np.log(np.maximum(np.minimum(us / 1e6, length_s) - w.dead_time_s, 1e-3))[:, None]
            early = ndtr((t - w.skip_log_mean - w.skip_log_slope * person) / w.skip_log_sd)
            total = np.zeros(shape)
            for noise, weight in zip(self.noise, self.weight, strict=True):
                logit = base[:, None] + odds + noise
                late = ndtr((t - w.watch_log_mean - w.watch_log_slope * logit) / w.watch_log_sd)
                stay = 1 / (1 + np.exp(-logit))
                total += weight * (1 - early + stay * (early - np.minimum(early, late)))
            reached[k] = total
        return np.asarray(reached - np.append(reached[1:], np.zeros((1, *shape)), axis=0))

    def likelihood(self, rows: Rows, quality: Array, person: Array) -> Array:
        """The likelihood of each row's level, (n, K). quality and person: (n or 1, K or 1)."""
        chance = self.chances(rows.length_s, quality + person, person)
        found: Array = np.take_along_axis(chance, rows.level[None, :, None], axis=0)[0]
        return found

    def learn_videos(self, rows: Rows, videos: int) -> Array:
        """Posterior means of the qualities of all videos, (V,), from one half's rows."""
        quality, people = np.zeros(videos), int(rows.user.max()) + 1
        for _ in range(PASSES):
            person = self._posterior(
                rows.user, people, self.person_sd,
                self.likelihood(rows, quality[rows.video][:, None], self.person_sd * self.node[None]),
            )  # fmt: skip
            quality = self._posterior(
                rows.video, videos, self.quality_sd,
                self.likelihood(rows, self.quality_sd * self.node[None], person[rows.user][:, None]),
            )  # fmt: skip
        return quality

    def _posterior(self, group: Array, groups: int, sd: float, likelihood: Array) -> Array:
        log = np.stack([np.bincount(group, column, groups) for column in np.log(likelihood).T], axis=1)
        weight = self.prior * np.exp(log - log.max(axis=1, keepdims=True))
        return np.asarray(sd * (weight @ self.node) / weight.sum(axis=1))

    def predict(self, rows: Rows, quality: Array) -> Array:
        """(n, 2) chances of a valid play and a long view, each from the person's rows before it."""
        found = np.empty((len(rows.user), 2))
        weight = np.tile(self.prior, (int(rows.user.max()) + 1, 1))
        person = self.person_sd * self.node[None]
        for now in by_turn(rows.user):
            chance = self.chances(rows.length_s[now], quality[rows.video[now]][:, None] + person, person)
            who = rows.user[now]
            found[now, 0] = np.sum(weight[who] * (chance[2] + chance[3]), axis=1)
            found[now, 1] = np.sum(weight[who] * chance[3], axis=1)
            after = weight[who] * np.take_along_axis(chance, rows.level[now][None, :, None], axis=0)[0]
            weight[who] = after / after.sum(axis=1, keepdims=True)
        return found


def by_turn(user: Array) -> list[Array]:
    """The first row of everybody, the second, ...; user (n,) sorted."""
    turn = np.arange(len(user)) - np.searchsorted(user, user)
    return [np.flatnonzero(turn == k) for k in range(int(turn.max()) + 1)]


def auc(score: Array, happened: Array) -> float:
    """Chance that a row where it happened scores higher than one where it did not."""
    yes, rank = int(happened.sum()), rankdata(score)
    return float((rank[happened].sum() - yes * (yes + 1) / 2) / (yes * (len(score) - yes)))


def calibration_error(chance: Array, happened: Array) -> float:
    """Expected calibration error: the mean distance of the predicted chance from the share that happened, over BINS of
    equal size."""
    parts = np.array_split(np.argsort(chance, kind="stable"), BINS)
    gaps = [abs(chance[part].mean() - happened[part].mean()) * len(part) for part in parts if len(part)]
    return float(sum(gaps) / len(chance))


def features(rows: Rows, taught: Rows, apart: Array | None = None) -> Array:
    """The inputs of a boosted tree: the person's earlier rows, what the video did in `taught`, length, hour, tag.

    apart: (n,) fold of each row, if rows and taught are the same: what is known of a video then comes from the other
    folds only."""
    start = np.searchsorted(rows.user, rows.user)
    here = np.arange(len(rows.user))
    columns = [here - start, rows.length_s, rows.hour, rows.tag]
    fold = np.zeros(len(rows.user), int) if apart is None else apart
    for k in (1, 2, 3):
        reached = np.append(0.0, np.cumsum(rows.level >= k))
        columns.append((reached[here] - reached[start] + 4 * np.mean(taught.level >= k)) / (here - start + 4))
    seen, rates = np.empty(len(here)), np.empty((3, len(here)))
    for one in range(FOLDS if apart is not None else 1):
        told = np.ones(len(taught.user), bool) if apart is None else apart != one
        mine, videos = fold == one, int(max(rows.video.max(), taught.video.max())) + 1
        count = np.bincount(taught.video[told], minlength=videos)
        seen[mine] = count[rows.video[mine]]
        for k in (1, 2, 3):
            of_video = np.bincount(taught.video[told], taught.level[told] >= k, videos)
            rates[k - 1, mine] = ((of_video + 8 * np.mean(taught.level >= k)) / (count + 8))[rows.video[mine]]
    return np.stack([*columns, seen, *rates], axis=1)


def boosted_trees() -> Any:
    """The class of the baseline. Raises SettingError where scikit-learn, which only this needs, is not installed."""
    try:
        from sklearn.ensemble import HistGradientBoostingClassifier
    except ImportError:
        raise SettingError("nextone held-out needs scikit-learn; pip install 'nextone[dev]'") from None
    return HistGradientBoostingClassifier


def split(log: UserLog, seed: int) -> Array:
    """(n,) rows of the half of the users that is fitted to."""
    chosen = np.random.Generator(np.random.Philox(key=[seed, 0x68616C66])).permutation(log.users) < log.users // 2
    return np.asarray(chosen[log.user])


def response(scenario: Scenario, taught: UserLog, held: UserLog, video_of: tuple[Array, Array]) -> list[Told]:
    """How well plays of `held` are predicted from what `taught` shows. video_of: the videos of both, with the same
    numbers."""
    trees = boosted_trees()
    one, two = (rows_of(log)._replace(video=video) for log, video in zip((taught, held), video_of, strict=True))
    videos = int(max(v.max() for v in video_of)) + 1
    model = Model(scenario, one)
    chance = model.predict(two, model.learn_videos(one, videos))
    known, asked = features(one, one, one.user % FOLDS), features(two, one)
    told = []
    for k, what in enumerate(WHAT):
        happened = two.level >= 2 + k
        other = trees(random_state=0, **TREES).fit(known, one.level >= 2 + k).predict_proba(asked)[:, 1]
        told.append(
            Told(what, len(happened), auc(chance[:, k], happened), auc(other, happened),
                 calibration_error(chance[:, k], happened), calibration_error(other, happened))
        )  # fmt: skip
    return told


def response_table(told: list[Told]) -> Table:
    """The predictions as a table."""
    table = Table(
        title="Plays of held-out users, told one by one from their own earlier plays and the other half's videos",
        title_justify="left", caption_justify="left",
        caption=f"Wanted: AUC within {AUC_GAP} of the boosted tree's, calibration error <= {MOST_ERROR}.",
    )  # fmt: skip
    for name in ("outcome", "impressions", "AUC", "AUC of a boosted tree", "calibration error", "of the tree"):
        table.add_column(name, justify="left" if name == "outcome" else "right")
    for t in told:
        numbers = (t.auc, t.baseline_auc, t.calibration_error, t.baseline_calibration_error)
        table.add_row(t.outcome, f"{t.impressions:,}", *(f"{x:.4f}" for x in numbers))
    return table


if __name__ == "__main__":
    from nextone.experiments.fitting.logs.user_log import shipped_log

    log = shipped_log()
    mine = split(log, 0)
    both = response(Scenario(), log.select(mine), log.select(~mine), (log.video[mine], log.video[~mine]))
    Console(width=120).print(response_table(both))
