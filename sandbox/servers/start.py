"""Start one server of a world in this process, by name."""

from __future__ import annotations

from pathlib import Path

from sandbox.servers import bank, process, rakuten, web
from sandbox.servers.awin import Awin
from sandbox.servers.tradetracker import PATH as TRADETRACKER_PATH
from sandbox.servers.tradetracker import TradeTracker

SERVERS = ("awin", "tradetracker", "rakuten", "bank")


def serve(name: str, directory: Path, awin_calls_per_minute: int) -> None:
    """Serve until the parent closes standard input or dies, or a signal says stop; never returns before."""
    process.end_with_parent()
    match name:
        case "awin":
            http = web.server(Awin(directory, awin_calls_per_minute), directory)
            process.announce(http.server_port)
            process.run(http.serve_forever)
        case "tradetracker":
            application = TradeTracker(directory)
            http = web.server(application, directory)
            application.address = f"http://{process.HOST}:{http.server_port}{TRADETRACKER_PATH}"
            process.announce(http.server_port)
            process.run(http.serve_forever)
        case "rakuten" | "bank":
            files = rakuten.server(directory) if name == "rakuten" else bank.server(directory)
            process.announce(files.port)
            process.run(files.serve_forever)
        case _:
            raise ValueError(f"there is no server {name!r}; choose one of {', '.join(SERVERS)}")
