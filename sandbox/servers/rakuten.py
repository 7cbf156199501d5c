"""Rakuten's item report as files on an SFTP server: one per network and process day, published the next morning."""

from __future__ import annotations

import stat
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import paramiko

from sandbox import clock, credentials, folder
from sandbox.claims import published_at
from sandbox.instants import midnight
from sandbox.model import RAKUTEN, Program, Row
from sandbox.servers.sftp import SftpServer

DIRECTORY = "/reports"
HEADER = (
    "Member ID (U1),MID,Advertiser Name,Order ID,Transaction Date,Transaction Time,SKU,Sales,# of Items,"
    "Total Commission,Process Date,Process Time,Transaction ID,Referrer URL"
)
NOTHING = "No Results Found"


class Reports:
    """Every report there will ever be, and which of them are there yet."""

    def __init__(self, programs: Sequence[Program], rows: Sequence[Row], first_on: date) -> None:
        self._programs = {program.program_id: program for program in programs}
        self._networks = sorted({program.network for program in programs if program.network is not None})
        self._first_on = first_on
        self._rows: dict[tuple[int, date], list[Row]] = defaultdict(list)
        # Written once: a listing tells the size of every file.
        self._contents: dict[tuple[int, date], bytes] = {}
        for row in rows:
            network = self._programs[row.program_id].network
            assert network is not None
            self._rows[(network, row.processed_at.date())].append(row)

    def published(self, now: datetime) -> dict[str, tuple[int, date]]:
        """Return the network and day of every file that is there now, by file name."""
        out = {}
        day = self._first_on
        while published_at(midnight(day)) <= now:
            for network in self._networks:
                out[f"item-report_n{network}_{day:%Y%m%d}.csv"] = (network, day)
            day += timedelta(days=1)
        return out

    def content(self, network: int, day: date) -> bytes:
        """Return the bytes of the file of a network and day."""
        key = (network, day)
        if key not in self._contents:
            self._contents[key] = self._written(key)
        return self._contents[key]

    def _written(self, key: tuple[int, date]) -> bytes:
        rows = sorted(self._rows.get(key, []), key=lambda row: (row.click_ref or "null", row.transaction_id))
        lines = [self._line(row) for row in rows] or [NOTHING]
        return ("\ufeff" + "\n".join([HEADER, *lines]) + "\n").encode()

    def _line(self, row: Row) -> str:
        state = row.states[0]
        name = self._programs[row.program_id].name.partition(" (")[0]
        return ",".join(
            [
                _quoted(row.click_ref),
                row.partner_program_id,
                _quoted(name),
                _quoted(row.order_ref),
                _day(row.occurred_at),
                f"{row.occurred_at:%H:%M:%S}",
                _quoted(row.sku),
                shown_amount(state.sale_amount),
                str(row.item_count),
                shown_amount(state.commission_amount),
                _day(row.processed_at),
                f"{row.processed_at:%H:%M:%S}",
                _quoted(row.transaction_id),
                _quoted(None),
            ]
        )


class ReportTree(paramiko.SFTPServerInterface):
    """The read-only folder of reports, as of simulated now."""

    def __init__(self, server: Any, *, reports: Reports, directory: Path) -> None:
        super().__init__(server)
        self._reports = reports
        self._directory = directory

    def _published(self) -> dict[str, tuple[int, date]]:
        return self._reports.published(clock.now(self._directory))

    def list_folder(self, path: str) -> list[paramiko.SFTPAttributes] | int:
        """Return the reports that are there, or the one folder."""
        place = self.canonicalize(path)
        if place == "/":
            return [_folder(DIRECTORY.strip("/"))]
        if place != DIRECTORY:
            return paramiko.sftp.SFTP_NO_SUCH_FILE
        return [self._attributes(name, *key) for name, key in self._published().items()]

    def stat(self, path: str) -> paramiko.SFTPAttributes | int:
        """Return size and time of a report."""
        place = self.canonicalize(path)
        if place in ("/", DIRECTORY):
            return _folder(place.strip("/"))
        parent, _, name = place.rpartition("/")
        key = self._published().get(name) if parent == DIRECTORY else None
        return paramiko.sftp.SFTP_NO_SUCH_FILE if key is None else self._attributes(name, *key)

    def lstat(self, path: str) -> paramiko.SFTPAttributes | int:
        """Return the same as `stat`; there are no links."""
        return self.stat(path)

    def open(self, path: str, flags: int, _attr: paramiko.SFTPAttributes) -> paramiko.SFTPHandle | int:
        """Return a handle to read a report; writing is refused."""
        if flags & 3:
            return paramiko.sftp.SFTP_PERMISSION_DENIED
        parent, _, name = self.canonicalize(path).rpartition("/")
        key = self._published().get(name) if parent == DIRECTORY else None
        if key is None:
            return paramiko.sftp.SFTP_NO_SUCH_FILE
        return ReportHandle(self._reports.content(*key), self._attributes(name, *key))

    def _attributes(self, name: str, network: int, day: date) -> paramiko.SFTPAttributes:
        attributes = paramiko.SFTPAttributes()
        attributes.filename = name
        attributes.st_mode = stat.S_IFREG | 0o444
        attributes.st_size = len(self._reports.content(network, day))
        published = published_at(midnight(day)).replace(tzinfo=UTC)
        attributes.st_mtime = attributes.st_atime = int(published.timestamp())
        return attributes


class ReportHandle(paramiko.SFTPHandle):
    """An open report."""

    def __init__(self, content: bytes, attributes: paramiko.SFTPAttributes) -> None:
        super().__init__()
        self._content = content
        self._attributes = attributes

    def stat(self) -> paramiko.SFTPAttributes:
        """Return size and time of the report."""
        return self._attributes

    def read(self, offset: int, length: int) -> bytes | int:
        """Return bytes of the report; none at its end."""
        return self._content[offset : offset + length]


def server(directory: Path) -> SftpServer:
    """Return Rakuten's server for a world, listening but not yet serving."""
    programs = [program for program in folder.load_programs(directory) if program.partner == RAKUTEN]
    reports = Reports(programs, folder.load_rows(directory, RAKUTEN), folder.first_day(directory))
    login = credentials.load(directory).rakuten
    return SftpServer(login, credentials.host_key_path(directory, "rakuten"), _tree(reports, directory))


def _tree(reports: Reports, directory: Path) -> Callable[..., paramiko.SFTPServerInterface]:
    def tree(door: Any) -> paramiko.SFTPServerInterface:
        return ReportTree(door, reports=reports, directory=directory)

    return tree


def _folder(name: str) -> paramiko.SFTPAttributes:
    attributes = paramiko.SFTPAttributes()
    attributes.filename = name
    attributes.st_mode = stat.S_IFDIR | 0o555
    attributes.st_size = 0
    return attributes


def _quoted(text: str | None) -> str:
    """Return a text column: always quoted, quotes doubled, backslashes as they are, absent as the word null."""
    return '"' + ("null" if text is None else text).replace('"', '""') + '"'


def _day(instant: datetime) -> str:
    return f"{instant.month}/{instant.day}/{instant:%y}"


def shown_amount(amount: Decimal) -> str:
    """Return an amount without trailing zeros, quoted with thousands commas from 1,000 up."""
    shown = f"{amount:,f}"
    if "." in shown:
        shown = shown.rstrip("0").rstrip(".")
    if shown in ("-0", ""):
        shown = "0"
    return f'"{shown}"' if abs(amount) >= 1000 else shown
