"""What a route works with: the parts of the application that serves it, asked for by name. So a route is made once."""

from operator import attrgetter

from fastapi import Depends, FastAPI, Request


def give(app: FastAPI, parts: object) -> None:
    """Let the routes of this application work with these parts."""
    app.state.parts = parts


async def _parts(request: Request) -> object:
    parts: object = request.app.state.parts
    return parts


def given(name: str = "") -> object:
    """The dependency that is the part of that name (`past.reads` is a part of a part), or all of them."""
    if not name:
        return Depends(_parts)
    find = attrgetter(name)

    async def part(request: Request) -> object:
        found: object = find(request.app.state.parts)
        return found

    return Depends(part)
