"""HTTP for the servers of the world: answers carry simulated now as their `Date`, and nothing is logged."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Protocol

from sandbox import clock
from sandbox.servers import process

# A request to the sandbox is small; more than this is a mistake of the caller.
BODY_BYTES_MAX = 1_000_000


@dataclass(frozen=True, slots=True)
class Request:
    """A request as the applications need it."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    now: datetime


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer; `headers` beside type, length and date."""

    status: int
    media_type: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = field(default=())


class Application(Protocol):
    """What answers requests; may be called from many threads."""

    def answer(self, request: Request) -> Reply:
        """Return the reply to a request."""
        ...


def server(application: Application, directory: Path) -> ThreadingHTTPServer:
    """Return a server for an application on a free loopback port, not yet serving."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        server_version = "sandbox"
        sys_version = ""
        # One packet for a small answer would otherwise wait for the acknowledgement of the one before.
        disable_nagle_algorithm = True
        timeout = 60

        def do_GET(self) -> None:
            self._serve(b"")

        def do_POST(self) -> None:
            length = self.headers.get("Content-Length", "")
            if not length.isdecimal() or int(length) > BODY_BYTES_MAX:
                self.close_connection = True
                self._send(
                    Reply(413, "text/plain", b"send a Content-Length of at most 1000000\n"), clock.now(directory)
                )
                return
            self._serve(self.rfile.read(int(length)))

        def _serve(self, body: bytes) -> None:
            now = clock.now(directory)
            headers = {name.lower(): value for name, value in self.headers.items()}
            self._send(application.answer(Request(self.command, self.path, headers, body, now)), now)

        def _send(self, reply: Reply, now: datetime) -> None:
            self.send_response_only(reply.status)
            self.send_header("Date", format_datetime(now.replace(tzinfo=UTC, microsecond=0), usegmt=True))
            self.send_header("Content-Type", reply.media_type)
            self.send_header("Content-Length", str(len(reply.body)))
            for name, value in reply.headers:
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(reply.body)

        def log_message(self, *parts: object) -> None:
            """Log nothing: a request line may hold a token."""

    made = ThreadingHTTPServer((process.HOST, 0), Handler)
    made.daemon_threads = True
    return made
