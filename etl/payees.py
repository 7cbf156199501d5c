"""Load members' payees from a tracker: each account number checked, encrypted for its place, and kept by version."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Protocol

import pyarrow as pa

from etl.core.configuration import ClickSource
from etl.core.context import Context, StageResult
from etl.core.encryption import KeyRing, blind_index, encrypt
from etl.core.errors import Stop
from etl.core.iban import InvalidIban, checked_iban
from etl.core.payee import IBAN_COLUMN, NAME_COLUMN, payee_place
from etl.core.schemas import INSTANT, TEXT
from etl.core.warehouse import Connection, copy_in, lock
from etl.core.warehouse import fetch as fetch_table

NAME_CHARACTERS_MAX = 140
_SHOWN_FAULTS = 20

_NEWEST = pa.schema(
    [pa.field("member_id", TEXT), pa.field("version", pa.int32()), pa.field("changed_at", INSTANT)],
)
_VERSION = pa.schema(
    [
        pa.field("member_id", TEXT, nullable=False),
        pa.field("version", pa.int32(), nullable=False),
        pa.field(NAME_COLUMN, TEXT, nullable=False),
        pa.field(IBAN_COLUMN, TEXT, nullable=False),
        pa.field("iban_index", TEXT, nullable=False),
        pa.field("iban_masked", TEXT, nullable=False),
        pa.field("country", TEXT, nullable=False),
        pa.field("changed_at", INSTANT, nullable=False),
        pa.field("changed_by", TEXT, nullable=False),
    ]
)


class PayeeReader(Protocol):
    """What reads the payees of a tracker."""

    def payees(self, since: datetime | None, until: datetime) -> Iterator[pa.Table]:
        """Yield tables of member_id, name, iban, changed_at, changed_by."""
        ...


def load_payees(
    context: Context, source: ClickSource, reader: PayeeReader, keys: KeyRing, until: datetime
) -> StageResult:
    """Return how many payee versions are new and how many rows were refused, those named by member and masked number.

    A row is a new version if it changed after the newest one of its member. A refused row leaves the version before it
    in force, and is read and named again by the next load as long as it lies in the overlap.
    """
    overlap = timedelta(minutes=source.overlap_minutes)
    faults: list[str] = []
    count = 0
    with context.warehouse.transaction() as connection:
        lock(connection, "payees")
        newest = _newest(connection)
        since = max((changed_at for _version, changed_at in newest.values()), default=None)
        for table in reader.payees(None if since is None else since - overlap, until):
            versions = [made for row in table.to_pylist() if (made := _version(row, newest, keys, faults))]
            copy_in(connection, "pii.payee", pa.Table.from_pylist(versions, schema=_VERSION))
            count += len(versions)
    note = f"{count:,} new payee versions, {len(faults):,} refused"
    if faults:
        note += ": " + "; ".join(faults[:_SHOWN_FAULTS])
    return StageResult("payees", source.name, (("versions", count), ("refused", len(faults))), note)


def _newest(connection: Connection) -> dict[str, tuple[int, datetime]]:
    query = """
        SELECT DISTINCT ON (member_id) member_id, version, changed_at
        FROM pii.payee
        ORDER BY member_id, version DESC
    """
    rows = fetch_table(connection, query, _NEWEST).to_pylist()
    return {row["member_id"]: (row["version"], row["changed_at"]) for row in rows}


def _version(
    row: dict[str, object], newest: dict[str, tuple[int, datetime]], keys: KeyRing, faults: list[str]
) -> dict[str, object] | None:
    """Return the row to write, None if it is known or refused; what is refused is added to `faults`, masked."""
    member_id, name, changed_at = row["member_id"], row["name"], row["changed_at"]
    if not isinstance(member_id, str) or not isinstance(changed_at, datetime) or not member_id or "|" in member_id:
        raise Stop(f"a payee has no usable member_id or changed_at (member {member_id!r}); correct it in the tracker.")
    before, changed_before = newest.get(member_id, (0, None))
    if changed_before is not None and changed_at <= changed_before:
        return None
    if not isinstance(name, str) or not 0 < len(name.strip()) <= NAME_CHARACTERS_MAX:
        faults.append(f"member {member_id}: the name is missing or longer than {NAME_CHARACTERS_MAX} characters")
        return None
    changed_by = row["changed_by"]
    if not isinstance(changed_by, str) or not changed_by:
        faults.append(f"member {member_id}: it is not said who changed the payee")
        return None
    try:
        iban = checked_iban(str(row["iban"] or ""))
    except InvalidIban as error:
        faults.append(f"member {member_id}: {error}")
        return None
    version = before + 1
    newest[member_id] = (version, changed_at)
    return {
        "member_id": member_id,
        "version": version,
        NAME_COLUMN: encrypt(keys, name.strip(), payee_place(NAME_COLUMN, member_id, version)),
        IBAN_COLUMN: encrypt(keys, iban.reveal(), payee_place(IBAN_COLUMN, member_id, version)),
        "iban_index": blind_index(keys, iban.reveal()),
        "iban_masked": str(iban),
        "country": iban.country,
        "changed_at": changed_at,
        "changed_by": changed_by,
    }
