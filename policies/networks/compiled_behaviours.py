"""`behaviours.py`, compiled: the features of one person's candidates and past impressions, as the twins read them.

Columns, their order and their scales are those of `behaviours.py`. Called by the networks' twins and by EdgeRec's loop.
"""

from collections.abc import Sequence

import numpy as np

from nextone.envs.features import MOST_EMBEDDING, PREDICTED, C, H
from nextone.sim.config import DIMS
from nextone.sim.state import Array

from .behaviours import (
    ACTIONS,
    BY_SLOT,
    CLOUD,
    EMBEDDED,
    ENGAGING,
    NUMBERS,
    OLDER_PAGE,
    RATE_SCALE,
    RATES,
    SAID,
    columns_of,
)
from .compiled_layers import HALF, network_kernel, row_of


def numbers_of(columns: Sequence[int]) -> Array:
    """Column numbers for kernels. They are an array, because a tuple of many is slow to index, and unsigned, so that
    none counts from the end."""
    numbers: Array = np.array(columns, np.uintp)
    return numbers


DONE, WAS, FROM_CLOUD = (
    numbers_of(columns_of(names, table)) for names, table in ((ACTIONS, H), (SAID, H), (CLOUD, C))
)
CANDIDATE_RATES, PAST_RATES = numbers_of(columns_of(RATES, C)), numbers_of(columns_of(RATES, H))
CANDIDATE_NUMBERS, PAGE_VIEW = numbers_of(NUMBERS), numbers_of(columns_of(ENGAGING, H))
N_RATES, SCALE = len(PREDICTED), np.float32(RATE_SCALE)
OLDER, SLOT, PER_NUMBER = np.float32(OLDER_PAGE), np.float32(BY_SLOT), np.float32(MOST_EMBEDDING)


@network_kernel
def embed(row, columns, of_tag, of_length, out):
    """`behaviours.Embeddings` of one video: row (F,), columns of tag, second tag, length and the embedding's first;
    tables (TAGS, T) and (LENGTHS, L); out (T + L + DIMS,)."""
    tags, width, lengths, content = len(of_tag), of_tag.shape[1], len(of_length), EMBEDDED - DIMS
    one = row_of(row[columns[0]] * np.float32(tags) + HALF, tags)
    other = row_of(row[columns[1]] * np.float32(tags) + HALF, tags)
    bucket = row_of(row[columns[2]] * np.float32(lengths), lengths)
    for d in range(width):
        out[d] = HALF * (of_tag[one, d] + of_tag[other, d])
    for d in range(of_length.shape[1]):
        out[width + d] = of_length[bucket, d]
    for d in range(DIMS):
        out[content + d] = PER_NUMBER * row[columns[3] + d]


@network_kernel
def embed_candidate(row, of_tag, of_length, out):
    """`embed` for a candidate (Fc,)."""
    embed(row, (C.tag, C.tag2, C.duration, C.embedding_0), of_tag, of_length, out)


@network_kernel
def embed_past(row, of_tag, of_length, out):
    """`embed` for a past impression (Fh,)."""
    embed(row, (H.tag, H.tag2, H.duration, H.embedding_0), of_tag, of_length, out)


@network_kernel
def scaled(row, columns, out):
    """`behaviours.scaled` of one row (F,), into out (columns,). The first columns are the predicted rates."""
    for k in range(N_RATES):
        out[k] = SCALE * row[columns[k]]
    for k in range(N_RATES, len(columns)):
        out[k] = row[columns[k]]


@network_kernel
def what_was_done(row, out):
    """Features of the person's action, of a past impression (Fh,), into out (len(ACTIONS),)."""
    for k in range(len(DONE)):
        out[k] = row[DONE[k]]


@network_kernel
def what_it_was(row, of_tag, of_length, out):
    """Features of the video, of a past impression (Fh,), into out (EMBEDDED + len(SAID),)."""
    embed_past(row, of_tag, of_length, out)
    scaled(row, WAS, out[EMBEDDED:])


@network_kernel
def cloud_items(candidates, order, of_tag, of_length):
    """Those features of candidates (P, Fc) that the cloud knows too, in that order: (len(order), EMBEDDED +
    len(CLOUD))."""
    items = np.empty((len(order), EMBEDDED + len(FROM_CLOUD)), np.float32)
    for m in range(len(order)):
        row = candidates[order[m]]
        embed_candidate(row, of_tag, of_length, items[m])
        scaled(row, FROM_CLOUD, items[m, EMBEDDED:])
    return items


@network_kernel
def is_page_view(row):
    """`behaviours.engaged` of a past impression (Fh,)."""
    some = False
    for column in PAGE_VIEW:
        some = some or row[column] > 0
    return some and not row[H.hate] > 0


@network_kernel
def server_order(candidates, mask, order):
    """Write the live slots of one person in the server's order (`behaviours.server_order`) into order (P,); returns how
    many there are."""
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
    """The number by which candidates are ordered: older pages first, then rank, then slot."""
    return candidates[slot, C.rank] - OLDER * candidates[slot, C.page_age] + SLOT * np.float32(slot)
