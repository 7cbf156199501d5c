"""A web server on loopback whose every answer a test scripts, down to the bytes on the wire."""

import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import BinaryIO


@dataclass(frozen=True, slots=True)
class Request:
    """What arrived: the request line's two parts, headers in lower case, the body."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


Script = Callable[[Request, BinaryIO], None]


@dataclass(slots=True)
class WebServer:
    """A running server: its port, what it was asked, and the answers still to give (the last one repeats)."""

    port: int = 0
    requests: list[Request] = field(default_factory=list)
    scripts: list[Script] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def answer(body: bytes = b"[]", status: int = 200, **headers: str) -> Script:
    """Return a script that gives one ordinary answer; header names are written with underscores."""
    lines = {"Content_Type": "application/json", "Content_Length": str(len(body)), **headers}
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in lines.items())

    def script(_request: Request, out: BinaryIO) -> None:
        out.write(f"HTTP/1.1 {status} x\r\n{head}Connection: close\r\n\r\n".encode() + body)

    return script


@contextmanager
def serving(*scripts: Script) -> Iterator[WebServer]:
    """Yield a running server with these answers; no thread or socket outlives the block."""
    state = WebServer(scripts=list(scripts))

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            first = self.rfile.readline().decode().split()
            if not first:
                return
            headers: dict[str, str] = {}
            while line := self.rfile.readline().decode("latin-1").strip():
                name, _, value = line.partition(":")
                headers[name.lower()] = value.strip()
            body = self.rfile.read(int(headers.get("content-length", "0")))
            request = Request(first[0], first[1], headers, body)
            state.requests.append(request)
            script = state.scripts.pop(0) if len(state.scripts) > 1 else state.scripts[0]
            try:
                script(request, self.wfile)
            except (BrokenPipeError, ConnectionResetError):
                return  # The client hung up, which is what some tests want of it.

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = False
        block_on_close = True

    with Server(("127.0.0.1", 0), Handler) as server:
        state.port = int(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield state
        finally:
            server.shutdown()
            thread.join()
