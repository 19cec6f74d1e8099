"""Google's Terraform provider as far as `terraform validate` needs one: its schema, and yes to every value.

terraform_google.json has what version 8.7.0 takes: names, types, what must be there, which are blocks. It was written
from the public bindings of that version, for the resource types that deploy/terraform uses; values are not judged.
Terraform's plugin protocol is gRPC; the few messages of it are written here byte by byte.
"""

import contextlib
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc

ADDRESS = "hashicorp/google"
SCHEMA: dict[str, Any] = json.loads(Path(__file__).with_name("terraform_google.json").read_text())
PROVIDER = {"project": ["string", ""], "region": ["string", ""]}
NESTING = {"list": 2, "set": 3}


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, value: bytes | str) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def _block(fields: dict[str, Any]) -> bytes:
    """A message Schema.Block. An attribute is [type, flags]: r must be given, c the provider knows, both perhaps."""
    out = b""
    for name, of in fields.items():
        if isinstance(of, list):
            kind, flags = of
            given = _number(4, 1) if "r" in flags else b"" if "o" in flags else _number(5, 1)
            known = _number(6, 1) if "c" in flags and "r" not in flags else b""
            out += _bytes(2, _bytes(1, name) + _bytes(2, json.dumps(kind)) + given + known)
        else:
            least = _number(4, 1) if of["required"] else b""
            out += _bytes(3, _bytes(1, name) + _bytes(2, _block(of["block"])) + _number(3, NESTING[of["kind"]]) + least)
    return out


def _schema(fields: dict[str, Any]) -> bytes:
    return _bytes(2, _block(fields))


def _schemas() -> bytes:
    """The message GetProviderSchema.Response."""
    out = _bytes(1, _schema(PROVIDER))
    for name, fields in SCHEMA.items():
        place = 3 if name.startswith("data.") else 2
        out += _bytes(place, _bytes(1, name.removeprefix("data.")) + _bytes(2, _schema(fields)))
    return out


class _Provider(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
    """The provider's calls that a validation makes; each is answered with an empty message, which is a yes."""

    def service(self, call: Any) -> Any:
        """The handler of a call."""
        name = call.method.rpartition("/")[2]
        if not call.method.startswith("/tfplugin5.Provider/"):
            return None
        answer = _schemas() if name == "GetSchema" else b""
        return grpc.unary_unary_rpc_method_handler(lambda request, _: request if name.startswith("Prepare") else answer)


@contextlib.contextmanager
def provider() -> Iterator[dict[str, str]]:
    """The environment in which terraform finds this provider and asks no registry."""
    server = grpc.server(ThreadPoolExecutor(4), handlers=[_Provider()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    reached = {
        "Protocol": "grpc",
        "ProtocolVersion": 5,
        "Pid": os.getpid(),
        "Test": True,
        "Addr": {"Network": "tcp", "String": f"127.0.0.1:{port}"},
    }
    try:
        yield {
            "TF_REATTACH_PROVIDERS": json.dumps({ADDRESS: reached}),
            "CHECKPOINT_DISABLE": "1",
            "TF_IN_AUTOMATION": "1",
        }
    finally:
        server.stop(None)
