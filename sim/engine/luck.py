"""Luck: the purpose of each random draw of the world. A draw is keyed by (stream, person or video, a, b).

Two draws for different purposes never share a key. A stream that serves several purposes has sub-keys, in a or in b as
the stream says. All of them are listed here, and `SUB_KEYS` says which numbers each one takes. A number is never used
again for something else. Called by everything that draws.
"""

from typing import NamedTuple

# Streams.
PERSON = 1  # (user, SUB-KEY): a person's lasting properties
TASTE = 2  # (user, dimension of content): lasting taste, and the cloud's view of it
MATCH = 3  # (user, video): the lasting match, and the cloud's view of it
WATCH = 4  # (user, video, number of the recall set + SUB-KEY): staying, and for how long
FEEDBACK = 5  # (user, video, number of the recall set + SUB-KEY): all kinds
LIFE = 6  # (user, number of the impression, SUB-KEY)
SESSION = 7  # (user, session number, SUB-KEY)
NETWORK = 8  # (user, what is fetched or asked for, or when, SUB-KEY)
OUTAGE = 9  # (user, session number, outage number)
REQUEST = 10  # (user, request number, attempt + SUB-KEY)
WALK = 11  # (user): the order in which retrieval meets the catalogue for this person
VIDEO = 12  # (video, SUB-KEY): keyed by the catalogue's seed; the errors of its rates by a key of their own
RESAMPLE = 13  # (video, SUB-KEY): a further video; keyed by the catalogue's seed
POLICY = 14  # (user, video, impression): a policy's own luck
EXPOSURE = 15  # (user, impression): a random video tried on a person
PASSING = 16  # (user, session number, SUB-KEY + MINUTE x minute of the session): what comes anew in mood and intent
CONTENT = 17  # (tag, author or video, dimension, SUB-KEY): keyed by the catalogue's seed
ARM = 18  # (person, region or period): which arm of an A/B test; keyed by the test's salt
FAULT = 19  # (user, video or none, impression): a fault that is planted in the decisions of a release

# Of PERSON, in a.
PERSON_AND_TASTE = 0
CLOUD_AND_PAST = 1
TIER_AND_LINK = 2
DECODER = 3
MODEL_HELD = 4
PROPENSITY = 10  # + kind of feedback

# Of WATCH and FEEDBACK, in b, added to the meeting.
WATCH_TO_END = 1 << 16
FEEDBACK_MORE = 1 << 16

# Of LIFE, in b.
TIME_AWAY = 4
WAIT_PATIENCE = 5
PERCEPTION = 6
UPLINK = 7
FIRST_GAP = 9
STALL_PATIENCE = 100  # + number of the stall within the impression
INFERENCE = 200  # + phase, keyed by the next impression

# Of PASSING, in b, in every minute.
INTENT = 0  # + half the dimension
MOOD = 7
MINUTE = 8

# Of SESSION, in b.
OPENING = 1
CDN = 2
WILL_TO_STAY = 3

# Of NETWORK, in a: the number of a session before a person's first.
SESSION_BEFORE = (1 << 32) - 1

# Of NETWORK, in b. Round trips before a fetch have the session's number there, and the video or THE_MODEL in a.
THE_MODEL = 1 << 29  # beyond any video
ROUND_TRIP_THERE = 1 << 20  # + 2 x attempt
ROUND_TRIP_BACK = (1 << 20) + 1  # + 2 x attempt
LINK_TRACE = 1 << 30
LINK_LEVEL = (1 << 30) + 1
SPELL = (1 << 30) + 2  # + length of the spell

# Of REQUEST, in b, added to the attempt.
QUEUE_WAIT = 1 << 16
LOOKUP = 1 << 17

# Of VIDEO, in a and b.
QUALITY = 0
APPEAL = 1  # in b
TAG_QUALITY, AUTHOR_QUALITY = 2, 3  # in b; of a tag and of an author, in place of a video
RATE_ERRORS = 1

# Of RESAMPLE, in a.
REAL_ROW = 0
DURATION = 1
TAG = 2
AUTHOR = 3

