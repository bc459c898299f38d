"""What an EdgeRec phone keeps from decision to decision, and what it makes of it; one person at a time, compiled.

The last K behaviours stand in a ring, number b in row b % K, with what their encoder said of them. A behaviour is
recognised by a hash of all that does not change while time passes. Called by `edgerec.py`.
"""

import numpy as np

from nextone.envs.features import C, H
from nextone.policies.networks.behaviours import ACTIONS, CLOUD, EMBEDDED, ENGAGING, RATE_SCALE, SAID, columns_of
from nextone.policies.networks.compiled_layers import embed, network_kernel
from nextone.policies.networks.edgerec.compiled import encode, rerank
from nextone.policies.networks.edgerec.network import HIDDEN
from nextone.policies.networks.kir.network import RATES
from nextone.policies.rules import FACTORS
from nextone.sim.config import FEEDBACK

DONE, WAS, FROM_CLOUD = (tuple(columns_of(names, table)) for names, table in ((ACTIONS, H), (SAID, H), (CLOUD, C)))
TELLING = (*DONE, *WAS, H.tag, H.tag2)
PAGE_VIEW, REACTION = tuple(columns_of(ENGAGING, H)), tuple(columns_of(FEEDBACK, H))
N_RATES, SCALE = len(RATES), np.float32(RATE_SCALE)
OLDER_PAGE, BY_SLOT = np.float32(16.0), np.float32(1e-6)
MIX, MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)  # SplitMix64's, as in `rules.mixed`


@network_kernel
def decide_people(w, candidates, history, context, mask, rows, scores, marks, number, hidden, keys, values, encoded,
                  quiet, old_model, kept, most, exposures, page_views):  # fmt: skip
    """Observations of the N people in `rows` of the memories, which move, to scores (N, P), -inf where no rerank is
    due.

    kept: behaviours attended to; most: quiet impressions that trigger; exposures, page_views: numbers of their
    encoders, -1 of none."""
    order = np.empty(mask.shape[1], np.int64)
    for k in range(len(rows)):
        i = rows[k]
        count, fires = notice(history[k], kept, most, marks[i], number[i : i + 1], encoded[i], quiet[i : i + 1])
        take_in(w, history[k], count, number[i], hidden[i], keys[i], values[i], encoded[i], exposures, page_views)
        if not fires:
            continue
        slots = server_order(candidates[k], mask[k], order)
        if slots > 0:
            read = read_out(history[k], count, number[i], keys[i], values[i], encoded[i], exposures, page_views)
            logits = rerank(w, items_of(w, candidates[k], order[:slots]), read[0], read[1], read[2], read[3])
            scores[k, :] = np.float32(0.0)
            for m in range(slots):
                scores[k, order[m]] = logits[m]


@network_kernel
def notice(history, kept, most, marks, number, encoded, quiet):
    """Recognise what is new in history (H, Fh), newest first; marks (2,), number (1,), encoded (K,), quiet (1,) move.

    Returns how many behaviours are in sight, and whether those that are new trigger a rerank."""
    count = 0
    while count < min(kept, len(history)) and history[count, H.present] > 0:
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
    return count, triggers(history, new, most, quiet)


@network_kernel
def triggers(history, new, most, quiet):
    """Whether the `new` newest behaviours, all since the phone was last asked, trigger a rerank: feedback, or the
    `most`-th impression in quiet (1,), which moves."""
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
def next_due(history, count, number, encoded):
    """The oldest behaviour in sight that no encoder has taken in, if it is perceived; -1 if not, or if all are."""
    for k in range(count - 1, -1, -1):
        if not encoded[(number - 1 - k) % len(encoded)]:
            return k if history[k, H.encoded] > 0 else -1
    return -1


@network_kernel
def is_page_view(row):
    """`behaviours.engaged` of a past impression."""
    some = False
    for column in PAGE_VIEW:
        some = some or row[column] > 0
    return some and not row[H.hate] > 0


@network_kernel
def take_in(w, history, count, number, hidden, keys, values, encoded, exposures, page_views):
    """Every encoder, one step per behaviour perceived since, oldest first."""
    actions, items = np.empty((1, len(DONE)), np.float32), np.empty((1, EMBEDDED + len(WAS)), np.float32)
    k = next_due(history, count, number, encoded)
    while k >= 0:
        row, at = history[k], (number - 1 - k) % len(encoded)
        e = page_views if is_page_view(row) else exposures
        if e >= 0:
            describe(w, row, actions[0], items[0])
            states = len(hidden) // len(w.items.first)
            encode(w, e, actions, items, hidden[e * states : (e + 1) * states], keys[at : at + 1], values[at])
        encoded[at] = True
        k = next_due(history, count, number, encoded)


@network_kernel
def describe(w, row, actions, items):
    """A past impression's `behaviours.what_was_done` and `what_it_was`."""
    for k in range(len(DONE)):
        actions[k] = row[DONE[k]]
    embed(row[H.tag], row[H.tag2], row[H.duration], w.tag, w.length, items)
    for k in range(len(WAS)):
        items[EMBEDDED + k] = SCALE * row[WAS[k]] if k < N_RATES else row[WAS[k]]


@network_kernel
def read_out(history, count, number, keys, values, encoded, exposures, page_views):
    """The newest finished encodings, oldest first: keys (S, M, HIDDEN), values (S, M, width), since (S, M), of which
    the first counts (S,) are there; M behaviours may be in sight."""
    sequences, most = max(exposures, page_views) + 1, min(len(encoded), len(history))
    key = np.zeros((sequences, most, HIDDEN), np.float32)
    value = np.zeros((sequences, most, values.shape[1]), np.float32)
    since, counts = np.zeros((sequences, most), np.float32), np.zeros(sequences, np.int64)
    for k in range(count - 1, -1, -1):
        at, s = (number - 1 - k) % len(encoded), page_views if is_page_view(history[k]) else exposures
        if encoded[at] and s >= 0:
            for d in range(HIDDEN):
                key[s, counts[s], d] = keys[at, d]
            for d in range(values.shape[1]):
                value[s, counts[s], d] = values[at, d]
            since[s, counts[s]] = history[k, H.since]
            counts[s] += 1
    return key, value, since, counts


@network_kernel
def server_order(candidates, mask, order):
    """`behaviours.server_order` of one person's live slots, into order; how many there are."""
    slots = 0
    for slot in range(len(mask)):
        if not mask[slot]:
            continue
        m = slots
        while m > 0 and place_of(candidates, order[m - 1]) > place_of(candidates, slot):
            order[m] = order[m - 1]
            m -= 1
        order[m] = slot
        slots += 1
    return slots


@network_kernel
def place_of(candidates, slot):
    """By which candidates are ordered: older pages first, then rank, then slot."""
    return candidates[slot, C.rank] - OLDER_PAGE * candidates[slot, C.page_age] + BY_SLOT * np.float32(slot)


@network_kernel
def items_of(w, candidates, order):
    """`behaviours.cloud_items` in that order, (len(order), EMBEDDED + len(CLOUD))."""
    items = np.empty((len(order), EMBEDDED + len(FROM_CLOUD)), np.float32)
    for m in range(len(order)):
        row = candidates[order[m]]
        embed(row[C.tag], row[C.tag2], row[C.duration], w.tag, w.length, items[m])
        for k in range(len(FROM_CLOUD)):
            items[m, EMBEDDED + k] = SCALE * row[FROM_CLOUD[k]] if k < N_RATES else row[FROM_CLOUD[k]]
    return items
