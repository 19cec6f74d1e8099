"""Times as numbers of buckets that grow by 2 %, so that a bucket's middle is within 1 % of every time in it.

The same scale as that of the roll-ups in PostgreSQL.
"""

import math
from typing import Final

GROWTH: Final = 1.02
LEAST_MS: Final = 0.1
BUCKETS: Final = 1024  # the last one begins at 17 hours

_STEP: Final = math.log(GROWTH)
_MIDDLE: Final = 2 / (1 + GROWTH)  # equally far, by ratio, from both ends


def bucket_of(ms: float) -> int:
    """The bucket of a time in milliseconds; below a tenth of one they are all alike."""
    return 0 if ms <= LEAST_MS else min(math.ceil(math.log(ms / LEAST_MS) / _STEP), BUCKETS - 1)


def ms_of(bucket: int) -> float:
    """The time that stands for a bucket."""
    return LEAST_MS * GROWTH**bucket * _MIDDLE
