"""What accounts, postings and journal entries say, as the text the hash of an entry is taken over: one place.

Free text carries its length in characters, so that no two entries share a text; accounts are told by name, not by
number. Every line begins with the line feed that parts it from what is before it in that text. All columns are in the
order of the books, which is kept.
"""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

from etl.core.schemas import TEXT

# Decimals of so many digits after the point are written without an exponent.
_PLAIN_SCALE_MAX = 6


def account_labels(account: pa.Table, side: str = "") -> pa.ChunkedArray:
    """Return the names of accounts: of their kind, owner and asset; `side` is "debit_" or "credit_" in a lane."""
    return _joined(account[f"{side}kind"], _counted(account[f"{side}owner"]), account["asset"])


def lane_labels(lane: pa.Table) -> pa.Array:
    """Return the names of the accounts each pair of them (see `journal.LANE`) debits and credits, in one piece."""
    return both_labels(account_labels(lane, "debit_"), account_labels(lane, "credit_")).combine_chunks()


def both_labels(debit: pa.ChunkedArray, credit: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the names of two accounts as a posting says them; one that does not exist has none, and is left out."""
    return pc.binary_join_element_wise(debit, credit, "|", null_handling="skip")


def posting_lines(posting: pa.Table, labels: pa.Array | pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the line of each posting (leg, amount, days, component, base_amount, rate) between the accounts named."""
    return _joined(
        _each_once(posting["leg"], lambda legs: pc.binary_join_element_wise("\n", _text(legs), "")),
        labels,
        *(_text(posting[name]) for name in ("amount", "effective_for", "booked_on", "component")),
        pc.fill_null(_decimals(posting["base_amount"]), "-"),
        pc.fill_null(_each_once(posting["rate"], _decimals), "-"),
    )


def entry_lines(entry: pa.Table) -> pa.ChunkedArray:
    """Return the first line of the text of each entry (the columns of ENTRY)."""
    return _joined(
        pc.binary_join_element_wise("\n", _counted(entry["entity"]), ""),
        *(_text(entry[name]) for name in ("year", "number", "document_kind")),
        _counted(entry["document_id"]),
        _text(entry["entry_no"]),
        _text(entry["booked_on"]),
        _text(entry["posted_at"].cast(pa.int64())),
        _counted(entry["run_id"]),
        _counted(entry["created_by"]),
    )


def _joined(*texts: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.binary_join_element_wise(*texts, "|")


def _counted(text: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.binary_join_element_wise(_text(pc.utf8_length(text)), text, ":")


def _text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(TEXT)


def _decimals(column: pa.Array) -> pa.Array:
    """Return decimals with all digits of their scale; PyArrow writes those below a millionth with an exponent."""
    text = _text(column)
    if column.type.scale <= _PLAIN_SCALE_MAX:
        return text
    is_short = pc.fill_null(pc.match_substring(text, "E"), fill_value=False)
    plain = [format(value, "f") for value in column.filter(is_short).to_pylist()]
    return pc.replace_with_mask(text, is_short, pa.array(plain, TEXT))


def _each_once(column: pa.ChunkedArray, write: Callable[[pa.Array], pa.Array]) -> pa.Array:
    """Return what `write` makes of a column that has few distinct values, each of them written once."""
    coded = column.combine_chunks().dictionary_encode()
    return write(coded.dictionary).take(coded.indices)
