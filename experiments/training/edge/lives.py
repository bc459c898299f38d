"""What came before the past impressions of a sample: everything the person did, put together from all samples.

A sample holds only the newest past impressions, but EdgeRec's encoders carry a state from one behaviour to the next for
as long as the app is installed. One sample is one swipe, so each behaviour is in the sample after it. Called by
`train.py`, the offline table and the gates. Of test people only what happened since the cut in time is known.
"""

from typing import NamedTuple

import numpy as np

from nextone.envs.features import H
from nextone.policies.networks.edgerec.network import EdgeRec
from nextone.policies.phone.edgerec import EdgeRecPhone

from .samples import Array, Samples

LIVED = ("impression", "history")
"""Columns, besides the person, that lives are put together from."""


class Lives(NamedTuple):
    """Behaviours of all people, each once, in the order of people and their impressions."""

    when: Array  # (B,) person * 2^32 + number of the impression
    behaviours: Array  # (B, Fh): as in the history; `since` and `encoded` are of some moment


def lives_of(samples: Samples) -> Lives:
    """The behaviours of all people in all rows of a split."""
    history = samples.columns["history"]
    numbers = _moment(samples, np.arange(samples.rows))[:, None] - 1 - np.arange(history.shape[1])
    present = np.flatnonzero(history[..., H.present] > 0)
    when, first = np.unique(numbers.ravel()[present], return_index=True)
    return Lives(when, history.reshape(-1, history.shape[2])[present[first]])


def carried_into(network: EdgeRec, lives: Lives, samples: Samples, rows: Array) -> Array:
    """The states (N, S, HIDDEN) of the encoders before the oldest past impression of these rows, as a phone with these
    weights carries them. No gradient flows so far back."""
    past = (samples.columns["history"][rows][..., H.present] > 0).sum(1)
    person = samples.columns["person"][rows].astype(np.int64) << 32
    begin = np.searchsorted(lives.when, person)
    end = np.searchsorted(lives.when, _moment(samples, rows) - past)
    return EdgeRecPhone(network).carried(lives.behaviours, begin, end)


def _moment(samples: Samples, rows: Array) -> Array:
    """The impression that each row decides, numbered as in `Lives.when`."""
    person, impression = samples.of("person", "impression")
    moment: Array = (person[rows].astype(np.int64) << 32) + impression[rows]
    return moment
