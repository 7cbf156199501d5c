"""Land answers: their bytes once, unchanged, under their sha256 in the lake; a delivery for each in the warehouse."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

import pyarrow as pa

from etl.core.configuration import PartnerAccount
from etl.core.connector import Answer, Connector, Part, Window
from etl.core.context import Context, StageResult
from etl.core.errors import Stop
from etl.core.lake import StoredObject
from etl.core.warehouse import Connection, copy_in, lock
from etl.core.warehouse import fetch as fetch_table

LANDED_AT_ONCE = 4
"""Bytes are hashed and written in threads: while one waits for its disk, or its bucket, others hash."""
_SUFFIXES = {"application/json": ".json", "text/xml": ".xml", "text/csv": ".csv"}
_DELIVERY_ID = pa.schema([pa.field("delivery_id", pa.string())])


@dataclass(frozen=True, slots=True)
class _Landed:
    """An answer whose bytes are in the lake."""

    answer: Answer
    observed_at: datetime
    objects: tuple[StoredObject, ...]

    def delivery_id(self, account: PartnerAccount) -> str:
        named = [(part.name, stored.sha256) for part, stored in zip(self.answer.parts, self.objects, strict=True)]
        return delivery_id_of(account.name, self.answer.window, self.observed_at, named)


def delivery_id_of(account: str, window: Window, observed_at: datetime, parts: Sequence[tuple[str, str]]) -> str:
    """Return the id that the same answer always has: what was asked, when it was true, and which bytes it is.

    A part is its name and sha256: the empty files of two networks of one day have the same bytes and are two answers.
    """
    told = [account, str(window), observed_at.isoformat(), parts]
    return hashlib.sha256(json.dumps(told, separators=(",", ":")).encode()).hexdigest()


def land(context: Context, account: PartnerAccount, connector: Connector, answers: Sequence[Answer]) -> StageResult:
    """Return what was landed of `answers`; an answer that is known already writes nothing.

    Bytes first: an object no delivery names does not exist for anybody. All deliveries commit in one transaction.
    """
    with ThreadPoolExecutor(LANDED_AT_ONCE, thread_name_prefix="land") as aside:
        landed = list(aside.map(partial(_landed, context), answers))
    by_id = {each.delivery_id(account): each for each in landed}
    with context.warehouse.transaction() as connection:
        lock(connection, f"land:{account.name}")
        known = _known(connection, list(by_id))
        new = {delivery_id: each for delivery_id, each in by_id.items() if delivery_id not in known}
        if new:
            copy_in(connection, "ops.delivery", _deliveries(context, account, connector, new))
            copy_in(connection, "ops.delivery_part", _parts(new))
    byte_count = sum(stored.byte_count for each in new.values() for stored in each.objects)
    counts = (("answers", len(answers)), ("new_deliveries", len(new)), ("bytes", byte_count))
    note = f"{len(new)} new deliveries of {len(answers)} answers, {byte_count:,} bytes"
    return StageResult("land", account.name, counts, note)


def _landed(context: Context, answer: Answer) -> _Landed:
    if not answer.parts:
        raise Stop(f"an answer for {answer.window} has no part: even an empty one has its bytes. Fetch it again.")
    observed_at = answer.observed_at
    if observed_at.tzinfo is not None:
        observed_at = observed_at.astimezone(UTC).replace(tzinfo=None)
    return _Landed(answer, observed_at, tuple(_stored(context, part) for part in answer.parts))


def _stored(context: Context, part: Part) -> StoredObject:
    suffix = _SUFFIXES.get(part.media_type.partition(";")[0].strip(), ".bin")
    return context.lake.put_file(part.path, "raw", suffix)


def _known(connection: Connection, delivery_ids: list[str]) -> set[str]:
    query = "SELECT delivery_id FROM ops.delivery WHERE delivery_id = ANY(%s) ORDER BY delivery_id"
    return set(fetch_table(connection, query, _DELIVERY_ID, (delivery_ids,))["delivery_id"].to_pylist())


def _deliveries(context: Context, account: PartnerAccount, connector: Connector, new: dict[str, _Landed]) -> pa.Table:
    items = list(new.items())
    return pa.table(
        {
            "delivery_id": pa.array([delivery_id for delivery_id, _ in items], pa.string()),
            "partner": pa.array([account.partner for _ in items], pa.string()),
            "partner_account": pa.array([account.name for _ in items], pa.string()),
            "window_from": pa.array([each.answer.window.from_on for _, each in items], pa.date32()),
            "window_until": pa.array([each.answer.window.until_on for _, each in items], pa.date32()),
            "observed_at": pa.array([each.observed_at for _, each in items], pa.timestamp("us")),
            "sha256": pa.array([_sha256_of_whole(each.objects) for _, each in items], pa.string()),
            "byte_count": pa.array(
                [sum(stored.byte_count for stored in each.objects) for _, each in items], pa.int64()
            ),
            "states_scope": pa.array([connector.facts.states_scope for _ in items], pa.bool_()),
            "is_secret_blanked": pa.array([each.answer.is_secret_blanked for _, each in items], pa.bool_()),
            "landed_run": pa.array([context.run_id for _ in items], pa.string()),
        }
    )


def _sha256_of_whole(objects: Sequence[StoredObject]) -> str:
    """Return the sha256 of the only part, or that of the parts' sha256, one a line."""
    if len(objects) == 1:
        return objects[0].sha256
    return hashlib.sha256("".join(f"{stored.sha256}\n" for stored in objects).encode()).hexdigest()


def _parts(new: dict[str, _Landed]) -> pa.Table:
    rows = [
        {
            "delivery_id": delivery_id,
            "part_no": number,
            "name": part.name,
            "media_type": part.media_type,
            "sha256": stored.sha256,
            "byte_count": stored.byte_count,
            "object_path": stored.path,
        }
        for delivery_id, each in new.items()
        for number, (part, stored) in enumerate(zip(each.answer.parts, each.objects, strict=True), start=1)
    ]
    return pa.Table.from_pylist(rows)
