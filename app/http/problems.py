"""Every refusal as application/problem+json (RFC 9457): a stable code, the detail, the request's id."""

import json
import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match, Mount

from app.errors import Internal, MalformedRequest, MethodNotAllowed, NoSuchRoute, Refusal
from app.record.detectors import SECRETS, mask

log = logging.getLogger(__name__)

REFUSED = "tandem.refused"  # where the code of a refusal is left in the ASGI scope

MAX_FAULTS = 20
MAX_NAME_CHARS = 64
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


def problem(error: Refusal, request_id: str | None = None) -> Response:
    """The response that tells a refusal."""
    body = {
        "type": "about:blank",
        "title": error.title,
        "status": error.status,
        "detail": error.message,
        "code": error.code,
        "request_id": request_id,
        **error.details,
    }
    retry_after_s = error.details.get("retry_after_s", error.retry_after_s)
    headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
    if error.status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="tandem"'
    return Response(json.dumps(body), error.status, headers, media_type="application/problem+json")


def install(app: FastAPI) -> None:
    """Teach the application to answer every error in this form."""

    async def answer(request: Request, error: Exception) -> Response:
        return answer_error(request, error)

    for kind in (Refusal, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, answer)


def answer_error(request: Request, error: Exception) -> Response:
    """The response to whatever a handler raised; what is no refusal is logged, and told without its details."""
    request_id = request.scope.get("request_id")
    refusal = translate(error)
    request.scope[REFUSED] = refusal.code
    if isinstance(refusal, Internal):
        log.error("request failed", exc_info=error, extra={"request_id": request_id})
    response = problem(refusal, request_id)
    if response.status_code == 405:
        response.headers["Allow"] = ", ".join(_allowed(request))
    return response


def _allowed(request: Request) -> list[str]:
    """The methods that the address does take; the console's folder, the one mount, takes what a file takes."""
    routes = [route for route in request.app.router.routes if not isinstance(route, Mount)]
    scopes = ({**request.scope, "method": method} for method in _METHODS)
    allowed = [s["method"] for s in scopes if any(route.matches(s)[0] is Match.FULL for route in routes)]
    return allowed or ["GET", "HEAD"]


def translate(error: Exception) -> Refusal:
    """The refusal that a framework's exception stands for."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, RequestValidationError):
        return invalid(error.errors())
    if isinstance(error, HTTPException) and error.status_code == 405:
        return MethodNotAllowed("this address does not take that method")
    if isinstance(error, HTTPException) and error.status_code == 404:
        return NoSuchRoute("there is nothing at this address; /docs lists what there is")
    return Internal("the server failed; the request id finds it in the log")


def invalid(errors: Any, hint: str = "") -> MalformedRequest:  # noqa: ANN401  # pydantic's own list of dicts
    """A refusal that names each wrong field and why, and repeats nothing of what was sent."""
    faults = [{"field": _path(error["loc"]), "problem": error["msg"]} for error in errors[:MAX_FAULTS]]
    first = faults[0]
    where = f"{first['field']}: " if first["field"] else ""
    return MalformedRequest(f"{where}{first['problem']}{hint}", errors=faults)


def _path(loc: tuple[int | str, ...]) -> str:
    """Where a fault is; the name of an unknown field is the client's own, of any length, and may be a key."""
    return mask(".".join(str(part)[:MAX_NAME_CHARS] for part in loc), SECRETS)[0]
