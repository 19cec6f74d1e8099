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
_sent = {
    "X-Run-ID": "The run that answers",
    "X-Run-Source": "`live`; `attached`: shares a run that is there; `cache`: a replay, with a run of its own",
}
RUN_HEADERS = {name: {"description": words, "schema": {"type": "string"}} for name, words in _sent.items()}
_stream = {
    "200": {
        "description": "The events of the run",
        "headers": RUN_HEADERS,
        "content": {"text/event-stream": {}, "application/json": {}},
    },
    "204": {"description": "Last-Event-ID was that of `done`: there is nothing behind it"},
}
_taken = {
    "Idempotency-Key": "1 to 255 visible ASCII characters of your own. Asked again under the same key, the same "
    "question gets the run it got before; another question is refused with 409 `idempotency_key_reused`",
    "Last-Event-ID": "The id of the last event that was seen: the rest of its run, and no other question is asked",
}
_headers = [
    {"name": name, "in": "header", "schema": {"type": "string"}, "description": words} for name, words in _taken.items()
]

BODY = {
    "parameters": _headers,
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": _inlined(_body, _body["$defs"])}},
    },
    "responses": _stream,
}
QUERY = {
    "parameters": [
        *_headers,
        *(
            {"name": name, "in": "query", "schema": schema, "description": schema["description"]}
            for name, schema in _query.items()
        ),
    ],
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
