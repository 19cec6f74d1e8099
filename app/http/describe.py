"""What /docs says beyond what the routes themselves tell."""

from typing import Annotated, Any

from fastapi import Path

from app.http.body import ReasonBody, ReasonQuery


def _inlined(schema: Any, definitions: dict[str, Any]) -> Any:  # noqa: ANN401  # JSON has no narrower type
    """The schema with each reference replaced by what it means: an OpenAPI document resolves them elsewhere."""
    if isinstance(schema, dict):
        name = str(schema.get("$ref", "")).removeprefix("#/$defs/")
        if name in definitions:
            return _inlined(definitions[name], definitions)
        return {key: _inlined(value, definitions) for key, value in schema.items() if key != "$defs"}
    if isinstance(schema, list):
        return [_inlined(item, definitions) for item in schema]
    return schema


_body = ReasonBody.model_json_schema()
_query = ReasonQuery.model_json_schema()["properties"]
_stream = {
    "200": {"description": "The events of the run", "content": {"text/event-stream": {}, "application/json": {}}}
}

BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": _inlined(_body, _body["$defs"])}},
    },
    "responses": _stream,
}
QUERY = {
    "parameters": [{"name": name, "in": "query", "schema": schema} for name, schema in _query.items()],
    "responses": _stream,
}

RunId = Annotated[str, Path(description="The run, as `X-Run-ID` and `start` gave it")]

_problem = {
    "type": "object",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What is wrong with this request"},
        "code": {"type": "string", "description": "Stable; the runbook lists them"},
        "request_id": {"type": "string"},
        "errors": {"type": "array", "items": {"type": "object"}, "description": "Each wrong field and why"},
    },
}
REFUSALS: dict[int | str, dict[str, Any]] = {
    "default": {
        "description": "Refused (RFC 9457): 404 and 409 of a run, 422 of a parameter, 503 of the record",
        "content": {"application/problem+json": {"schema": _problem}},
    }
}
