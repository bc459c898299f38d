"""The cloud's side: how large the next page is, how many candidates come with it, and how long they may be shown.

A step lasts from one page to the next. What is chosen holds for the request that comes next, as if the page that just
landed said so to the phone. In between the phone ranks by a fixed rule. The world is `envs/vector.py`'s, of one person,
whose settings change between requests; there are no other dynamics.
"""

from collections.abc import Sequence
from math import inf, isfinite
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode

from nextone.sim.config import NEVER_US
from nextone.sim.scenario import SettingError, with_settings
from nextone.sim.state import IDLE

from .acting import Ranker
from .arguments import ScenarioLike, scenario_of, whole
from .features import COUNTS
from .forms import Observations, row_of
from .reward import COMPONENTS, REWARD_INFO
from .vector import NextOneVectorEnv


class CloudEnv(gymnasium.Env[Observations, Any]):
    """One person's pages. An action is (page size, candidates, TTL), each as a place in the lists given.

    ranker: ranks on the phone at each swipe. pages, candidates, ttls_s: what there is to choose from; a page is never
    larger than its candidates. load_price: what a second of the server's time costs, in the unit of the reward, besides
    the reward's own price of a request. scenario: it also says what the first page is like, before anything was chosen;
    its page size and candidates need not be in the lists. More arguments are those of `NextOneVectorEnv`. Raises
    SettingError.

    info: `load_s` of server time since the last step, `pages` so far, and the reward's components."""

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 (Gymnasium's)

    def __init__(
        self,
        ranker: Ranker,
        *,
        pages: Sequence[int] = (3, 6, 12),
        candidates: Sequence[int] = (12, 20, 40),
        ttls_s: Sequence[float] = (60.0, 600.0, inf),
        load_price: float = 0.0,
        scenario: ScenarioLike = None,
        render_mode: None = None,
        **arguments: Any,
    ) -> None:
        if not isfinite(load_price):
            raise SettingError(f"load_price={load_price} must be a finite number")
        given = scenario_of(scenario)
        least = given.client.refill_at + 1  # or a page would be asked for as soon as one has landed
        self._choices = _whole("pages", pages, least), _whole("candidates", candidates, max(least, 2)), _ttls(ttls_s)
        self._first = given.server.page_size, given.server.candidates, _us(given.client.ttl_s)
        most = max(given.server.candidates, *self._choices[1])
        room = with_settings(given, {"server.candidates": most})
        self._ranker, self._price, self.render_mode = ranker, load_price, render_mode
        self._inner = NextOneVectorEnv(
            1, scenario=room, action="scores", autoreset_mode=AutoresetMode.DISABLED, **arguments
        )
        self.observation_space = self._inner.single_observation_space
        self.action_space = spaces.MultiDiscrete([len(values) for values in self._choices])
        self._over = True

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observations, dict[str, Any]]:
        """Begin with a fresh person, whose first page has landed."""
        super().reset(seed=seed)
        self._use(*self._first)
        observations, _ = self._inner.reset(seed=seed, options=options)
        self._use(*self._first)  # a reset with another scenario makes another world
        self._over, self._pages = False, 1
        return row_of(observations, 0), self._about(np.zeros(len(COMPONENTS)), 0.0)

    def step(self, action: Any) -> tuple[Observations, float, bool, bool, dict[str, Any]]:
        """Go on until the next page has landed, or the session is over. Raises ValueError for an action outside the
        space."""
        if self._over:
            raise ResetNeeded("the session is over; reset the environment before the next step")
        if not self.action_space.contains(np.asarray(action)):
            raise ValueError(f"action {action!r} must be whole numbers, one of each list: {self.action_space}")
        page, most, ttl_us = (values[k] for values, k in zip(self._choices, np.asarray(action), strict=True))
        self._use(min(page, most), most, ttl_us)
        sent, components, reward = self._user()["request"], np.zeros(len(COMPONENTS)), 0.0
        while True:
            seen = self._inner.observation()
            moved = self._inner.advance(np.where(seen.mask, np.asarray(self._ranker(seen), np.float32), 0.0))
            components += moved.components[0]
            reward += moved.reward.item(0)
            self._over = bool(moved.terminated[0] | moved.truncated[0])
            landed = self._user()["request"] > sent and self._user()["request_state"] == IDLE
            if self._over or landed:
                break
        self._pages += int(landed)
        load_s = self._user()["service_us"] / 1e6 if landed else 0.0
        return (
            row_of(moved.observations, 0), reward - self._price * load_s, moved.terminated.item(0),
            moved.truncated.item(0), self._about(components, load_s),
        )  # fmt: skip

    def close(self) -> None:
        """End the use of the environment; later calls raise ClosedEnvironmentError."""
        self._inner.close()

    def _use(self, page: int, candidates: int, ttl_us: int) -> None:
        """What the next request asks for."""
        params = self._inner.world.params
        params["page_size"], params["candidates"], params["ttl_us"] = page, candidates, ttl_us

    def _user(self) -> Any:
        return self._inner.world.users[0]

    def _about(self, components: Any, load_s: float) -> dict[str, Any]:
        return {
            "pages": self._pages, "load_s": load_s,
            **dict(zip(REWARD_INFO, components.tolist(), strict=True)),
        }  # fmt: skip


def _whole(name: str, values: Sequence[int], least: int) -> tuple[int, ...]:
    for value in values:
        whole(name, value, least, COUNTS)  # as many as an observation tells apart
    if not len(values):
        raise SettingError(f"{name} is empty; give at least one value")
    return tuple(int(value) for value in values)


def _us(seconds: float) -> int:
    return NEVER_US if seconds == inf else round(seconds * 1e6)


def _ttls(values: Sequence[float]) -> tuple[int, ...]:
    if not len(values) or not all(isinstance(v, int | float | np.number) and v > 0 for v in values):
        raise SettingError(f"ttls_s={list(values)} must be seconds > 0; inf for pools that do not expire")
    return tuple(map(_us, values))
