"""Rakuten Advertising: the item report as CSV files on an SFTP server, one a network and day of processing.

Report: ran-reporting.rakutenmarketing.com, "Individual Item Report + Transaction ID"; six real files counted
2026-11-23. Auth: SFTP user with password or key, pinned host key. Paging: none. Window: whole days by *process* date;
a file is named by `{network}` and `{date}` (YYYYMMDD) and its date is the answer's clock.
Amounts: bare, from 1,000 up quoted with thousands commas; trailing zeros dropped. Zone: as the report was set (GMT).
Reversals: signed rows, joined by programme and order; each has a Transaction ID of its own and repeats the original
transaction time. No status and no currency column: approval is by elapsed days or remittance, the currency follows
from the network number, which the file name tells and `media_type` carries.
Quirks: byte order mark; `M/D/YY`; the text null for absent; a literal backslash in SKUs; an empty day is one row
`No Results Found`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
from pydantic import SecretStr

from connectors.partners.account_settings import days_of, secret, setting, several, whole_setting
from connectors.partners.csv_rows import csv_rows
from connectors.partners.rows import Broken, Values, batches
from connectors.transport.host_key import host_key_lines
from connectors.transport.remote_name import shown
from connectors.transport.sftp import RemoteFile, SftpConnection, SftpSettings
from etl.core.connector import (
    Answer,
    ChangeFeed,
    ConnectorFacts,
    Credentials,
    FetchPlace,
    Part,
    ReversalModel,
    SignedRowLink,
    VersionClock,
    Window,
)
from etl.core.errors import Retry, Stop

if TYPE_CHECKING:
    from etl.core.configuration import PartnerAccount

NETWORKS = ("1", "3", "5", "7", "9", "41")
_FILE_NAME = "item-report_n{network}_{date}.csv"
_NOTHING_FOUND = "No Results Found"

_COLUMNS = {
    "member_id": "Member ID (U1)",
    "mid": "MID",
    "order_id": "Order ID",
    "transaction_date": "Transaction Date",
    "transaction_time": "Transaction Time",
    "sku": "SKU",
    "sales": "Sales",
    "item_count": "# of Items",
    "commission": "Total Commission",
    "process_date": "Process Date",
    "process_time": "Process Time",
    "transaction_id": "Transaction ID",
}


class Rakuten:
    """The connector for Rakuten's item report."""

    facts = ConnectorFacts(
        partner="rakuten",
        parse_version=1,
        version_clock=VersionClock.OBSERVED,
        clock_precision_seconds=1,
        reversal_model=ReversalModel.SIGNED_ROWS,
        change_feed=ChangeFeed.CHANGE_DATE,
        # A file holds what was processed on a day: a sale of that day that is not in it has not vanished.
        states_scope=False,
        longest_window_days=31,
        signed_row_link=SignedRowLink.ORDER,
        has_status=False,
    )

    def fetch(
        self, account: PartnerAccount, credentials: Credentials, window: Window, place: FetchPlace
    ) -> Sequence[Answer]:
        """Return one answer for each file of the window's days; Retry if one is not there, else as `SftpConnection`."""
        networks = several(account, "networks")
        unknown = [each for each in networks if each not in NETWORKS]
        if unknown:
            raise Stop(
                f"{account.name}: the currency of network {', '.join(unknown)} is unknown; known are "
                f"{', '.join(NETWORKS)}. Correct the option networks."
            )
        pattern = _pattern(account, credentials, networks)
        directory = setting(account, credentials, "directory")
        with SftpConnection(_sftp_settings(account, credentials)) as sftp:
            listing = sftp.list(directory)
            present = {Path(each.path).name: each for each in listing.files}
            wanted = [
                (day, network, pattern.replace("{network}", network).replace("{date}", day.strftime("%Y%m%d")))
                for day in days_of(window)
                for network in networks
            ]
            missing = [name for _day, _network, name in wanted if name not in present]
            if missing:
                unusable = {each.name_shown: each.reason for each in listing.ignored}
                why = (
                    f" (something of that name is there, but {unusable[shown(missing[0])]})"
                    if (shown(missing[0]) in unusable)
                    else ""
                )
                raise Retry(
                    f"{account.name}: {len(missing)} of {len(wanted)} files are not in {directory} yet, the "
                    f"first is {missing[0]}{why}. An empty day has a file too; if it stays away, ask the partner."
                )
            unwritten = [name for _day, _network, name in wanted if present[name].size == 0]
            if unwritten:
                raise Retry(
                    f"{account.name}: {unwritten[0]} in {directory} has no byte, so it is still being written; an "
                    "empty day has a header. If it stays so, ask the partner."
                )
            place.directory.mkdir(parents=True, exist_ok=True)
            return [_answer(sftp, present[name], day, network, place) for day, network, name in wanted]

    def flatten(self, parts: Sequence[Path]) -> Iterator[pa.RecordBatch]:
        """Yield the rows of the files as text columns."""
        return batches(tuple(_COLUMNS), _rows(parts))


def _pattern(account: PartnerAccount, credentials: Credentials, networks: Sequence[str]) -> str:
    """Return how files are called; Stop if two of them could be one file, whose rows would then count twice."""
    pattern = setting(account, credentials, "file_name", _FILE_NAME)
    lacking = [] if "{date}" in pattern else ["{date}"]
    if len(networks) > 1 and "{network}" not in pattern:
        lacking.append("{network}")
    if lacking:
        raise Stop(
            f"{account.name}: the option file_name is {pattern!r} and lacks {' and '.join(lacking)}, so one file would "
            f"be read for several days or networks; correct it in config/partners/{account.name}.yaml."
        )
    return pattern


def _answer(sftp: SftpConnection, file: RemoteFile, day: date, network: str, place: FetchPlace) -> Answer:
    name = Path(file.path).name
    received = sftp.read(file.path, place.directory / name)
    observed_at = received.remote.modified_at.astimezone(UTC).replace(tzinfo=None)
    part = Part(received.local_path, name, f"text/csv;network={network}")
    return Answer(Window(day, day + timedelta(days=1)), observed_at, (part,))


def _sftp_settings(account: PartnerAccount, credentials: Credentials) -> SftpSettings:
    password, key = credentials.get("password"), credentials.get("private_key")
    phrase = credentials.get("private_key_passphrase")
    return SftpSettings(
        connection=account.connection,
        host=setting(account, credentials, "host"),
        port=whole_setting(account, credentials, "port", 1, 65_535, 22),
        username=secret(account, credentials, "username"),
        host_keys=host_key_lines(setting(account, credentials, "host_key")),
        password=SecretStr(password) if password else None,
        private_key=SecretStr(key) if key else None,
        private_key_passphrase=SecretStr(phrase) if phrase else None,
    )


def _rows(parts: Sequence[Path]) -> Iterator[Values | Broken | pa.RecordBatch]:
    for part in parts:
        what = f"the Rakuten report {part.name[:40]}"
        yield from csv_rows(part, what, tuple(_COLUMNS.values()), nothing_found=_NOTHING_FOUND)
