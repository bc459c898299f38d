"""What the trainings of these tests have in common."""

import numba
import pytest
import torch


@pytest.fixture(scope="module")
def one_thread():
    """Threads that wait for each other are slow while other tests run."""
    before = torch.get_num_threads(), numba.get_num_threads()
    torch.set_num_threads(1), numba.set_num_threads(1)
    yield
    torch.set_num_threads(before[0]), numba.set_num_threads(before[1])
