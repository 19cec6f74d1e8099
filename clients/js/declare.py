"""`python clients/js/declare.py` writes src/protocol.d.ts from what the server itself says of its events and bodies."""

import json
import re
from pathlib import Path
from typing import Any, Final, Literal, get_args

import msgspec

from app.errors import Refusal
from app.events import NAMES, EventName
from app.http.body import ReasonBody, ReasonQuery
from app.question import LaneName

TARGET: Final = Path(__file__).parent / "src" / "protocol.d.ts"
_HEAD: Final = "// Made by clients/js/declare.py from the server's own schema; a change here is overwritten.\n"
# What a JSON Schema cannot say: which keys an object has that is a mapping here.
_MAPPINGS: Final = {("Start", "lanes"): "Record<LaneName, { model: string }>"}
_NAMES: Final = {"FinalAnswer": "Final", "LaneBody": "LaneWishes", "MessageBody": "Message"}
_SIMPLE: Final = {"string": "string", "integer": "number", "number": "number", "boolean": "boolean", "null": "null"}

_QUESTION: Final = """\
/** A question: exactly one of `input` and `messages`. */
export type Question = Wishes & ({ input: string; messages?: null } | { input?: null; messages: Message[] });"""
_SCALARS: Final = """\
/** What an address can ask: the scalars alone. */
export type ScalarQuestion = {{ input: string }} & Pick<
  Wishes,
  {}
>;"""

Schema = dict[str, Any]


class Delta(msgspec.Struct):
    """A piece of what one lane says."""

    lane: LaneName
    kind: Literal["answer", "thinking"]
    text: str


STRUCTS: Final[dict[str, type]] = {**{name: struct for struct, name in NAMES.items()}, "delta": Delta}


def declarations() -> str:
    """The whole file."""
    _, events = msgspec.json.schema_components(list(STRUCTS.values()))
    body = ReasonBody.model_json_schema()
    parts = [f"export type LaneName = {_choice(get_args(LaneName))};"]
    parts += [_interface(name, schema, all_there=True) for name, schema in sorted(events.items())]
    parts += [_told(get_args(EventName))]
    parts += [_interface(name, schema) for name, schema in sorted(body["$defs"].items())]
    wishes = {name: field for name, field in body["properties"].items() if name not in ("input", "messages", "stream")}
    parts += [_interface("Wishes", {"properties": wishes, "description": "What may be said beside the question."})]
    parts += [_QUESTION, _SCALARS.format(_choice(scalars()))]
    parts += [
        f"/** Why a server refuses. */\nexport type Refusal =\n  | {_choice(sorted(_codes(Refusal)), line=True)};"
    ]
    return "\n\n".join([_HEAD.rstrip("\n"), *parts]) + "\n"


def scalars() -> list[str]:
    """The fields of a question that may stand in an address, beside `input`."""
    return [name for name in ReasonQuery.model_fields if name not in ("input", "stream", "last_event_id")]


def _codes(kind: type[Refusal]) -> set[str]:
    leaves = kind.__subclasses__()
    return set().union(*map(_codes, leaves)) if leaves else {kind.code}


def _told(names: tuple[str, ...]) -> str:
    """The union of everything that a run tells."""
    members = [f'  | Told<"{name}", {_name(STRUCTS[name].__name__)}>' for name in names]
    return (
        "/** One event. at: when it came, in milliseconds of `performance.now()`. */\n"
        "export interface Told<Name extends string, Data> {\n"
        "  name: Name;\n  /** `<run_id>:<seq>` */\n  id: string;\n  seq: number;\n  data: Data;\n  at: number;\n}\n\n"
        "export type TandemEvent =\n" + "\n".join(members) + ";"
    )


def _interface(name: str, schema: Schema, *, all_there: bool = False) -> str:
    """An object; all_there: the server sends every field, whatever has a default."""
    lines = [f"export interface {_name(name)} {{"]
    needed = set(schema["properties"] if all_there else schema.get("required", ()))
    for field, of in schema["properties"].items():
        if "description" in of:
            lines.append(f"  /** {of['description']} */")
        mark = "" if field in needed else "?"
        lines.append(f"  {field}{mark}: {_MAPPINGS.get((name, field)) or _type(of)};")
    told = re.sub(r"\bNone\b", "null", " ".join(schema["description"].split()))
    return "\n".join([f"/** {told} */", *lines, "}"])


def _type(schema: Schema) -> str:
    """The TypeScript of a JSON Schema. KeyError for what no event or body has had so far."""
    if "$ref" in schema:
        return _name(schema["$ref"].rpartition("/")[2])
    if "enum" in schema:
        return _choice(schema["enum"])
    if "anyOf" in schema:
        return " | ".join(map(_type, schema["anyOf"]))
    if schema["type"] == "array":
        return f"{_type(schema['items'])}[]"
    return _SIMPLE[schema["type"]]


def _name(name: str) -> str:
    return _NAMES.get(name, name)


def _choice(values: Any, *, line: bool = False) -> str:  # noqa: ANN401  # of JSON
    """A union of constants; line: one on each."""
    return ("\n  | " if line else " | ").join(map(json.dumps, values))


if __name__ == "__main__":
    TARGET.write_text(declarations(), encoding="utf-8")
