"""How an adjustment is proposed and approved in tests, by two people and with a file that shows it."""

from __future__ import annotations

import dataclasses
from datetime import date
from decimal import Decimal
from typing import Any

from etl.adjust import Proposal, approve, propose
from etl.core.adjustment import AdjustmentKind
from etl.core.context import Context
from tests.payout.office import KEYRING


def proposed(
    here: Context,
    kind: str,
    owner: str,
    amount: str,
    currency: str = "EUR",
    *,
    on: date | str = date(2026, 3, 10),
    account: str | None = None,
    sale: str | None = None,
    by: str = "Mia",
    reason: str = "the member wrote",
) -> str:
    """Propose an adjustment with a letter as its evidence; return its id."""
    here.temporary.mkdir(parents=True, exist_ok=True)
    letter = here.temporary / "letter.txt"
    letter.write_text(f"{owner}: {amount}")
    day = date.fromisoformat(on) if isinstance(on, str) else on
    if account is None and kind != "receivable":
        account = "confirmed" if kind in ("release", "decline") else "payable"
    named = None if account is None else f"cashback_{account}"
    proposal = Proposal(AdjustmentKind(kind), owner, Decimal(amount), currency, reason, day, named, sale)
    return propose(dataclasses.replace(here, actor=by), proposal, letter, KEYRING)


def adjusted(here: Context, kind: str, owner: str, amount: str, currency: str = "EUR", **named: Any) -> str:
    """Propose an adjustment and have Noah approve it, which books it; return its id."""
    adjustment_id = proposed(here, kind, owner, amount, currency, **named)
    approve(dataclasses.replace(here, actor="Noah"), adjustment_id)
    return adjustment_id
