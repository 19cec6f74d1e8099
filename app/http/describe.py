"""What /docs says of the routes that read their requests themselves."""

from typing import Any

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
