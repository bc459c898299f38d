"""The parts of which small networks are made, compiled: for one person at a time, float32.

A phone's network is so small that eager torch spends most of its time between operations. A batch of a few people,
filled up to a fixed size for the sake of equal bits, spends most of it on empty rows. Here a person's scores depend
only on that person's own numbers, whoever else is asked, in any number of threads. Scores agree with torch to 1e-5
(tested), but not to the bit, because sums run in another order. The compiler may fuse and reorder products and sums,
except in `exponential`.

Called by the networks' twins, `*/compiled.py`. Weights are given input first, (K, J), so that outputs are side by side.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import get_num_threads
from torch import nn

from nextone.sim.engine.kernel import compiled
from nextone.sim.engine.threads import in_blocks
from nextone.sim.state import Array

network_kernel = compiled(nogil=True, fastmath={"contract", "reassoc", "nsz"})
"""Of a network's own functions. The world's are compiled without such liberties."""

LOG2_E, LN_2_HIGH, LN_2_LOW = np.float32(1.4426950409), np.float32(0.693359375), np.float32(-2.12194440e-4)
ROUNDS = np.float32(12582912.0)  # 1.5 * 2**23: added and taken away, it rounds to a whole number
MOST = np.float32(87.0)
FEWEST = 4  # people worth a thread: one takes some 100 us, to hand over and wait as much
LANES = 32
"""Numbers that a compiled loop works on at once; what is left over goes one by one, so that loops are worth padding."""
HALF, ONE, TWO = np.float32(0.5), np.float32(1.0), np.float32(2.0)


@compiled(nogil=True, fastmath={"contract"})  # else it inherits its caller's
def exponential(x):
    """exp(x) of a float32 in [-87, 87], outside of it that of the nearer end; relative error 2e-7, without a branch.

    Source: Cephes' expf (Moshier), 2**n times a polynomial."""
    x = np.float32(min(max(x, -MOST), MOST))
    shifted = np.float32(x * LOG2_E + ROUNDS)
    n = shifted - ROUNDS
    t = (x - n * LN_2_HIGH) - n * LN_2_LOW
    p = np.float32(1.9875691500e-4) * t + np.float32(1.3981999507e-3)
    p = p * t + np.float32(8.3334519073e-3)
    p = p * t + np.float32(4.1665795894e-2)
    p = p * t + np.float32(1.6666665459e-1)
    p = p * t + HALF
    p = p * t * t + t + ONE
    return p * np.int32((np.float32(shifted).view(np.int32) << 23) + 0x3F800000).view(np.float32)


@network_kernel
def linear(x, weight, bias, out):
    """out (M, J) = x (M, K) weight (K, J) + bias (J,); x and out may have more columns, which are left alone."""
    inputs, outputs = weight.shape
    whole = inputs // 4 * 4
    for m in range(x.shape[0]):
        said = out[m]
        for j in range(outputs):
            said[j] = bias[j]
        for k in range(0, whole, 4):
            a, b, c, d = x[m, k], x[m, k + 1], x[m, k + 2], x[m, k + 3]
            for j in range(outputs):
                said[j] += a * weight[k, j] + b * weight[k + 1, j] + c * weight[k + 2, j] + d * weight[k + 3, j]
        for k in range(whole, inputs):
            for j in range(outputs):
                said[j] += x[m, k] * weight[k, j]


@network_kernel
def rectify(x):
    """max(x, 0), in place."""
    for m in range(x.shape[0]):
        for j in range(x.shape[1]):
            x[m, j] = max(x[m, j], np.float32(0.0))


@network_kernel
def normalise(x, gain, bias, epsilon, out):
    """LayerNorm of the rows of x (M, J)."""
    scale = ONE / np.float32(x.shape[1])
    for m in range(x.shape[0]):
        row = x[m]
        mean = np.float32(0.0)
        for j in range(len(row)):
            mean += row[j]
        mean *= scale
        square = np.float32(0.0)
        for j in range(len(row)):
            square += (row[j] - mean) * (row[j] - mean)
        by = ONE / np.sqrt(square * scale + epsilon)
        for j in range(len(row)):
            out[m, j] = (row[j] - mean) * by * gain[j] + bias[j]


@network_kernel
def gru_cell(given, recurrent, bias, hidden, scratch):
    """One step of a GRU's layer: hidden (D,) in place. given (3 D,): what the input says to reset, update and new."""
    width = len(hidden)
    linear(hidden.reshape(1, width), recurrent, bias, scratch.reshape(1, 3 * width))
    for d in range(width):
        reset = ONE / (ONE + exponential(-(given[d] + scratch[d])))
        update = ONE / (ONE + exponential(-(given[width + d] + scratch[width + d])))
        new = ONE - TWO / (ONE + exponential(TWO * (given[2 * width + d] + reset * scratch[2 * width + d])))
        hidden[d] = new + update * (hidden[d] - new)


@network_kernel
def soften(energy):
    """Softmax down the columns of energy (M, T), in place."""
    best, total = np.full(energy.shape[1], -np.float32(np.inf)), np.zeros(energy.shape[1], np.float32)
    for j in range(len(energy)):
        for t in range(len(best)):
            best[t] = max(best[t], energy[j, t])
    for j in range(len(energy)):
        for t in range(len(best)):
            energy[j, t] = exponential(energy[j, t] - best[t])
            total[t] += energy[j, t]
    for j in range(len(energy)):
        for t in range(len(best)):
            energy[j, t] /= total[t]


@network_kernel
def side_by_side(rows, by):
    """The rows (T, J), times `by`, as columns: (J, T padded with zeros to a multiple of LANES)."""
    columns = np.zeros((rows.shape[1], -(-len(rows) // LANES) * LANES), np.float32)
    for t in range(len(rows)):
        for j in range(rows.shape[1]):
            columns[j, t] = by * rows[t, j]
    return columns


def in_threads(kernel: Callable[..., None], weights: object, *arrays: Array, **others: Any) -> None:
    """Call kernel(weights, *arrays, **others) for blocks of the arrays' rows, one row a person, in as many threads as
    numba may use."""
    n, last = len(arrays[0]), tuple(others.values())

    def work(start: int, stop: int, part: int) -> None:
        kernel(weights, *(array[start:stop] for array in arrays), *last)

    in_blocks(work, n, min(get_num_threads(), n // FEWEST))


@network_kernel
def row_of(x, rows):
    """A row number: x rounded down, and kept within the rows there are."""
    return min(max(np.int64(x), 0), rows - 1)


@network_kernel
def rows_where(flags, rows):
    """Write the numbers of the flags (M,) that are above zero into rows; returns how many there are."""
    count = 0
    for m in range(len(flags)):
        if flags[m] > 0:
            rows[count] = m
            count += 1
    return count


def weight_of(module: Any) -> Array:
    """A layer's weights, input first: (K, J)."""
    turned: Array = np.ascontiguousarray(module.weight.detach().numpy().T)
    return turned


def of_linear(module: Any) -> tuple[Array, Array]:
    """A layer's weights, input first, and bias."""
    return weight_of(module), plain(module.bias)


def stacked(modules: list[nn.Linear]) -> tuple[Array, Array]:
    """`of_linear` for several layers of one shape: (B, K, J) and (B, J)."""
    return np.array([weight_of(module) for module in modules]), np.array([plain(module.bias) for module in modules])


def plain(parameter: Any) -> Array:
    """A copy of a parameter, as an array."""
    copied: Array = parameter.detach().numpy().copy()
    return copied
