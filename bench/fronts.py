"""nginx, haproxy and caddy as real processes in front of servers of ours: the least configuration each can live with.

Each listens on a free loopback port, runs as whoever starts it, writes to a folder of its own and is killed at the end.
"""

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.servers import free_port

READY_S: Final = 10.0

# What each needs beside its least configuration. haproxy holds what is not the end of an answer back for 200 ms, and
# hears of a silent client's leaving only when told to.
NEEDED: Final = {"nginx": "", "haproxy": "  option http-no-delay\n  option abortonclose", "caddy": ""}
GZIP: Final = {
    "nginx": "gzip on; gzip_types text/event-stream; gzip_proxied any;",
    "haproxy": f"{NEEDED['haproxy']}\n  compression algo gzip\n  compression type text/event-stream",
    "caddy": "encode gzip",
}
# A server on loopback answers to loopback names alone; this is what the proxy calls it.
LOCAL_NAME: Final = {
    "nginx": "proxy_set_header Host localhost;",
    "haproxy": "  http-request set-header Host localhost",
    "caddy": "header_up Host localhost",
}


@dataclass(frozen=True, slots=True)
class Wish:
    """What a proxy is to do. more: lines where its configuration describes the site; pem: key and certificate, or none.

    balance: lines where it describes how the servers are asked.
    """

    kind: str
    ports: tuple[int, ...]
    more: str = ""
    balance: str = ""
    pem: Path | None = None


@dataclass(frozen=True, slots=True)
class Front:
    """A running proxy."""

    kind: str
    port: int
    log: Path
    tls: bool = False

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"


def nginx(wish: Wish, port: int, home: Path) -> str:
    """nginx.conf; all but the server block is about where it may write."""
    paths = "".join(f"{name}_temp_path {home}/{name}; " for name in ("proxy", "fastcgi", "uwsgi", "scgi"))
    servers = " ".join(f"server 127.0.0.1:{to} max_fails=0;" for to in wish.ports)
    several = len(wish.ports) > 1
    target = "tandem" if several else f"127.0.0.1:{wish.ports[0]}"
    tls = f"ssl_certificate {wish.pem}; ssl_certificate_key {wish.pem};" if wish.pem else ""
    return f"""
daemon off; master_process off; pid {home}/nginx.pid; error_log stderr;
events {{ worker_connections 8192; }}
http {{
  access_log off; client_body_temp_path {home}/body; {paths}
  {f"upstream tandem {{ {servers} }}" if several else ""}
  server {{
    listen 127.0.0.1:{port}{" ssl http2" if wish.pem else ""}; {tls}
    {wish.more}
    location / {{ proxy_pass http://{target}; {wish.balance} }}
  }}
}}
"""


def haproxy(wish: Wish, port: int, home: Path) -> str:  # noqa: ARG001  # the shape of all three
    """haproxy.cfg with the timeouts of Debian's own."""
    servers = "\n".join(f"  server s{n} 127.0.0.1:{to}" for n, to in enumerate(wish.ports))
    tls = f" ssl crt {wish.pem} alpn h2,http/1.1" if wish.pem else ""
    return f"""
defaults
  mode http
  timeout connect 5000
  timeout client 50000
  timeout server 50000
listen tandem
  bind 127.0.0.1:{port}{tls}
{wish.more}
{wish.balance}
{servers}
"""


def caddy(wish: Wish, port: int, home: Path) -> str:
    """A Caddyfile; the options on top keep it away from what another caddy on this machine may use."""
    tls = f"tls {wish.pem} {wish.pem}" if wish.pem else ""
    servers = " ".join(f"127.0.0.1:{to}" for to in wish.ports)
    return f"""
{{
  admin off
  auto_https off
  storage file_system {home}
}}
{"https" if wish.pem else "http"}://127.0.0.1:{port} {{
  {tls}
  {wish.more}
  reverse_proxy {servers} {{
    {wish.balance}
  }}
}}
"""


CONFIGURED: Final[Mapping[str, Callable[[Wish, int, Path], str]]] = {
    "nginx": nginx,
    "haproxy": haproxy,
    "caddy": caddy,
}
KINDS: Final = tuple(CONFIGURED)


def command(kind: str, config: Path) -> list[str]:
    """How it is started, in the foreground."""
    return {
        "nginx": ["nginx", "-e", "stderr", "-p", str(config.parent), "-c", str(config)],
        "haproxy": ["haproxy", "-db", "-f", str(config)],
        "caddy": ["caddy", "run", "--adapter", "caddyfile", "--config", str(config)],
    }[kind]


@contextlib.contextmanager
def fronting(wish: Wish, home: Path) -> Iterator[Front]:
    """The proxy, accepting connections, until the block ends; home is a folder for it alone."""
    home.mkdir(parents=True, exist_ok=True)
    port, config, log = free_port(), home / "config", home / "log"
    config.write_text(CONFIGURED[wish.kind](wish, port, home))
    # Debian keeps nginx and haproxy in sbin, which is not in every user's PATH; caddy looks for folders in HOME.
    env = {"PATH": search_path(), "HOME": str(home), "LC_ALL": "C.UTF-8"}
    with log.open("ab") as output:
        child = subprocess.Popen(
            command(wish.kind, config), stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=env
        )
    try:
        _await(child, port, log)
        yield Front(wish.kind, port, log, wish.pem is not None)
    finally:
        child.kill()
        child.wait()


def search_path() -> str:
    """Where programs are looked for."""
    return f"{os.environ['PATH']}:/usr/sbin:/sbin"


def _await(child: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    deadline = time.monotonic() + READY_S
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        if child.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the proxy did not start:\n{log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.005)


def self_signed(folder: Path) -> Path:
    """A file with a new key and its own certificate for 127.0.0.1."""
    key, certificate, pem = folder / "key", folder / "certificate", folder / "site.pem"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", *names]
    subprocess.run([*new, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    pem.write_text(certificate.read_text() + key.read_text())
    return pem
