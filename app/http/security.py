"""What /docs says of keys: how they are shown, and which role each route asks for."""

from typing import Any, Final

from fastapi import FastAPI

from app.admission.rights import KNOWN, needed
from app.http.sessions import Auth

_SCHEMES: Final[dict[str, Any]] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same"},
}


def describe(app: FastAPI, auth: Auth) -> None:
    """Add it to the schema, where there are keys."""
    if auth != "keys":
        return
    make = app.openapi

    def openapi() -> dict[str, Any]:
        schema = make()
        schema.setdefault("components", {})["securitySchemes"] = _SCHEMES
        for path, ways in schema["paths"].items():
            for method, operation in ways.items():
                need = needed(method.upper(), path)
                if need is not None:
                    operation["security"] = [{name: []} for name in _SCHEMES]
                    operation["x-roles"] = "any" if need == KNOWN else sorted(need)
        return schema

    app.openapi = openapi  # type: ignore[method-assign]  # the way FastAPI names for it
