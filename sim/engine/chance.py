"""Chance: keyed draws. Every random number of the world is a pure function of a key and of what it is drawn for.

Philox4x32-10 is a counter-based generator: ten rounds of multiply and xor turn a 128-bit counter and a 64-bit key into
128 random bits. The key is the run's (seed, replication), the counter says what the draw is for: (stream, person, a,
b), see `luck.py`. There is no generator object, so no draw depends on the order of events, on neighbours, or on another
draw.

Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011; checked against the Random123 vectors.
Called by everything that draws.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import ndtri

from .kernel import called, entry, inlined, kernel, pasted

_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)
_TO_UNIT = 1.0 / 9007199254740992.0  # 2**-53


class Words(NamedTuple):
    """Four random 32-bit words."""

    w0: int
    w1: int
    w2: int
    w3: int


@pasted
def philox_rounds(c0, c1, c2, c3, k0, k1):
    """Ten rounds on 32-bit words held in uint64; inlined, so that a loop over counters runs on vectors."""
    for _ in range(10):
        p0 = _M0 * c0
        p1 = _M1 * c2
        c0, c2 = (p1 >> _SHIFT) ^ c1 ^ k0, (p0 >> _SHIFT) ^ c3 ^ k1
        c1, c3 = p1 & _LOW, p0 & _LOW
        k0 = (k0 + _W0) & _LOW
        k1 = (k1 + _W1) & _LOW
    return c0, c1, c2, c3


@kernel
def philox(c0, c1, c2, c3, k0, k1):
    """Philox4x32-10: counter (c0..c3) and key (k0, k1), 32-bit words each, to four random 32-bit words."""
    w0, w1, w2, w3 = philox_rounds(
        np.uint64(c0), np.uint64(c1), np.uint64(c2), np.uint64(c3), np.uint64(k0), np.uint64(k1)
    )
    return Words(w0, w1, w2, w3)


@pasted
def keyed_words(key, stream, user, a, b):
    """`philox` for integers of any type. It is inlined, so that philox is compiled for one type only."""
    return philox(np.uint64(stream), np.uint64(user), np.uint64(a), np.uint64(b), np.uint64(key[0]), np.uint64(key[1]))


@called
def many_words(key, stream, user, ids, high, low):
    """The first two words of `philox(stream, user, id, 0, *key)` for each id, uint64, into `high` and `low`."""
    k0, k1 = np.uint64(key[0]), np.uint64(key[1])
    c0, c1 = np.uint64(stream), np.uint64(user)
    for n in range(len(ids)):
        w0, w1, _, _ = philox_rounds(c0, c1, np.uint64(ids[n]), np.uint64(0), k0, k1)
        high[n] = w0
        low[n] = w1


@inlined
def to_unit(high, low):
    """Two 32-bit words to a float64 strictly between 0 and 1: 52 bits, centred in their cell.

    53 bits would let the topmost cell round to 1.
    """
    bits = (high << np.uint64(20)) | (low >> np.uint64(12))
    return (np.float64(np.int64(bits)) * 2.0 + 1.0) * _TO_UNIT


@pasted
def uniform2(key, stream, user, a, b):
    """Two independent uniforms in (0, 1). key: uint32 (2,); stream and the three ids: integers in [0, 2**32)."""
    words = keyed_words(key, stream, user, a, b)
    return to_unit(words.w0, words.w1), to_unit(words.w2, words.w3)


@pasted
def uniform(key, stream, user, a, b):
    """A uniform in (0, 1); the first of `uniform2`."""
    return uniform2(key, stream, user, a, b)[0]


@entry
def uniforms(key, stream, out):
    """`uniform` of each id from 0 on, into `out`."""
    for k in range(len(out)):
        out[k] = uniform(key, stream, k, 0, 0)


@pasted
def normal2(key, stream, user, a, b):
    """Two independent standard normals."""
    u, v = uniform2(key, stream, user, a, b)
    return normal_quantile(u), normal_quantile(v)


@kernel
def normal_quantile(u):
    """The standard normal's inverse distribution function at u in (0, 1); relative error about 1e-16.

    Source: Wichura, algorithm AS 241 (PPND16), Applied Statistics 37 (1988).
    """
    q = u - 0.5
    if abs(q) <= 0.425:
        r = 0.180625 - q * q
        top = 2509.0809287301226727 * r + 33430.575583588128105
        top = ((top * r + 67265.770927008700853) * r + 45921.953931549871457) * r + 13731.693765509461125
        top = ((top * r + 1971.5909503065514427) * r + 133.14166789178437745) * r + 3.387132872796366608
        low = 5226.495278852545925 * r + 28729.085735721942674
        low = ((low * r + 39307.89580009271061) * r + 21213.794301586595867) * r + 5394.1960214247511077
        low = ((low * r + 687.1870074920579083) * r + 42.313330701600911252) * r + 1.0
        return q * top / low
    r = np.sqrt(-np.log(min(u, 1.0 - u)))
    if r <= 5.0:
        r -= 1.6
        top = 7.7454501427834140764e-4 * r + 0.0227238449892691845833
        top = ((top * r + 0.24178072517745061177) * r + 1.27045825245236838258) * r + 3.64784832476320460504
        top = ((top * r + 5.7694972214606914055) * r + 4.6303378461565452959) * r + 1.42343711074968357734
        low = 1.05075007164441684324e-9 * r + 5.475938084995344946e-4
        low = ((low * r + 0.0151986665636164571966) * r + 0.14810397642748007459) * r + 0.68976733498510000455
        low = ((low * r + 1.6763848301838038494) * r + 2.05319162663775882187) * r + 1.0
    else:
        r -= 5.0
        top = 2.01033439929228813265e-7 * r + 2.71155556874348757815e-5
        top = ((top * r + 0.0012426609473880784386) * r + 0.026532189526576123093) * r + 0.29656057182850489123
        top = ((top * r + 1.7848265399172913358) * r + 5.4637849111641143699) * r + 6.6579046435011037772
        low = 2.04426310338993978564e-15 * r + 1.4215117583164458887e-7
        low = ((low * r + 1.8463183175100546818e-5) * r + 7.868691311456132591e-4) * r + 0.0148753612908506148525
        low = ((low * r + 0.13692988092273580531) * r + 0.59983220655588793769) * r + 1.0
    value = top / low
    return -value if q < 0 else value


TAIL = 0.98  # where `tailed_quantile` changes to its finer row
_CELLS = ndtri(np.clip(np.arange(1025) / 1024, 1e-3, 1 - 1e-3))


@inlined
def quick_normal(high, low):
    """A standard normal from two 32-bit words: `normal_quantile` to within 2e-3, in a third of the time.

    Linear within 1,024 cells of equal probability; the outer six on each side exact."""
    cell = np.int64(high >> np.uint64(22))
    if cell < 6 or cell > 1017:
        return normal_quantile(to_unit(high, low))
    within = np.float64(np.int64(high & np.uint64(0x3FFFFF))) / 4194304.0
    return _CELLS[cell] + (_CELLS[cell + 1] - _CELLS[cell]) * within


@inlined
def quick_sigmoid(x):
    """1 / (1 + exp(-x)) in float32 to within 1e-6, of plain arithmetic alone, so that a loop runs on vectors.

    exp(-x) is a power of two: its whole part goes into the exponent, a polynomial makes the rest."""
    power = min(max(np.float32(x) * np.float32(-1.442695041), np.float32(-80.0)), np.float32(80.0))
    whole = np.int32(power + np.float32(127.5))
    t = power - np.float32(whole - np.int32(127))
    rest = np.float32(0.0096181291) + t * (np.float32(0.0013333558) + t * np.float32(0.00015403530))
    rest = np.float32(0.69314718) + t * (np.float32(0.24022651) + t * (np.float32(0.055504109) + t * rest))
    exp = np.int32(whole << np.int32(23)).view(np.float32) * (np.float32(1.0) + t * rest)
    return np.float32(1.0) / (np.float32(1.0) + exp)


@inlined
def even_quantile(table, u):
    """An inverse distribution function from quantiles (K,) at evenly spaced probabilities, linear between them."""
    at = u * (len(table) - 1)
    k = min(np.int64(at), len(table) - 2)
    return table[k] + (table[k + 1] - table[k]) * (at - k)


@inlined
def tailed_quantile(u, table):
    """An inverse distribution function from (2, K) quantiles: the first row covers probabilities in [0, TAIL], the
    second the rest, because tails are heavy."""
    return even_quantile(table[0], u / TAIL) if u < TAIL else even_quantile(table[1], (u - TAIL) / (1.0 - TAIL))


def tailed_table(sample: np.ndarray, size: int = 1025) -> np.ndarray:
    """Quantiles of a sample as `tailed_quantile` reads them, (2, size). Between observations the table has steps, so a
    small sample keeps its spread."""
    body, tail = np.linspace(0, TAIL, size), np.linspace(TAIL, 1, size)
    return np.stack([np.quantile(sample, part, method="inverted_cdf") for part in (body, tail)])


@called
def mix_key(seed, replication, key):
    """The key of a run into `key`, uint32 (2,), mixed from seed, uint64, and replication in [0, 2**32)."""
    seed, what = np.uint64(seed), np.uint64(replication)
    words = philox(seed & _LOW, seed >> _SHIFT, what, np.uint64(0), np.uint64(0x6E657874), np.uint64(0x6F6E6500))
    key[0], key[1] = words.w0, words.w1


def world_key(seed: int, replication: int) -> np.ndarray:
    """The key of a run, uint32 (2,), mixed from seed in [0, 2**64) and replication in [0, 2**32)."""
    if not 0 <= seed < 2**64:
        raise ValueError(f"seed={seed} must be in [0, 2**64); use any whole number of that size")
    key = np.zeros(2, np.uint32)
    mix_key(np.uint64(seed), replication, key)
    return key
