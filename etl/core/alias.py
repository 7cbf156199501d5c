"""Keys that moved: of which transaction another one is the continuation, and since when."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import date

import pyarrow as pa

from etl.core.errors import Stop
from etl.core.schemas import TEXT

MOVED_KEY = pa.schema(
    [
        ("partner_account", TEXT),
        ("transaction_id", TEXT),
        # The key all of a chain began with, and how many moves lie between.
        ("chain_id", TEXT),
        ("step_no", pa.int32()),
        # Half-open: the days on which this key is the one that counts.
        ("from_on", pa.date32()),
        ("until_on", pa.date32()),
        ("next_key", TEXT),
    ]
)
Row = Mapping[str, object]
_Key = tuple[str, str]


def in_force(aliases: Iterable[Row]) -> list[Row]:
    """Return the aliases that hold: of each id the highest revision, unless that is void."""
    newest: dict[object, Row] = {}
    for row in sorted(aliases, key=lambda row: (str(row["alias_id"]), int(str(row["revision"])))):
        newest[row["alias_id"]] = row
    return [row for row in newest.values() if row["state"] == "in_force"]


def faults(aliases: Iterable[Row]) -> Iterator[str]:
    """Yield what is wrong with aliases taken together: a key that moves twice, or in a circle, or before it came."""
    standing = in_force(aliases)
    for side, words in ((_former, "moves away"), (_later, "is moved to")):
        first: dict[_Key, Row] = {}
        for row in standing:
            before = first.setdefault(side(row), row)
            if before is not row:
                yield (
                    f"{':'.join(side(row))} {words} by alias {before['alias_id']} and by {row['alias_id']}: make one of"
                    " them void by a higher revision"
                )
    moves = {_former(row): row for row in standing}
    for row in standing:
        following = moves.get(_later(row))
        if following is not None and _moved_on(following) <= _moved_on(row):
            yield (
                f"{':'.join(_later(row))} moves on by alias {following['alias_id']} on {following['moved_on']}, not"
                f" after it came by {row['alias_id']} on {row['moved_on']}: correct one of the days"
            )


def moved_keys(aliases: Iterable[Row]) -> pa.Table:
    """Return every key of every chain of moves (schema MOVED_KEY); Stop if the aliases contradict one another."""
    standing = in_force(aliases)
    found = list(faults(standing))
    if found:
        raise Stop("aliases contradict one another: " + "; ".join(found))
    moves = {_former(row): row for row in standing}
    # A circle would have days that run backwards somewhere, so every chain has a first key.
    rows = []
    for first in sorted(moves.keys() - {_later(row) for row in standing}):
        key, since, step = first, None, 0
        while True:
            move = moves.get(key)
            rows.append(
                {
                    "partner_account": key[0],
                    "transaction_id": key[1],
                    "chain_id": ":".join(first),
                    "step_no": step,
                    "from_on": since,
                    "until_on": None if move is None else move["moved_on"],
                    "next_key": None if move is None else ":".join(_later(move)),
                }
            )
            if move is None:
                break
            key, since, step = _later(move), _moved_on(move), step + 1
    return pa.Table.from_pylist(rows, schema=MOVED_KEY)


def _former(row: Row) -> _Key:
    return str(row["former_account"]), str(row["former_transaction_id"])


def _later(row: Row) -> _Key:
    return str(row["partner_account"]), str(row["transaction_id"])


def _moved_on(row: Row) -> date:
    moved_on = row["moved_on"]
    assert isinstance(moved_on, date)
    return moved_on
