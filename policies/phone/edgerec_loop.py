"""EdgeRec's decision loop: recognise what is new, let the encoders take it in, rerank when that is due. For one person.

It is written once, as a function of the two forward functions: `decide_people` is the loop compiled around the compiled
networks; around the parts that an engine runs it is plain Python (`edgerec.py`).

The last K behaviours stand in a ring, number b in row b % K, with what their encoder said of them. A behaviour is
recognised by a hash of all that does not change while time passes.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numba.extending import register_jitable

from nextone.envs.features import H
from nextone.policies.networks.behaviours import ACTIONS, EMBEDDED, SAID, columns_of
from nextone.policies.networks.compiled_behaviours import (
    DONE,
    WAS,
    cloud_items,
    is_page_view,
    numbers_of,
    server_order,
    what_it_was,
    what_was_done,
)
from nextone.policies.networks.compiled_layers import network_kernel
from nextone.policies.networks.edgerec.compiled import Read, encode, person_of, rerank
from nextone.policies.networks.edgerec.network import HEADS, HIDDEN, LAYERS
from nextone.policies.rules import FACTORS
from nextone.sim.config import FEEDBACK
from nextone.sim.state import Array

TELLING = numbers_of([*DONE, *WAS, H.tag, H.tag2])
REACTION = numbers_of(columns_of(FEEDBACK, H))
LEAVES_SOON, WANTS_PAGE = HEADS.index("leaves_soon"), HEADS.index("wants_page")
ASKS, NEVER = np.float32(np.inf), np.float32(-np.inf)  # what a page is worth next to candidates
MIX, MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)  # SplitMix64's, as in `rules.mixed`


class Memory(NamedTuple):
    """What phones keep: S states of the encoders, and the last K behaviours, number b in row b % K."""

    marks: Array  # (N, 2) uint64: by which the two newest behaviours are recognised; 0: none yet
    number: Array  # (N,) behaviours so far
    hidden: Array  # (N, S, HIDDEN)
    keys: Array  # (N, K, HIDDEN)
    values: Array  # (N, K, width of values)
    encoded: Array  # (N, K) bool
    quiet: Array  # (N,) impressions since the last trigger
    old_model: Array  # (N,) bool: of the model's version before


class Settings(NamedTuple):
    """The loop's parameters."""

    kept: int  # behaviours attended to
    quiet: int  # impressions without feedback that trigger a rerank
    exposures: int  # number of the encoder of exposures; -1: there is none
    page_views: int  # number of the encoder of page views; -1: there is none


def memory_of(n: int, states: int, kept: int, width: int) -> Memory:
    """The memory of n people before their first decision. width: of the encoders' values."""
    return Memory(
        np.zeros((n, 2), np.uint64), np.zeros(n, np.int64), np.zeros((n, states, HIDDEN), np.float32),
        np.zeros((n, kept, HIDDEN), np.float32), np.zeros((n, kept, width), np.float32),
        np.zeros((n, kept), np.bool_), np.zeros(n, np.int32), np.zeros(n, np.bool_),
    )  # fmt: skip


def loop(encode: Callable[..., None], rerank: Callable[..., Array]) -> Callable[..., None]:
    """The decision loop for one person, `decide`, around two forward functions.

    encode(w, e, actions, items, hidden, key, value): a step of encoder e, see `networks/edgerec/compiled.py`. rerank(w,
    items, read) -> the worth of the candidates, see there."""

    def decide(w, candidates, history, context, mask, memory, i, scores, settings):
        """One decision of person i of the memory, which changes: candidates (P, Fc), history (H, Fh), context (Fx,),
        mask (P,) to scores (P,), which stay as they are unless a rerank is due. With scores (P + 1,) the last, which is
        -inf, is raised above all where the heads on the person want a page. w: the network's weights, of which the loop
        itself reads those of the embeddings and of the heads."""
        number, encoded, keys, values = memory.number[i : i + 1], memory.encoded[i], memory.keys[i], memory.values[i]
        count, due = notice(history, settings, memory.marks[i], number, encoded, memory.quiet[i : i + 1])
        actions, items = np.empty((1, len(ACTIONS)), np.float32), np.empty((1, EMBEDDED + len(SAID)), np.float32)
        states = memory.hidden.shape[1] // (max(settings.exposures, settings.page_views) + 1)  # of an encoder
        k = next_to_encode(history, count, number[0], encoded)
        while k >= 0:
            row, at = history[k], (number[0] - 1 - k) % len(encoded)
            e = encoder_of(row, settings)
            if e >= 0:
                what_was_done(row, actions[0])
                what_it_was(row, w.tag, w.length, items[0])
                hidden = memory.hidden[i, e * states : (e + 1) * states]
                encode(w, e, actions, items, hidden, keys[at : at + 1], values[at])
            encoded[at] = True
            k = next_to_encode(history, count, number[0], encoded)
        if due:
            order = np.empty(len(mask), np.int64)
            slots = server_order(candidates, mask, order)
            if slots > 0:
                read = read_out(w, history, count, number[0], keys, values, encoded, settings)
                worth = rerank(w, cloud_items(candidates, order[:slots], w.tag, w.length), read)
                scores[:] = np.float32(0.0)
                for m in range(slots):
                    scores[order[m]] = worth[m]
                if len(scores) > len(mask):
                    scores[len(mask)] = ASKS if wants_to_ask(person_of(w, read, context)) else NEVER

    return decide


decide_compiled = register_jitable(loop(encode, rerank))


