"""Who asks: the edge finds out once a request, the routes are told."""

from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, Request
from starlette.datastructures import Headers

from app.question import Caller

CALLER = "tandem.caller"  # where the edge leaves it in the ASGI scope
LOCAL = Caller("local")

Identify = Callable[[Headers], Caller]


def anybody(headers: Headers) -> Caller:  # noqa: ARG001  # the shape of an identification
    """While AUTH is off everybody is the one caller of this machine."""
    return LOCAL


def caller_of(request: Request) -> Caller:
    """The caller of this request."""
    caller: Caller = request.scope[CALLER]
    return caller


Asker = Annotated[Caller, Depends(caller_of)]
