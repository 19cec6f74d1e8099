"""The owned child process: llama.cpp serving one model on loopback. Run as `python -m app.llm.local_server`.

Its first line of standard input is an Order, its first line of standard output a Notice; then it serves until its
standard input ends, which the death of the parent brings about however the parent dies.
"""

import os
import sys
import threading
from typing import Final, TextIO

import msgspec
import xllamacpp

WARNINGS: Final = 2  # of llama.cpp's verbosity: nothing about a request, so no text of anybody's question


class Order(msgspec.Struct, frozen=True):
    """What to serve. context is the number of tokens of each of the slots."""

    weights: str
    alias: str
    key: str
    slots: int
    context: int


class Notice(msgspec.Struct, frozen=True):
    """Where the model answers, once it is loaded; or why it cannot."""

    address: str | None = None
    problem: str | None = None


def serve() -> None:
    """Load, tell the parent, and serve until standard input ends."""
    notices = _notices()
    order = msgspec.json.decode(sys.stdin.buffer.readline(), type=Order)
    orphaned = threading.Thread(target=_exit_at_end_of_input, daemon=True)
    orphaned.start()
    try:
        server = xllamacpp.Server(_parameters(order))
    except RuntimeError as error:
        _tell(notices, Notice(problem=str(error)))
        sys.exit(1)
    _tell(notices, Notice(address=server.listening_address))
    orphaned.join()


def _notices() -> TextIO:
    """Standard output for ourselves alone: whatever llama.cpp prints goes to standard error instead."""
    private = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return private


def _tell(notices: TextIO, notice: Notice) -> None:
    notices.write(msgspec.json.encode(notice).decode() + "\n")
    notices.flush()


def _exit_at_end_of_input() -> None:
    """The parent closed our input or died. Nothing here is worth saving, so leave at once, even while loading."""
    sys.stdin.buffer.read()
    os._exit(0)


def _parameters(order: Order) -> xllamacpp.CommonParams:
    """Bound to loopback on a free port, behind the key, with a context that is never shifted silently."""
    parameters = xllamacpp.CommonParams()
    parameters.model.path = order.weights
    parameters.model_alias = {order.alias}
    parameters.api_keys = [order.key]
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0
    parameters.ui = False
    parameters.verbosity = WARNINGS
    parameters.n_parallel = order.slots
    parameters.n_ctx = order.slots * order.context
    parameters.cache_ram_mib = 0
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = _threads()
    parameters.cpuparams.poll = parameters.cpuparams_batch.poll = 0
    return parameters


def _threads() -> int:
    """Half of the processors we may use; where the system does not tell how many, llama.cpp knows better (-1).

    Its threads spin for each other at every layer: on a processor that something else needs too, a thread for each
    is slower by orders of magnitude, while half of them are slower by half at rest.
    """
    return max(1, len(os.sched_getaffinity(0)) // 2) if sys.platform == "linux" else -1


if __name__ == "__main__":
    serve()