@network_kernel
def decide_people(w, candidates, history, context, mask, rows, scores, memory, settings):
    """Observations of the N people in `rows` of the memory, which is changed, to scores (N, P or P + 1), by the
    compiled networks. Scores stay as they are where no rerank is due."""
    for k in range(len(rows)):
        decide_compiled(w, candidates[k], history[k], context[k], mask[k], memory, rows[k], scores[k], settings)


@network_kernel
def carry(w, begin, end, hidden, behaviours, settings):
    """Write the encoders' states after behaviours begin[k] to end[k] - 1 of (B, Fh) into hidden (N, S, HIDDEN), which
    is zero before. Rows of one person follow each other, the shortest first; each goes on where the one before it
    ended."""
    actions, items = np.empty((1, len(ACTIONS)), np.float32), np.empty((1, EMBEDDED + len(SAID)), np.float32)
    states = hidden.shape[1] // (max(settings.exposures, settings.page_views) + 1)  # of an encoder
    key, value = np.empty((1, HIDDEN), np.float32), np.empty(states // LAYERS * HIDDEN, np.float32)
    for k in range(len(begin)):
        at = begin[k]
        if k > 0 and begin[k] == begin[k - 1]:
            hidden[k] = hidden[k - 1]
            at = max(at, end[k - 1])
        for b in range(at, end[k]):
            e = encoder_of(behaviours[b], settings)
            if e >= 0:
                what_was_done(behaviours[b], actions[0])
                what_it_was(behaviours[b], w.tag, w.length, items[0])
                encode(w, e, actions, items, hidden[k, e * states : (e + 1) * states], key, value)


@network_kernel
def notice(history, settings, marks, number, encoded, quiet):
    """Recognise what is new in history (H, Fh), newest first; marks (2,), number (1,), encoded (K,), quiet (1,) are
    changed.

    Returns how many behaviours are in sight, and whether the new ones trigger a rerank."""
    count = 0
    while count < min(settings.kept, len(history)) and history[count, H.present] > 0:
        count += 1
    new = 0
    while new < count and not (
        mark_of(history[new]) == marks[0]
        and (new + 1 == count or mark_of(history[new + 1]) == marks[1])  # nothing older is seen: the first decides
    ):
        new += 1
    for k in range(2):
        marks[k] = mark_of(history[k]) if k < count else np.uint64(0)
    number[0] += new
    for k in range(new):
        encoded[(number[0] - 1 - k) % len(encoded)] = False
    return count, triggers(history, new, settings.quiet, quiet)


@network_kernel
def triggers(history, new, most, quiet):
    """Whether the `new` newest behaviours, all since the phone was last asked, trigger a rerank: feedback does, or the
    `most`-th impression without any; quiet (1,) counts these, and is changed."""
    fires = False
    for k in range(new):
        for column in REACTION:
            fires = fires or history[k, column] > 0
    quiet[0] += new
    fires = fires or quiet[0] >= most
    if fires:
        quiet[0] = 0
    return fires


@network_kernel
def wants_to_ask(person):
    """Whether to ask for a page, by the logits of the heads (len(HEADS),): it is more likely than not that the rest of
    this page brings no effective view, and that the person stays to see another page."""
    return person[WANTS_PAGE] > 0 and person[LEAVES_SOON] <= 0


@network_kernel
def mark_of(row):
    """A hash of a past impression (Fh,), never 0."""
    total = np.uint64(0)
    for k in range(len(TELLING)):
        bits = np.uint64(np.float32(row[TELLING[k]]).view(np.uint32))
        total += bits * FACTORS[k]
    total = (total ^ (total >> np.uint64(30))) * MIX
    total = (total ^ (total >> np.uint64(27))) * MIX_2
    return total | np.uint64(1)


@network_kernel
def next_to_encode(history, count, number, encoded):
    """The oldest behaviour in sight that no encoder has read, if the phone has perceived it; else, or if all are read,
    -1."""
    for k in range(count - 1, -1, -1):
        if not encoded[(number - 1 - k) % len(encoded)]:
            return k if history[k, H.encoded] > 0 else -1
    return -1


@network_kernel
def encoder_of(row, settings):
    """The number of the encoder that reads a past impression (Fh,); -1: none does."""
    return settings.page_views if is_page_view(row) else settings.exposures


@network_kernel
def read_out(w, history, count, number, keys, values, encoded, settings):
    """`Read`: the newest finished encodings, and what the phone knows of these behaviours."""
    sequences, most = max(settings.exposures, settings.page_views) + 1, min(len(encoded), len(history))
    width = values.shape[1]
    read = Read(
        np.zeros((sequences, most, HIDDEN), np.float32), np.zeros((sequences, most, width), np.float32),
        np.zeros((sequences, most), np.float32), np.zeros((sequences, most, len(ACTIONS)), np.float32),
        np.zeros((sequences, most, EMBEDDED + len(SAID)), np.float32), np.zeros(sequences, np.int64),
    )  # fmt: skip
    for k in range(count - 1, -1, -1):
        at, s = (number - 1 - k) % len(encoded), encoder_of(history[k], settings)
        if encoded[at] and s >= 0:
            m = read.counts[s]
            for d in range(HIDDEN):
                read.keys[s, m, d] = keys[at, d]
            for d in range(width):
                read.values[s, m, d] = values[at, d]
            read.since[s, m] = history[k, H.since]
            if width > HIDDEN:  # else no encoder reads actions, and nothing else is to
                what_was_done(history[k], read.actions[s, m])
            what_it_was(history[k], w.tag, w.length, read.items[s, m])
            read.counts[s] += 1
    return read
