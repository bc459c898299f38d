"""N rows of a world, each person at a decision of their own: what every environment here shares.

No conventions of Gymnasium's; `envs/vector.py` adds those. Holds the world, the episodes and the memory for
observations, and calls `envs/episode.py`'s `move_rows`, on all cores if there are many rows.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from nextone.sim.config import Cost, Scenario
from nextone.sim.engine.threads import in_blocks
from nextone.sim.population import row_bytes
from nextone.sim.scenario import SettingError
from nextone.sim.state import World, blank
from nextone.sim.world import ask_after, build_world

from .acting import Acting, Ranker
from .episode import DAY_US, END_US, EPISODE, LOG_ROWS, OVER, UNBORN, WINDOW_US, Views, look_rows, move_rows
from .features import CANDIDATE, CONTEXT, HISTORY, LASTING, Observation
from .forms import Form, Observations
from .lending import Lender
from .reward import RewardWeights

Rows = NDArray[np.int64]

PARALLEL_FROM = 128  # rows; handing over to threads costs about as much as moving a dozen of them


class Moved(NamedTuple):
    """What one step of every row brought; fresh arrays."""

    observations: Observations
    reward: NDArray[np.float64]  # (N,)
    terminated: NDArray[np.bool_]  # (N,)
    truncated: NDArray[np.bool_]  # (N,)
    components: NDArray[np.float64]  # (N, K), in the order of reward.COMPONENTS
    shown: NDArray[np.int64]  # (N,) slot whose video was shown, -1 if none of them
    hazard: NDArray[np.float64]  # (N,) of leaving, that the step held: for training, no phone knows it


class State(NamedTuple):
    """All that the future of an environment depends on beside its arguments and the actions to come: its own copy."""

    scenario: Scenario  # that the rows live in; `reset` may have been given another than the environment's
    arrays: dict[str, NDArray[Any]]  # a row per person


class Batch:
    """The world of n rows and what of it is seen. Copied and pickled, it is made anew and brought to the same state.

    max_steps: 0 for no limit. budget: pages that may be asked for in an episode, -1 for any number. refresh: whether
    that is an action. action: `acting.Acting`'s action, of_order and ranker. trigger: ask only after feedback,
    or after so many impressions without; 0: at every swipe. days: how long people come back, 0: an episode is a
    session. inference: whether decisions take the phone's time. queue_waits: us, by rising probability. form:
    form, features and dtype of `forms.Form`.
    """

    def __init__(
        self,
        n: int,
        scenario: Scenario,
        weights: RewardWeights,
        *,
        max_steps: int,
        budget: int,
        refresh: bool,
        action: tuple[str, int | None, Ranker | None],
        trigger: int,
        days: int,
        inference: bool,
        queue_waits: NDArray[np.int64],
        form: tuple[str, str, str],
    ) -> None:
        options = {
            "max_steps": max_steps, "budget": budget, "refresh": refresh, "action": action, "trigger": trigger,
            "days": days, "inference": inference, "form": form,
        }  # fmt: skip
        self._made_of: dict[str, Any] = options | {"n": n, "weights": weights, "queue_waits": queue_waits}
        self.rows = np.arange(n)
        self.episodes = blank(n, EPISODE)
        self.who = self.episodes["person"], self.episodes["number"]
        self._states = self.episodes["state"]
        self._weights, self._max_steps, self._budget = weights.array(), max_steps, budget
        self._inference, self._queue_waits, self._trigger = inference, queue_waits, trigger
        self._until = np.int64(WINDOW_US + days * DAY_US if days else END_US), days > 0
        self._compiled: Callable[..., None] | None = None
        self.use(scenario)
        self.slots, self.past = self.world.pool.shape[1], self.world.history.shape[1]
        self.actions = self.slots + refresh
        self.acting = Acting(action[0], self.slots, refresh, *action[1:])
        self._ranked = np.zeros((n, self.actions if self.acting.ranks else 0), np.float32)
        self.masks = np.zeros((n, self.actions), np.bool_)  # of the last observations
        self.shown = np.full(n, -1)  # slot whose video was shown last
        self._known: tuple[NDArray[Any], ...] = (
            np.zeros((n, self.slots, LASTING), np.float32),
            np.zeros((n, self.slots), np.int64),
            np.zeros((n, self.past, len(HISTORY)), np.float32),
        )
        self.form = Form(self.slots, self.past, self.acting.choices, *form)
        self._lender = Lender((n, self.form.size))
        self._seen, self._told = self._views(), np.empty(0)  # what was observed last, and handed out of it

    def use(self, scenario: Scenario) -> None:
        """Build the world of a scenario, but for its number of people; nobody has opened the app in it yet."""
        if scenario.server.candidates < 2:
            raise SettingError("server.candidates=1 leaves nothing to choose; an environment needs at least 2")
        n = len(self.rows)
        people = scenario.population.model_copy(update={"users": n})
        self.world: World = build_world(
            scenario.model_copy(update={"population": people}),
            edge=True,
            cost=Cost(time=1.0),  # an agent is a network that comes with the app
            instant=not self._inference,
            seed=0,
            window_us=WINDOW_US,
            log_rows=LOG_ROWS,
            parts=numba.get_num_threads() if n >= PARALLEL_FROM else 1,
            queue_waits=self._queue_waits,
            drawn=False,  # each episode draws its own
        )
        if self._trigger:
            ask_after(self.world, self._trigger)
        self.scenario = scenario
        self._clocks = self.world.users["now_us"], self.world.users["opened_us"]
        self._row_bytes = row_bytes(self.world)
        self.begun = False  # whether every row has
        self._compiled = None

    def begin(self, which: Rows) -> Observations:
        """The episodes that `episodes` says begin in the rows `which`; what is seen of all rows."""
        self._seen, self.begun = self._views(), True
        if len(which) < len(self.rows):
            look_rows(self.world, self.episodes, np.setdiff1d(self.rows, which), self._budget, self._seen)
        self._begin(which)
        return self._observations()

    def restart(self, which: Rows) -> Observations:
        """The next episodes of the rows `which`, seen in their rows of the last observations."""
        self._next(which)
        self._begin(which)
        if not self.form.as_observed:
            self._told[which] = self.form.told(self._seen.seen[which])
        return self.form.seen(self._told, self.allowed.view(np.int8))

    def step(self, actions: NDArray[Any], over: Rows, alone: bool = False) -> Moved:
        """One step of every row; those that are over (n,) begin their next episode instead. actions: slots (N,), or
        scores (N, A). alone: observations are what row 0 sees."""
        if len(over):
            self._next(over)
        self._seen = self._views()
        if self._ranked.size:
            self._ranked[:], actions = actions, self.rows
        components, reward, terminated, truncated, shown, hazard = self._move(self.rows, actions)
        self.shown[:] = shown
        return Moved(self._observations(alone), reward, terminated, truncated, components, shown, hazard)

    def minutes(self, i: int) -> float:
        """How long the session in row i has lasted."""
        now_us, opened_us = self._clocks
        return float((now_us.item(i) - opened_us.item(i)) / 6e7)

    def over(self) -> NDArray[np.bool_]:
        """Which rows' episodes have ended, (N,)."""
        ended: NDArray[np.bool_] = self._states == OVER
        return ended

    def over_one(self) -> bool:
        """`over` of row 0."""
        return bool(self._states.item(0) == OVER)

    def state(self) -> dict[str, NDArray[Any]]:
        """All that changes from step to step, as arrays with a row per person."""
        arrays: dict[str, NDArray[Any]] = {f"people{k}": rows for k, rows in enumerate(self._row_bytes)}
        arrays |= {f"known{k}": rows for k, rows in enumerate(self._known)}
        episodes = self.episodes.view(np.uint8).reshape(len(self.rows), -1)
        return arrays | {"key": self.world.key, "episodes": episodes, "masks": self.masks}

    def keep(self) -> State:
        """A copy of the state."""
        return State(self.scenario, {name: array.copy() for name, array in self._all().items()})

    def go_back(self, state: State) -> None:
        """To a state of a batch of the same size. Raises SettingError if it is of another."""
        if state.scenario != self.scenario:
            self.use(state.scenario)
        own = self._all()
        fits = own.keys() == state.arrays.keys() and all(
            (own[name].shape, own[name].dtype) == (array.shape, array.dtype) for name, array in state.arrays.items()
        )
        if not fits:
            raise SettingError("the state is of another kind of environment; give one with as many people and slots")
        for name, array in state.arrays.items():
            own[name][...] = array
        self.begun = True

    def __reduce__(self) -> tuple[Callable[..., "Batch"], tuple[Any, ...]]:
        return _made_again, (self._made_of, self.keep(), self.begun)

    def _all(self) -> dict[str, NDArray[Any]]:
        return self.state() | {"shown": self.shown}

    def _next(self, which: Rows) -> None:
        """What begins by itself: the next episode, of person 0 on any link."""
        episodes = self.episodes
        episodes["number"][which] += 1
        episodes["person"][which], episodes["link"][which], episodes["state"][which] = 0, -1, UNBORN

    def _begin(self, which: Rows) -> None:
        self.episodes["state"][which] = UNBORN
        self.shown[which] = -1
        self._move(which, np.zeros(len(self.rows), np.int64))

    def _move(self, which: Rows, actions: Rows) -> tuple[NDArray[Any], ...]:
        """`move_rows` for the rows `which`: components, rewards, terminations, truncations, slots shown, hazards. Only
        their rows of the result mean anything."""
        n = len(self.rows)
        out = (
            np.empty((n, len(self._weights))), np.empty(n), np.empty(n, np.bool_), np.empty(n, np.bool_),
            np.empty(n, np.int64), np.empty(n),
        )  # fmt: skip
        head = (self.world, self._row_bytes, self.episodes)
        how = (actions, self._ranked, self._weights, self._max_steps, self._budget, *self._until, self._seen)
        move = self._compiled or self._compile((*head, which, 0, *how, *out))
        parts = len(self.world.logged) if len(which) >= PARALLEL_FROM else 1
        in_blocks(lambda start, stop, part: move(*head, which[start:stop], part, *how, *out), len(which), parts)
        return out

    def _compile(self, arguments: tuple[Any, ...]) -> Callable[..., None]:
        """`move_rows` for these types of arguments, which never change in a world. Left to numba, they would be looked
        up at every call: that takes as long as moving a row."""
        move: Callable[..., None] = move_rows
        if not numba.config.DISABLE_JIT:  # type: ignore[attr-defined]
            types = tuple(map(numba.typeof, arguments))
            move_rows.compile(types)
            move = move_rows.get_overload(types)
        self._compiled = move
        return move

    def _views(self) -> Views:
        """Where the next observations go: memory that no other array looks at."""
        many = len(self.rows) >= PARALLEL_FROM  # memory of few rows is not worth keeping
        seen = self._lender.lend() if many else np.empty(self._lender.shape, np.float32)
        return Views(seen, self.masks, *self._known)

    def _observations(self, alone: bool = False) -> Observations:
        """What was observed last, in the form asked for; alone: by row 0."""
        self._told, allowed = self.form.told(self._seen.seen), self.allowed.view(np.int8)
        return self.form.seen(self._told[0], allowed[0]) if alone else self.form.seen(self._told, allowed)

    @property
    def allowed(self) -> NDArray[np.bool_]:
        """What may be done now, (N, choices)."""
        return self.acting.allowed(self.masks)

    def observation(self) -> Observation:
        """What was observed last, as policies see it: views."""
        n, slots, past = len(self.rows), self.slots, self.past
        candidates, context, history = np.split(
            self._seen.seen, np.cumsum([slots * len(CANDIDATE), len(CONTEXT)]), axis=1
        )
        return Observation(
            candidates.reshape(n, slots, -1), history.reshape(n, past, -1), context, self.masks[:, :slots]
        )  # fmt: skip


def _made_again(made_of: dict[str, Any], state: State, begun: bool) -> Batch:
    batch = Batch(scenario=state.scenario, **made_of)
    batch.go_back(state)
    batch.begun = begun
    return batch
