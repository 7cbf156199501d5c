"""Flows of documents that are told and not computed: from whose account to whose, each with the rate of its day."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

import pyarrow as pa

from etl.core.exchange import Rates
from etl.core.money import Asset
from etl.core.schemas import FX_RATE
from etl.core.target import POSTED
from etl.core.warehouse import Connection, fetch

Side = tuple[str, str]
"""The kind and the owner of an account."""


@dataclass(frozen=True, slots=True)
class Flow:
    """An amount that debits one account and credits another, for a document and day; below zero the other way."""

    document_id: str
    debit: Side
    credit: Side
    asset: Asset
    amount_minor: int
    effective_for: date
    component: str


def flow_target(connection: Connection, flows: Iterable[Flow], base_currency: str) -> pa.Table:
    """Return flows as a target (schema POSTED), each with the rate of its day to the base currency, if it is usable."""
    told = list(flows)
    foreign = {each.asset.currency for each in told} - {base_currency}
    rates = _read_rates(connection, [*foreign, base_currency] if foreign else [])
    columns = {
        "document_id": [each.document_id for each in told],
        "debit_kind": [each.debit[0] for each in told],
        "debit_owner": [each.debit[1] for each in told],
        "credit_kind": [each.credit[0] for each in told],
        "credit_owner": [each.credit[1] for each in told],
        "asset": [str(each.asset) for each in told],
        "amount": [each.amount_minor for each in told],
        "effective_for": [each.effective_for for each in told],
        "component": [each.component for each in told],
        "rate": [rates.factor(each.asset.currency, base_currency, each.effective_for) for each in told],
    }
    return pa.table(columns, schema=POSTED)


def _read_rates(connection: Connection, currencies: list[str]) -> Rates:
    """Return the published rates of some currencies: years of all of them are many."""
    query = f"SELECT {', '.join(FX_RATE.names)} FROM ref.fx_rate WHERE quote = ANY(%s)"
    return Rates(fetch(connection, query, FX_RATE, (currencies,)))
