"""Decisions about breaks: what may be said of which, how breaks stand, and when a second person must agree."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum

import psycopg
import pyarrow as pa

from etl.core.engine import query_text
from etl.core.errors import Stop
from etl.core.kept import BREAK_FOUND
from etl.core.schemas import AMOUNT, INSTANT, TEXT
from etl.core.warehouse import Connection, fetch, lock

LISTED_MAX = 100_000
"""So many breaks are read at once, and so many decisions listed."""


class DecisionKind(StrEnum):
    """What a person may say of a break, or of a decision."""

    ACCEPT_CLICK = "accept_click"
    NO_CASHBACK = "no_cashback"
    RELEASE_HOLD = "release_hold"
    WAIT = "wait"
    DISPUTE = "dispute"
    WRITE_OFF = "write_off"
    UNDO = "undo"


class BreakState(StrEnum):
    """How a break stands on a day."""

    OPEN = "open"
    WAITING = "waiting"
    DISPUTED = "disputed"
    PROPOSED = "proposed"
    DECIDED = "decided"


_CLICK, _NONE, _HOLD = DecisionKind.ACCEPT_CLICK, DecisionKind.NO_CASHBACK, DecisionKind.RELEASE_HOLD
_WAIT, _DISPUTE, _WRITE_OFF = DecisionKind.WAIT, DecisionKind.DISPUTE, DecisionKind.WRITE_OFF
_OF_MATCHING = (_CLICK, _NONE, _WAIT)
_OF_PARTNER = (_HOLD, _NONE, _WAIT, _DISPUTE)

ALLOWED: Mapping[str, tuple[DecisionKind, ...]] = {
    "unmatched": _OF_MATCHING,
    "ambiguous": _OF_MATCHING,
    "click_of_another_program": _OF_MATCHING,
    "click_after_sale": _OF_MATCHING,
    "outside_window": _OF_MATCHING,
    "no_click_expected": _OF_MATCHING,
    "duplicate": (_CLICK, _NONE, _HOLD, _WAIT),
    "match_would_change": (_CLICK, _NONE, _HOLD, _WAIT),
    "commission_differs": _OF_PARTNER,
    "currency_differs": _OF_PARTNER,
    "illegal_status_change": _OF_PARTNER,
    "conflicting_versions": _OF_PARTNER,
    "vanished_at_partner": _OF_PARTNER,
    "rate_missing": (_HOLD, _NONE, _WAIT),
    "reversal_without_original": (_HOLD, _WAIT, _DISPUTE),
    "missing_at_partner": (_NONE, _WAIT, _DISPUTE),
    # Nothing is booked of it: reference data, not a word, ends it.
    "unknown_program": (_WAIT,),
    "changed_since_opening": (_NONE, _WAIT, _DISPUTE),
    "remittance_short": (_WAIT, _DISPUTE, _WRITE_OFF),
    "remittance_unpaid": (_WAIT, _DISPUTE, _WRITE_OFF),
    "remittance_differs": (_WAIT, _DISPUTE),
}
"""What may be said of each kind of break; one that is not named here may only wait."""


def allowed(kind: str) -> tuple[DecisionKind, ...]:
    """Return what may be said of breaks of a kind."""
    return ALLOWED.get(kind, (_WAIT,))


STATED_BREAK = pa.schema(
    [
        ("name", TEXT),
        *BREAK_FOUND,
        ("opened_on", pa.date32()),
        ("opened_run", TEXT),
        ("age_days", pa.int32()),
        ("state", TEXT),
        ("decision_id", TEXT),
        ("decision_kind", TEXT),
        ("decided_by", TEXT),
        ("decided_at", INSTANT),
        ("agreed_by", TEXT),
        ("reason", TEXT),
        ("click_id", TEXT),
        ("until_on", pa.date32()),
        ("claim_amount", AMOUNT),
        ("is_reopened", pa.bool_()),
        ("seen_expected", TEXT),
        ("seen_found", TEXT),
        ("seen_amount", AMOUNT),
        ("seen_currency", TEXT),
        ("decision_count", pa.int64()),
    ]
)
"""A break with what people said of it: the decision that counts, or the last one about what it said before."""


@dataclass(frozen=True, slots=True)
class BreakFilter:
    """Which breaks are meant; what is None does not restrict. `states` empty: whatever their state."""

    partner_account: str | None = None
    kind: str | None = None
    sale_id: str | None = None
    opened_since: date | None = None
    amount_at_least: Decimal | None = None
    amount_at_most: Decimal | None = None
    states: tuple[BreakState, ...] = ()


EVERY = BreakFilter()
"""All breaks, whatever their state."""


def read_breaks(connection: Connection, day: date, only: BreakFilter = EVERY, limit: int = LISTED_MAX) -> pa.Table:
    """Return breaks (schema STATED_BREAK) as they stand on `day`, most money at stake first."""
    conditions: list[tuple[str, object]] = [
        ("b.partner_account = %(partner_account)s", only.partner_account),
        ("b.kind = %(kind)s", only.kind),
        ("b.sale_id = %(sale_id)s", only.sale_id),
        ("b.opened_on >= %(opened_since)s", only.opened_since),
        ("abs(b.amount) >= %(amount_at_least)s", only.amount_at_least),
        ("abs(b.amount) <= %(amount_at_most)s", only.amount_at_most),
        ("b.state = ANY(%(states)s)", [str(each) for each in only.states] or None),
    ]
    where = " AND ".join(text for text, value in conditions if value is not None) or "true"
    values = {
        **{name: getattr(only, name) for name in BreakFilter.__slots__ if name != "states"},
        "states": [str(each) for each in only.states],
    }
    return _read(connection, day, where, values, limit)


def read_named(connection: Connection, day: date, names: Iterable[str]) -> pa.Table:
    """Return the breaks of these names, each whole or as many of its first characters as make it one; Stop else."""
    wanted = list(dict.fromkeys(names))
    if wrong := [name for name in wanted if len(name) < 6 or set(name) - set("0123456789abcdef")]:
        raise Stop(f"{wrong[0]!r} is no name of a break: `tallyback breaks list` shows them, 12 characters each")
    found = _read(connection, day, "b.name LIKE ANY(%(names)s)", {"names": [f"{name}%" for name in wanted]}, LISTED_MAX)
    for name in wanted:
        count = sum(str(each).startswith(name) for each in found["name"].to_pylist())
        if count != 1:
            what = "is no open break, or it says something else by now" if not count else f"could be {count} breaks"
            raise Stop(f"{name} {what}: look at `tallyback breaks list --state all`")
    return found


def _read(connection: Connection, day: date, where: str, values: Mapping[str, object], limit: int) -> pa.Table:
    query = (
        f"SELECT {', '.join(f'b.{name}' for name in STATED_BREAK.names)} FROM ({query_text('breaks/listed')}) AS b"
        f" WHERE {where}"
        " ORDER BY abs(b.amount) DESC NULLS LAST, b.partner_account, b.transaction_id, b.line_id, b.kind"
        " LIMIT %(limit)s"
    )
    text = psycopg.ClientCursor(connection).mogrify(query, {**values, "day": day, "limit": min(limit, LISTED_MAX)})
    return fetch(connection, text, STATED_BREAK)


def lock_decisions(connection: Connection) -> None:
    """Hold what people say of breaks until the transaction ends: two at once do not decide about one."""
    lock(connection, "break decisions")


@dataclass(frozen=True, slots=True)
class Stake:
    """What decisions are about in all, in the base currency, and whether a second person must agree.

    `amount` is None where a break has no amount, or one in a currency without a rate: that is above any limit.
    """

    amount: Decimal | None
    limit: Decimal | None

    @property
    def needs_agreement(self) -> bool:
        """Return whether one person's word is not enough."""
        return self.limit is not None and (self.amount is None or self.amount > self.limit)


