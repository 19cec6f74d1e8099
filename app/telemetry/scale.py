"""Times as numbers of buckets that grow by 2 %, so that a bucket's middle is within 1 % of every time in it.

The same scale as that of the roll-ups in PostgreSQL.
"""

from math import ceil, log
from typing import Final

GROWTH: Final = 1.02
LEAST_MS: Final = 0.1
BUCKETS: Final = 1024  # the last one begins at 17 hours

_STEP: Final = log(GROWTH)
_MIDDLE: Final = 2 / (1 + GROWTH)  # equally far, by ratio, from both ends


def bucket_of(ms: float) -> int:
    """The bucket of a time in milliseconds; below a tenth of one they are all alike."""
    if ms <= LEAST_MS:
        return 0
    bucket = ceil(log(ms / LEAST_MS) / _STEP)
    return bucket if bucket < BUCKETS else BUCKETS - 1


def ms_of(bucket: int) -> float:
    """The time that stands for a bucket."""
    return LEAST_MS * GROWTH**bucket * _MIDDLE
