"""What Cloud SQL shows to a client, on this machine: tokens, the Admin API, and TLS before a real PostgreSQL."""

import asyncio
import contextlib
import datetime as dt
import functools
import json
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

INSTANCE: Final = "proj:europe-west1:main"
_PEM: Final = serialization.Encoding.PEM


@functools.cache
def account_key() -> str:
    """The private key of the account; made once, for it takes as long as a whole test."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()


class Authority:
    """A certificate authority, and certificates signed by it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = self._sign("authority", self._key.public_key(), authority=True)
        self.file = folder / "authority.pem"
        self.file.write_bytes(self.pem)

    @property
    def pem(self) -> bytes:
        """Its own certificate."""
        return self.certificate.public_bytes(_PEM)

    def sign(self, public_key: str) -> str:
        """A certificate for somebody's key."""
        key: Any = serialization.load_pem_public_key(public_key.encode())
        return self._sign("client", key).public_bytes(_PEM).decode()

    def server(self, *, clients: bool) -> ssl.SSLContext:
        """What a server needs; clients: it asks them for certificates of this authority."""
        key = ec.generate_private_key(ec.SECP256R1())
        file = self._folder / "server.pem"
        private = key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        file.write_bytes(private + self._sign("server", key.public_key()).public_bytes(_PEM))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        if clients:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.file)
        return context

    def _sign(self, name: str, key: Any, *, authority: bool = False) -> x509.Certificate:
        subject, issuer = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, n)]) for n in (name, "authority"))
        now = dt.datetime.now(dt.UTC)
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
        builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - dt.timedelta(minutes=1))
        builder = builder.not_valid_after(now + dt.timedelta(hours=1))
        builder = builder.add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        return builder.sign(self._key, hashes.SHA256())


@dataclass
class Google:
    """Tokens and the Admin API. token: the next one; status: of the next answers; hang: it does not answer."""

    authority: Authority
    port: int = 0
    token: str = "token-1"
    lasts_s: int = 3600
    status: int = 200
    hang: bool = False
    addresses: list[dict[str, str]] = field(default_factory=lambda: [{"type": "PRIVATE", "ipAddress": "127.0.0.1"}])
    asked: list[tuple[str, Any]] = field(default_factory=list)

    def count(self, word: str) -> int:
        """How often something with this word in its path was asked for."""
        return sum(word in path for path, _ in self.asked)

    def credentials(self, folder: Path) -> Path:
        """A file of a service account whose tokens come from here."""
        uri = f"http://127.0.0.1:{self.port}/token"
        account = {
            "type": "service_account",
            "project_id": "proj",
            "client_email": "run@proj.iam.gserviceaccount.com",
            "private_key": account_key(),
        }
        file = folder / "account.json"
        file.write_text(json.dumps(account | {"private_key_id": "1", "client_id": "1", "token_uri": uri}))
        return file

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request and its answer."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = head.partition("content-length:")[2].split("\r\n")[0].strip()
            body = (await reader.readexactly(int(length or 0))).decode()
            path = head.split()[1]
            self.asked.append((path, body))
            while self.hang:  # noqa: ASYNC110  # a test sets it, without a word
                await asyncio.sleep(0.01)
            said = json.dumps(self._answer(path, body)).encode()
            writer.write(
                f"HTTP/1.1 {self.status} x\r\nContent-Type: application/json\r\nConnection: close\r\n".encode()
            )
            writer.write(f"Content-Length: {len(said)}\r\n\r\n".encode() + said)
            await writer.drain()
        writer.close()

    def _answer(self, path: str, body: str) -> dict[str, Any]:
        if self.status != 200:
            return {"error": {"message": "no"}}
        if path == "/token":
            return {"access_token": self.token, "expires_in": self.lasts_s, "token_type": "Bearer"}
        if path.endswith("/connectsettings"):
            authority = {"cert": self.authority.pem.decode()}
            about = {"region": "europe-west1", "databaseVersion": "POSTGRES_17", "ipAddresses": self.addresses}
            return about | {"serverCaCert": authority}
        return {"ephemeralCert": {"cert": self.authority.sign(json.loads(body)["public_key"])}}


@contextlib.asynccontextmanager
async def google(folder: Path) -> AsyncIterator[Google]:
    """Google, for the length of the block."""
    found = Google(Authority(folder))
    async with _listening(found.serve) as found.port:
        yield found
        found.hang = False


@contextlib.asynccontextmanager
async def tls_before(socket: str, context: ssl.SSLContext, *, direct: bool) -> AsyncIterator[int]:
    """The port of a PostgreSQL that speaks TLS; direct: from the first byte, else once a client asks for it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the request for TLS, and carry on inside it."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            if not direct:
                if await reader.readexactly(8) != b"\x00\x00\x00\x08\x04\xd2\x16\x2f":
                    writer.transport.abort()
                    return
                writer.write(b"S")
                await writer.start_tls(context)
            inner, outer = await asyncio.open_unix_connection(socket)
            try:
                await asyncio.gather(_pump(reader, outer), _pump(inner, writer))
            finally:
                outer.transport.abort()
                await asyncio.sleep(0)  # in which it is closed

    async with _listening(serve, context if direct else None) as port:
        yield port


@contextlib.asynccontextmanager
async def saying(reply: bytes, context: ssl.SSLContext) -> AsyncIterator[int]:
    """The port of a thing that speaks TLS, says this once to whoever comes, and then nothing more."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Say that, whatever comes."""
        await reader.read(1)
        writer.write(reply)
        await asyncio.sleep(3600)

    async with _listening(serve, context) as port:
        yield port


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Bytes in one direction; the end of it is the end of both."""
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.transport.abort()


@contextlib.asynccontextmanager
async def _listening(serve: Callable[..., Any], context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """The loopback port of a server whose connections end with the block."""
    tasks: set[asyncio.Task[Any]] = set()

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with contextlib.suppress(asyncio.CancelledError):
            await serve(reader, writer)
        writer.transport.abort()
        tasks.discard(task)

    server = await asyncio.start_server(one, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in (left := list(tasks)):
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await asyncio.sleep(0.01)
