"""The queries of every .sql file beside this one, by name. Each begins with `-- name: ...` and says what it does."""

import importlib.resources
import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

_HEAD = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)
_COMMENT = re.compile(r"^--.*\n?", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Query:
    """One statement and the sentence that describes it."""

    name: str
    description: str
    sql: str


def read(text: str) -> dict[str, Query]:
    """Every query of a text, by name; a name that comes twice or a query without description is refused."""
    found: dict[str, Query] = {}
    _, *parts = _HEAD.split(text)
    for name, body in zip(parts[::2], parts[1::2], strict=True):
        description = " ".join(line.removeprefix("--").strip() for line in _COMMENT.findall(body))
        sql = _COMMENT.sub("", body).strip().removesuffix(";")
        if name in found or not description or not sql:
            raise ValueError(f"query {name}: named twice, without a description, or empty")
        found[name] = Query(name, description, sql)
    return found


def texts() -> list[str]:
    """The text of every file of queries of this package."""
    folder = importlib.resources.files(__package__)
    return [file.read_text("utf-8") for file in folder.iterdir() if file.name.endswith(".sql")]


QUERIES: Final = MappingProxyType({name: query.sql for name, query in read("\n".join(texts())).items()})
