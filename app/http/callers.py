"""Who asks: the edge finds out once a request, the routes are told."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Final

from fastapi import Depends, Request
from starlette.datastructures import Headers
from starlette.types import Scope

from app.question import Caller

CALLER = "tandem.caller"  # where the edge leaves it in the ASGI scope
LOCAL = Caller("local")
NOBODY: Final = Caller("nobody", rights=frozenset())  # asks for what is open to all

Identify = Callable[[Headers, Scope], Awaitable[Caller]]  # raises a Refusal


async def anybody(headers: Headers, scope: Scope) -> Caller:  # noqa: ARG001  # the shape of an identification
    """While AUTH is off everybody is the one caller of this machine."""
    return LOCAL


def caller_of(request: Request) -> Caller:
    """The caller of this request."""
    caller: Caller = request.scope[CALLER]
    return caller


async def _asker(request: Request) -> Caller:
    return caller_of(request)  # a plain function would be called in a thread


Asker = Annotated[Caller, Depends(_asker)]
