#!/opt/tandem/bin/python -P
"""`tandem` as process 1 of a container, where the kernel drops a SIGTERM that nobody has said how to handle.

Before the server listens to it nothing was accepted, so that nothing can be lost by ending at once.
"""

import os
import signal
from typing import Final

TERMINATED: Final = 128 + signal.SIGTERM

signal.signal(signal.SIGTERM, lambda *_: os._exit(TERMINATED))

from app.cli import main  # noqa: E402  # takes most of the start

if __name__ == "__main__":
    main()
