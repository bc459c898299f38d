"""Weights and Adam's moments as named arrays, and back; torch's threads. Shared by both kinds of training:
`rl/resume.py` and `edge/train.py`."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numba
import torch
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]
MOMENTS = "optimiser."  # how the names of Adam's moments begin


def weights_of(module: torch.nn.Module) -> Arrays:
    """Views of a network's weights, by name."""
    return {name: tensor.detach().numpy() for name, tensor in module.state_dict().items()}


def moments_of(optimiser: torch.optim.Optimizer) -> Arrays:
    """Views of Adam's moments, by number of the parameter; none before the first update."""
    return {
        f"{MOMENTS}{k}.{name}": tensor.numpy()
        for k, parameter in enumerate(_parameters(optimiser))
        for name, tensor in optimiser.state.get(parameter, {}).items()
    }


def begin_moments(optimiser: torch.optim.Optimizer) -> None:
    """Give Adam zero moments, for saved ones to be copied over."""
    for parameter in _parameters(optimiser):
        moments = {name: torch.zeros_like(parameter.data) for name in ("exp_avg", "exp_avg_sq")}
        optimiser.state[parameter] = {"step": torch.tensor(0.0)} | moments


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """A block in which torch has so many threads.

    numba is asked for its number first: both may share one OpenMP, whose number numba sets when it is first asked."""
    numba.get_num_threads()
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _parameters(optimiser: torch.optim.Optimizer) -> list[torch.Tensor]:
    return [parameter for group in optimiser.param_groups for parameter in group["params"]]
