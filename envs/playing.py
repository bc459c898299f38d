"""Models of other libraries, trained in our environments, as policies: `from_sb3(model)`, `from_torchrl(actor)`.

Such a model maps an observation in one of the environments' forms to an action. Here it plays wherever a policy does:
each observation is put into the form that the model was trained on, and the action that it takes becomes the slot that
is shown next. A network that scores candidates itself needs no form: see `policies/torch_module.py`. Called by users,
as `nextone.from_sb3` and `nextone.from_torchrl`.
"""

import inspect
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from .features import Observation, X
from .forms import DTYPES, FEATURES, FORMS, Form, rows_of

Act = Callable[[Any, NDArray[np.int8]], Any]
"""act(observations of N people in the model's form, masks (N, A)) -> actions (N,)."""
FormOf = Callable[[int, int], tuple[Form, bool]]
"""The form that a model was trained on, for so many slots and past impressions, and whether it may ask for pages."""


class FormPolicy:
    """A model as a policy without memory. Made by `from_sb3` and `from_torchrl`.

    `pad_to`: every call is about so many people, so that nobody's action depends on who else is asked. `cost` may be
    set, (time, bytes), see `policies/contract.py: Options`; otherwise ranking takes no time."""

    pad_to = 64

    def __init__(self, act: Act, form_of: FormOf, name: str) -> None:
        self._act, self._form_of, self.__name__ = act, form_of, name

    def start(self, n: int) -> None:
        """None: such models keep nothing from one decision to the next."""

    def __call__(self, observation: Observation, memory: None) -> tuple[NDArray[np.float32], None]:
        """1 for the slot that the model takes, 0 for the others; with one more column if it may ask for pages.

        An action that is not allowed is the nearest that is, as in the environments. Raises ValueError if the model was
        trained on observations of another shape."""
        people, slots = observation.mask.shape
        form, asks = self._form_of(slots, observation.history.shape[1])
        allowed = [observation.mask != 0] + asks * [observation.context[:, X.may_ask, None] > 0]
        masks = np.concatenate(allowed, axis=1).astype(np.int8)
        actions = np.asarray(self._act(form.seen(form.told(rows_of(observation)), masks), masks)).reshape(people, 1)
        places = np.arange(masks.shape[1])
        far = 2 * np.abs(places - actions) + (places > actions)  # of two as near, the lower
        taken = np.where(masks != 0, far, 2 * len(places) + 2).argmin(axis=1)
        scores = np.zeros(masks.shape, np.float32)
        scores[np.arange(people), taken] = 1.0
        return scores, None


def from_sb3(model: Any, *, normalised_by: Any = None) -> FormPolicy:
    """A model of stable-baselines3 or sb3-contrib without recurrence, as a policy. It acts as the model does with
    `deterministic=True`, with masks if the model's `predict` takes them.

    The form of observation is found from the model's own spaces. normalised_by: the VecNormalize that it was trained
    behind. Raises ValueError if it is no such model."""
    name, space, actions = type(model).__name__, getattr(model, "observation_space", None), _count(model)
    if space is None or not actions or not callable(getattr(model, "predict", None)):
        raise ValueError(f"{str(model)[:60]!r} must be a model of stable-baselines3, as PPO.load(file) returns it")
    takes_masks = "action_masks" in inspect.signature(model.predict).parameters

    def act(seen: Any, masks: NDArray[np.int8]) -> Any:
        if normalised_by is not None:
            seen = normalised_by.normalize_obs(seen)
        given = {"action_masks": masks != 0} if takes_masks else {}
        return model.predict(seen, deterministic=True, **given)[0]

    def form_of(slots: int, past: int) -> tuple[Form, bool]:
        asks = actions == slots + 1
        for form, features, dtype in product(FORMS, FEATURES, DTYPES):
            made = Form(slots, past, slots + asks, form, features, dtype)
            if actions == slots + asks and _shapes(made.space) == _shapes(space):
                return made, asks
        raise ValueError(
            f"policy {name} was not trained on {slots} slots and {past} past impressions, in any form; play it in the "
            "scenario that it was trained in"
        )

    return FormPolicy(act, form_of, name)


def from_torchrl(
    actor: Any, *, form: str = "masked", features: str = "all", dtype: str = "float32", refresh: bool = False
) -> FormPolicy:
    """A TorchRL actor (a TensorDictModule that writes `action`) as a policy; it acts without exploring.

    form, features, dtype, refresh: as in the environment that it was trained in. Needs the packages torchrl and
    tensordict."""

    def act(seen: Any, masks: NDArray[np.int8]) -> Any:
        from tensordict import TensorDict
        from torchrl.envs.utils import ExplorationType, set_exploration_type

        named = seen if isinstance(seen, dict) else {"observation": seen}
        held = TensorDict(named, batch_size=[len(masks)])
        if "action_mask" in held.keys():  # noqa: SIM118 (a TensorDict iterates over its rows)
            held["action_mask"] = held["action_mask"].bool()
        with set_exploration_type(ExplorationType.DETERMINISTIC):
            action = actor(held)["action"].detach().numpy()
        return action.argmax(axis=-1) if action.ndim > 1 else action  # one-hot, unless categorical

    def form_of(slots: int, past: int) -> tuple[Form, bool]:
        return Form(slots, past, slots + refresh, form, features, dtype), refresh

    return FormPolicy(act, form_of, type(actor).__name__)


def _count(model: Any) -> int:
    """How many actions a model has; 0 if it is not known."""
    return int(getattr(getattr(model, "action_space", None), "n", 0))


def _shapes(space: spaces.Space[Any]) -> dict[str, tuple[int, ...] | None]:
    """Shapes of the arrays of a space, by name. Bounds do not matter: a VecNormalize changes them."""
    return {name: part.shape for name, part in space.items()} if isinstance(space, spaces.Dict) else {"": space.shape}