# Of CONTENT, in b.
OF_TAG, OF_AUTHOR, OF_VIDEO, OF_EMBEDDING = range(4)


class Keys(NamedTuple):
    """The keys of one purpose within a stream: `size` of them, from `first` on, `step` apart."""

    stream: int
    name: str
    first: int
    size: int = 1
    step: int = 1


LARGEST = 1 << 16  # attempts of a request, meetings of a video: no more in any run

SUB_KEYS = (
    Keys(PERSON, "PERSON_AND_TASTE", PERSON_AND_TASTE),
    Keys(PERSON, "CLOUD_AND_PAST", CLOUD_AND_PAST),
    Keys(PERSON, "TIER_AND_LINK", TIER_AND_LINK),
    Keys(PERSON, "DECODER", DECODER),
    Keys(PERSON, "MODEL_HELD", MODEL_HELD),
    Keys(PERSON, "PROPENSITY", PROPENSITY, 6),
    Keys(WATCH, "", 0, LARGEST),
    Keys(WATCH, "WATCH_TO_END", WATCH_TO_END, LARGEST),
    Keys(FEEDBACK, "", 0, LARGEST),
    Keys(FEEDBACK, "FEEDBACK_MORE", FEEDBACK_MORE, LARGEST),
    Keys(LIFE, "TIME_AWAY", TIME_AWAY),
    Keys(LIFE, "WAIT_PATIENCE", WAIT_PATIENCE),
    Keys(LIFE, "PERCEPTION", PERCEPTION),
    Keys(LIFE, "UPLINK", UPLINK),
    Keys(LIFE, "FIRST_GAP", FIRST_GAP),
    Keys(LIFE, "STALL_PATIENCE", STALL_PATIENCE, 100),  # nobody bears a hundred stalls of one video
    Keys(LIFE, "INFERENCE", INFERENCE, 11),
    Keys(PASSING, "INTENT", INTENT, 4),  # and so on, MINUTE further every minute
    Keys(PASSING, "MOOD", MOOD),
    Keys(SESSION, "OPENING", OPENING),
    Keys(SESSION, "CDN", CDN),
    Keys(SESSION, "WILL_TO_STAY", WILL_TO_STAY),
    Keys(NETWORK, "", 0, 1 << 20),
    Keys(NETWORK, "ROUND_TRIP_THERE", ROUND_TRIP_THERE, LARGEST, 2),
    Keys(NETWORK, "ROUND_TRIP_BACK", ROUND_TRIP_BACK, LARGEST, 2),
    Keys(NETWORK, "LINK_TRACE", LINK_TRACE),
    Keys(NETWORK, "LINK_LEVEL", LINK_LEVEL),
    Keys(NETWORK, "SPELL", SPELL, 2),
    Keys(REQUEST, "", 0, LARGEST),
    Keys(REQUEST, "QUEUE_WAIT", QUEUE_WAIT, LARGEST),
    Keys(REQUEST, "LOOKUP", LOOKUP, LARGEST),
    Keys(VIDEO, "QUALITY", QUALITY),
    Keys(VIDEO, "APPEAL", APPEAL),
    Keys(VIDEO, "TAG_QUALITY", TAG_QUALITY),
    Keys(VIDEO, "AUTHOR_QUALITY", AUTHOR_QUALITY),
    Keys(RESAMPLE, "REAL_ROW", REAL_ROW),
    Keys(RESAMPLE, "DURATION", DURATION),
    Keys(RESAMPLE, "TAG", TAG),
    Keys(RESAMPLE, "AUTHOR", AUTHOR),
    Keys(CONTENT, "OF_TAG", OF_TAG),
    Keys(CONTENT, "OF_AUTHOR", OF_AUTHOR),
    Keys(CONTENT, "OF_VIDEO", OF_VIDEO),
    Keys(CONTENT, "OF_EMBEDDING", OF_EMBEDDING),
)
"""Which sub-keys each purpose takes; a test holds them apart. "": the keys of a stream that no name is added to."""
