"""Load remittance files: bytes landed, whole remittances stored revision by revision, the rest rejected."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import pyarrow as pa

from etl.core.configuration import PartnerAccount, RemittanceLayout
from etl.core.context import Context, StageResult
from etl.core.errors import Stop
from etl.core.lake import StoredObject
from etl.core.remittance_file import ReadFile, Reject, Remittance, read_remittances
from etl.core.schemas import REMITTANCE, REMITTANCE_LINE, TEXT
from etl.core.warehouse import Connection, copy_in, fetch, lock

_STORED = pa.schema(
    [
        *REMITTANCE,
        pa.field("content_hash", TEXT),
        pa.field("file_sha256", TEXT),
        pa.field("loaded_at", pa.timestamp("us")),
        pa.field("loaded_by", TEXT),
        pa.field("run_id", TEXT),
    ]
)
_REJECT = pa.schema(
    [
        ("file_sha256", TEXT),
        ("partner_account", TEXT),
        ("reject_no", pa.int32()),
        ("row_number", pa.int64()),
        ("remittance_id", TEXT),
        ("column_name", TEXT),
        ("value", TEXT),
        ("reason", TEXT),
    ]
)


def load_folder(context: Context, folder: Path) -> list[StageResult]:
    """Load every file `<partner_account>/*.csv` under `folder` that is new or had rejects; return what each held.

    Stop if a folder there is called like no partner account.
    """
    results = []
    for place in sorted(path for path in folder.iterdir() if path.is_dir()):
        account = context.configuration.account(place.name)
        results += [
            load_remittances(context, path, account, account.remittance) for path in sorted(place.glob("*.csv"))
        ]
    return results


def load_remittances(context: Context, path: Path, account: PartnerAccount, layout: RemittanceLayout) -> StageResult:
    """Load the remittances of one file and return how many are new, known, and rejected, with the first reasons.

    What is known with the same content is left alone. Another content for a known revision is rejected: a correction
    has a higher revision, and the lower ones are then superseded, whichever was loaded first. So is a remittance that
    was only told and is now received. Stop if the file is no CSV of its layout.
    """
    actor = context.actor or "nobody"
    read = read_remittances(path, account.name, layout, context.known_at.date())
    stored = context.lake.put_file(path, "remittances", ".csv")
    with context.warehouse.transaction() as connection:
        lock(connection, f"remittances:{account.name}")
        new, known, refused = _sorted_out(connection, read.remittances, account.name)
        rejects = [*read.rejects, *refused]
        _write_file(connection, context, path, account, layout, stored, replace(read, rejects=tuple(rejects)))
        heads = [
            {
                **{name: getattr(each, name, None) for name in REMITTANCE.names},
                "partner": account.partner,
                "content_hash": each.content_hash,
                "file_sha256": stored.sha256,
                "loaded_at": context.known_at,
                "loaded_by": actor,
                "run_id": context.run_id,
            }
            for each in new
        ]
        lines = [
            {**asdict(line), "line_no": place, "currency": each.currency, **_key(each)}
            for each in new
            for place, line in enumerate(each.lines, start=1)
        ]
        copy_in(connection, "ops.remittance", pa.Table.from_pylist(heads, schema=_STORED))
        copy_in(connection, "ops.remittance_line", pa.Table.from_pylist(lines, schema=REMITTANCE_LINE))
    refused_count = len({(reject.remittance_id, reject.row_number) for reject in rejects})
    counts = (("new", len(new)), ("known", known), ("lines", len(lines)), ("rejects", refused_count))
    return StageResult("remittances", account.name, counts, _note(path, rejects))


def _key(each: Remittance) -> dict[str, str | int]:
    return {
        "partner_account": each.partner_account, "remittance_id": each.remittance_id, "revision": each.revision,
    }  # fmt: skip


def _sorted_out(
    connection: Connection, remittances: Sequence[Remittance], account: str
) -> tuple[list[Remittance], int, list[Reject]]:
    """Return what is new, how many are known, and rejects for what contradicts what is known."""
    rows = connection.execute(
        "SELECT remittance_id, revision, content_hash, net, bank_amount, received_on FROM ops.remittance"
        " WHERE partner_account = %s AND remittance_id = ANY(%s)",
        (account, [each.remittance_id for each in remittances]),
    ).fetchall()
    stored = {(row[0], row[1]): row for row in rows}
    new, known, refused = [], 0, []
    for each in remittances:
        before = stored.get((each.remittance_id, each.revision))
        if before is None:
            new.append(each)
        elif before[2] == each.content_hash:
            known += 1
        else:
            reason = (
                f"revision {each.revision} is known with another content (net {before[3]}, received {before[4]} on"
                f" {before[5]}; here net {each.net}, received {each.bank_amount} on {each.received_on}): give a"
                " correction a higher revision"
            )
            refused.append(Reject(each.row_number, each.remittance_id, "revision", str(each.revision), reason))
    return new, known, refused


def _write_file(
    connection: Connection,
    context: Context,
    path: Path,
    account: PartnerAccount,
    layout: RemittanceLayout,
    stored: StoredObject,
    read: ReadFile,
) -> None:
    """Record the file, and its rejects in place of those of an earlier load of it, if they are others."""
    rejects = [
        {**asdict(reject), "reject_no": place, "file_sha256": stored.sha256, "partner_account": account.name}
        for place, reject in enumerate(read.rejects, start=1)
    ]
    file_key = (stored.sha256, account.name)
    mine = "WHERE file_sha256 = %s AND partner_account = %s"
    query = f"SELECT {', '.join(_REJECT.names)} FROM ops.remittance_reject {mine} ORDER BY reject_no"
    before = fetch(connection, query, _REJECT, file_key).to_pylist()
    layout_hash = hashlib.sha256(json.dumps(asdict(layout), sort_keys=True).encode()).hexdigest()
    connection.execute(
        "INSERT INTO ops.remittance_file (sha256, partner_account, name, byte_count, object_path, layout_hash,"
        " row_count, reject_count, loaded_at, loaded_by, run_id) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
        " ON CONFLICT (sha256, partner_account) DO UPDATE SET layout_hash = excluded.layout_hash,"
        " row_count = excluded.row_count, reject_count = excluded.reject_count"
        " WHERE (remittance_file.layout_hash, remittance_file.row_count, remittance_file.reject_count)"
        " IS DISTINCT FROM (excluded.layout_hash, excluded.row_count, excluded.reject_count)",
        (
            *file_key,
            path.name,
            stored.byte_count,
            stored.path,
            layout_hash,
            read.row_count,
            len(rejects),
            context.known_at,
            context.actor or "nobody",
            context.run_id,
        ),
    )
    table = pa.Table.from_pylist(rejects, schema=_REJECT)
    if before != table.to_pylist():
        connection.execute(f"DELETE FROM ops.remittance_reject {mine}", file_key)
        copy_in(connection, "ops.remittance_reject", table)


def _note(path: Path, rejects: Sequence[Reject]) -> str:
    if not rejects:
        return path.name
    told = []
    for reject in rejects[:5]:
        place = f"row {reject.row_number}" + (f", {reject.remittance_id}" if reject.remittance_id else "")
        column = f", {reject.column_name} {reject.value!r}" if reject.column_name else ""
        told.append(f"{place}{column}: {reject.reason}")
    more = f"; and {len(rejects) - 5} more" if len(rejects) > 5 else ""
    return f"{path.name}: rejected: {'; '.join(told)}{more}"


def layout_of(account: PartnerAccount, columns: Sequence[str], fixed: Sequence[str]) -> RemittanceLayout:
    """Return the account's layout with `ours=theirs` columns and `ours=value` constants; Stop if one is unknown."""
    known = [name for name in REMITTANCE.names if name not in ("partner", "coverage")]
    known += ["line_kind", "transaction_id", "line_id", "payment_ref", "line_amount"]
    read = {}
    for what, pairs in (("columns", columns), ("fixed", fixed)):
        split = {name: value for name, _, value in (pair.partition("=") for pair in pairs)}
        if unknown := [name for name in split if name not in known]:
            raise Stop(f"{unknown[0]!r} is no column of a remittance: use {', '.join(known)}, as in ours=theirs")
        read[what] = {**getattr(account.remittance, what), **split}
    return replace(account.remittance, columns=read["columns"], fixed=read["fixed"])
