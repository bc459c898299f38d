"""How the model is compiled: `@kernel` for functions that only look into the arrays they are given.

Without reference counts: a life passes the same few arrays to dozens of small functions per event, and counting who
holds them took a fifth of the time. Such a function may not make an array, or be given a new one by another; the
compiler refuses the former. `@allocating` functions may, when kernels call them. `_nrt` is numba's switch for counting.
"""

from functools import partial

from numba import njit

kernel = partial(njit, cache=True, error_model="numpy", _nrt=False)()
allocating = partial(njit, cache=True, error_model="numpy", _nrt=True)()