def stake(
    connection: Connection,
    amounts: Iterable[tuple[Decimal | None, str | None]],
    base_currency: str,
    limit: Decimal | None,
    day: date,
) -> Stake:
    """Return what is at stake in amounts with their currencies, at the newest rates published until `day`."""
    sums: dict[str, Decimal] = {}
    for amount, currency in amounts:
        if amount is None or currency is None:
            return Stake(None, limit)
        sums[currency] = sums.get(currency, Decimal(0)) + abs(amount)
    rates = _newest_rates(connection, day)
    whole = Decimal(0)
    for currency, amount in sums.items():
        if currency == base_currency:
            whole += amount
        elif currency in rates and base_currency in rates:
            whole += amount * rates[base_currency] / rates[currency]
        else:
            return Stake(None, limit)
    return Stake(whole.quantize(Decimal("0.0001")), limit)


def _newest_rates(connection: Connection, day: date) -> dict[str, Decimal]:
    """Return units of each currency for one of the rates' base, the base itself included."""
    rows = connection.execute(
        "SELECT DISTINCT ON (quote) quote, rate, base FROM ref.fx_rate WHERE rate_on <= %s"
        " ORDER BY quote, rate_on DESC, source",
        (day,),
    ).fetchall()
    found = {str(base): Decimal(1) for _, _, base in rows}
    return found | {str(quote): Decimal(str(rate)) for quote, rate, _ in rows}
