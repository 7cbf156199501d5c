"""Promises of the canonical tables: no float, no zone, keys never null, absent is null."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pytest

from etl.core.schemas import AMOUNT, INSTANT, TABLES, TRANSACTION, VERSION

KEYS = {
    "click": ("click_id",),
    "conversion": ("conversion_id",),
    "transaction": ("partner", "partner_account", "transaction_id", "line_id"),
    "program": ("program_id", "valid_from"),
    "cashback_rule": ("rule_id",),
    "contract_term": ("term_id",),
    "fx_rate": ("rate_on", "base", "quote", "source"),
    "alias": ("alias_id", "revision"),
    "match": ("partner", "partner_account", "transaction_id", "line_id"),
    "break": ("partner", "partner_account", "transaction_id", "line_id", "kind"),
    "version": ("partner", "partner_account", "transaction_id", "line_id", "version_no"),
    "remittance": ("partner_account", "remittance_id", "revision"),
    "remittance_line": ("partner_account", "remittance_id", "revision", "line_no"),
}


def types_within(kind: pa.DataType) -> Iterator[pa.DataType]:
    """Yield a type and, of a nested one, those inside it: a float must not hide in a list."""
    yield kind
    for number in range(kind.num_fields):
        yield from types_within(kind.field(number).type)


def test_the_tables_are_the_ones_whose_keys_are_known_here() -> None:
    assert TABLES.keys() == KEYS.keys()


@pytest.mark.parametrize("name", TABLES)
def test_no_column_is_a_float(name: str) -> None:
    kinds = [kind for column in TABLES[name] for kind in types_within(column.type)]
    assert len(kinds) >= len(TABLES[name]) > 0
    assert not [kind for kind in kinds if pa.types.is_floating(kind)]


def test_the_search_finds_a_float_wherever_it_hides() -> None:
    nested = pa.list_(pa.struct([pa.field("amount", pa.float64())]))
    assert any(pa.types.is_floating(kind) for kind in types_within(nested))


@pytest.mark.parametrize("name", TABLES)
def test_every_column_is_of_a_known_kind(name: str) -> None:
    """Instants are microseconds without a zone: with one, engines would read them in theirs."""
    for column in TABLES[name]:
        kind = column.type
        if pa.types.is_timestamp(kind):
            assert kind == INSTANT, column.name
        else:
            known = (pa.string(), pa.bool_(), pa.int32(), pa.int64(), pa.date32())
            assert kind in known or pa.types.is_decimal128(kind), column.name


@pytest.mark.parametrize("name", TABLES)
def test_a_key_is_never_null(name: str) -> None:
    assert not [key for key in KEYS[name] if TABLES[name].field(key).nullable]


@pytest.mark.parametrize("name", TABLES)
def test_units_and_kinds_stand_at_the_end_of_a_name(name: str) -> None:
    for column in TABLES[name]:
        if column.name.endswith("_at"):
            assert pa.types.is_timestamp(column.type), column.name
        if column.name.endswith("_on"):
            assert pa.types.is_date(column.type), column.name
        if column.name.startswith(("is_", "has_")):
            assert pa.types.is_boolean(column.type), column.name
        if column.name.endswith("amount"):
            assert column.type == AMOUNT, column.name


def test_a_version_is_a_transaction_and_where_it_stands() -> None:
    assert VERSION.names[: len(TRANSACTION)] == TRANSACTION.names
    assert all(VERSION.field(column.name).equals(column) for column in TRANSACTION)
