"""The generator against its published vectors, its keys against each other, and the quantiles against scipy's."""

import math

import numpy as np
import pytest
from laws import KEY, counts_follow, follows
from numba import njit
from scipy import stats

from nextone.sim.engine.chance import (
    even_quantile,
    many_words,
    normal_quantile,
    philox,
    quick_normal,
    tailed_quantile,
    to_unit,
    uniform2,
    world_key,
)

# -- the generator -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("counter", "key", "words"), [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    ((0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0),
     (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)),
])  # fmt: skip
def test_known_answers(counter, key, words):
    """Random123's kat_vectors for philox4x32-10."""
    assert tuple(map(int, philox(*counter, *key))) == words


def test_many_words_are_the_same_words():
    ids = np.arange(1000, dtype=np.int64) * 4_294_967
    high, low = np.zeros(1000, np.uint64), np.zeros(1000, np.uint64)
    many_words(KEY, 3, 77, ids, high, low)
    for k in range(1000):
        words = philox(3, 77, int(ids[k]), 0, int(KEY[0]), int(KEY[1]))
        assert (int(high[k]), int(low[k])) == (int(words.w0), int(words.w1))


@njit
def flipped_bits(n, flips):
    """How often each output bit changes when one input bit does, (6 * 32, 128)."""
    inputs = np.empty(6, np.uint64)
    for trial in range(n):
        for half in range(3):
            words = philox(trial, half, 9, 9, 1, 2)
            inputs[2 * half], inputs[2 * half + 1] = words.w0, words.w1
        old = philox(inputs[0], inputs[1], inputs[2], inputs[3], inputs[4], inputs[5])
        for which in range(6):
            for bit in range(32):
                inputs[which] ^= np.uint64(1) << np.uint64(bit)
                new = philox(inputs[0], inputs[1], inputs[2], inputs[3], inputs[4], inputs[5])
                inputs[which] ^= np.uint64(1) << np.uint64(bit)
                changed = (old.w0 ^ new.w0, old.w1 ^ new.w1, old.w2 ^ new.w2, old.w3 ^ new.w3)
                for word in range(4):
                    for out in range(32):
                        flips[32 * which + bit, 32 * word + out] += (changed[word] >> np.uint64(out)) & np.uint64(1)


def test_one_bit_of_the_key_or_counter_moves_half_of_the_result():
    """Avalanche .50 +- .01 for every input bit (over its output bits), and every single pair near one half."""
    n = 2_000
    flips = np.zeros((192, 128), np.int64)
    flipped_bits(n, flips)
    assert np.abs(flips.mean(axis=1) / n - 0.5).max() < 0.01
    assert np.abs(flips / n - 0.5).max() < 6 * 0.5 / math.sqrt(n)  # 24,576 pairs: 6 sigma


@njit
def grid_of_uniforms(key, stream, users, things, second):
    out = np.empty((users, things))
    for user in range(users):
        for thing in range(things):
            u, v = uniform2(key, stream, user, thing, 0)
            out[user, thing] = v if second else u
    return out


@pytest.mark.parametrize("second", [False, True])
def test_adjacent_keys_are_independent(second):
    """Neighbouring people, things, streams and replications: uniform, uncorrelated, and equidistributed in pairs."""
    u = grid_of_uniforms(KEY, 4, 1000, 1000, second)
    follows(u.ravel(), "uniform")
    others = [
        u[1:, :], u[:, 1:], u[1:, 1:], grid_of_uniforms(KEY, 5, 1000, 1000, second),
        grid_of_uniforms(world_key(20, 2), 4, 1000, 1000, second),
        grid_of_uniforms(world_key(21, 1), 4, 1000, 1000, second),
        grid_of_uniforms(KEY, 4, 1000, 1000, not second),
    ]  # fmt: skip
    for other in others:
        mine = u[: other.shape[0], : other.shape[1]].ravel()
        pairs = np.histogram2d(mine, other.ravel(), bins=32, range=((0, 1), (0, 1)))[0].ravel()
        counts_follow(pairs, np.ones(len(pairs)))
        assert abs(np.corrcoef(mine, other.ravel())[0, 1]) < 5 / math.sqrt(mine.size)
    assert np.unique(u).size == u.size  # 52 bits: a repeat among a million has chance 1e-4


def test_a_uniform_is_strictly_between_0_and_1():
    """Even for the extreme words; so that log and quantiles are finite."""
    ones, zeros = np.uint64(0xFFFFFFFF), np.uint64(0)
    for high, low in ((zeros, zeros), (ones, ones), (zeros, ones), (ones, zeros)):
        assert 0 < to_unit(high, low) < 1
    assert to_unit(zeros, zeros) == 2.0**-53 and to_unit(ones, ones) == 1 - 2.0**-53
    assert math.isfinite(normal_quantile(2.0**-53)) and math.isfinite(normal_quantile(1 - 2.0**-53))


def test_keys_differ_by_seed_and_replication():
    keys = {tuple(world_key(seed, r)) for seed in (0, 1, 2**32, 2**63) for r in range(500)}
    assert len(keys) == 2_000
    with pytest.raises(ValueError, match="seed=-1"):
        world_key(-1, 0)


# -- quantiles ---------------------------------------------------------------------------------------------------------


@njit
def mapped(function, u):
    out = np.empty_like(u)
    for k in range(len(u)):
        out[k] = function(u[k])
    return out


GRID = np.concatenate([np.linspace(1e-6, 1 - 1e-6, 400_001), np.logspace(-16, -6, 1000), [2.0**-53, 1 - 2.0**-53]])


def test_normal_quantile_is_scipys():
    np.testing.assert_allclose(mapped(normal_quantile, GRID), stats.norm.ppf(GRID), rtol=1e-13, atol=1e-14)


@njit
def quick_normals(high, out):
    for k in range(len(high)):
        out[k] = quick_normal(high[k], np.uint64(0x80000000))


def test_quick_normal_is_within_2e_3_and_rises():
    """Every 4,099th word and both ends, against the quantile of the same words as a uniform."""
    high = np.concatenate([np.arange(0, 2**32, 4099), [2**32 - 1], np.arange(2**22 - 9, 2**22 + 9)]).astype(np.uint64)
    found = np.zeros(len(high))
    quick_normals(high, found)
    assert np.abs(found - stats.norm.ppf((high.astype(float) + 0.5) / 2**32)).max() < 2e-3
    assert (np.diff(found[: np.argmax(high)]) > -1e-9).all()


def test_tables_interpolate_between_their_quantiles():
    """By hand: quantiles 0, 10, 40 at 0, 1/2, 1; and the two rows of a tailed table meet at .98."""
    table = np.array([0.0, 10.0, 40.0])
    assert [even_quantile(table, u) for u in (0.0, 0.25, 0.5, 0.75, 1.0)] == [0, 5, 10, 25, 40]
    both = np.array([[0.0, 98.0], [98.0, 1098.0]])
    assert [round(tailed_quantile(u, both), 9) for u in (0.0, 0.49, 0.98, 0.99, 1.0)] == [0, 49, 98, 598, 1098]
