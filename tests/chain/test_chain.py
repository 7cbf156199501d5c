"""The whole chain on random small worlds: in any order, split and repetition the same books, and those by hand.

TALLYBACK_EXAMPLES=500 tries as many worlds by hand.
"""

from __future__ import annotations

import os
import random
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st

from tests.chain import naive
from tests.chain.house import PAYABLE_ON, House, known, written
from tests.chain.worlds import Pick, World, at, picks, worlds
from tests.reconcile.naive import Answer, Row

PROPERTY = settings(
    max_examples=int(os.environ.get("TALLYBACK_EXAMPLES", "3")),
    deadline=None,
    # A failing world is shown as it was found: shrinking it takes minutes.
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
_VERSION = (
    "partner_account transaction_id line_id version_no is_absent sale_id effective_on observed_at delivery_id"
    " row_number status partner_paid sale_amount commission_amount currency"
).split()


@pytest.fixture
def house(warehouse_url: str, tmp_path: Path) -> House:
    return House(warehouse_url, tmp_path)


def live(house: House, world: World) -> None:
    """Bring all of a world in at once, in the order it is told."""
    house.begin()
    house.refer(world.programs, world.rules, world.rates, world.aliases)
    house.track(world, world.tracked_until)
    house.land(world.reports)
    house.check(known(world.reports))
    house.let_through(world.reports)
    house.decide(world.decisions)
    house.keep_books(world.day)


def live_in_pieces(house: House, world: World, chance: random.Random, pieces: int = 3, referred: bool = False) -> None:
    """Bring a world in shuffled, in pieces, each of which is booked before the next one comes.

    With `referred` the programs, rules and aliases are known from the beginning.
    """
    house.begin()
    count = pieces if referred else chance.randint(1, pieces)
    piece_of: dict[int, int] = {}

    def come(items: Any, piece: int) -> list[Any]:
        """Return what of `items` is in by `piece`; each comes in one of its own."""
        return [one for one in items if piece_of.setdefault(id(one), chance.randint(1, count)) <= piece]

    rates = list(world.rates.items())
    waiting = list(world.decisions)
    for piece in range(1, count + 1):
        is_last = piece == count
        of_reference = count if referred else piece
        programs, rules = come(world.programs, of_reference), come(world.rules, of_reference)
        reports, decisions = come(world.reports, piece), come(waiting, piece)
        chance.shuffle(reports)
        # Terms known before their end was are told again with it; a file is told again as a whole.
        told_rates, aliases = dict(come(rates, piece)), come(world.aliases, of_reference)
        house.refer([_open_ended(one, programs) for one in programs], rules, told_rates, aliases)
        until = world.tracked_until if is_last else world.tracked_until - (count - piece) * (at("03-02") - at("03-01"))
        hidden = {one["click_id"] for one in world.clicks if not is_last and chance.random() < 0.3}
        near = {
            one["click_id"] for one in world.clicks if one["committed_at"] >= until - (at("03-01 06:00") - at("03-01"))
        }
        house.track(world, until, frozenset(hidden & near))
        house.land(reports)
        house.check(chance.sample(known(reports), len(known(reports))))
        house.let_through(chance.sample(reports, len(reports)))
        # An undo names what it undoes, so it cannot come before it; nor can an undo of an undo.
        told = {one["decision_id"] for one in decisions}
        for one in reversed(world.decisions):
            if one["decision_id"] in told and one["undoes"]:
                told.add(one["undoes"])
        new = [one for one in waiting if one["decision_id"] in told]
        house.decide([one for one in world.decisions if one in new])
        waiting = [one for one in waiting if one not in new]
        house.keep_books(world.day if is_last else chance.choice([world.day, date(2026, 3, 5)]))


def _open_ended(program: Row, programs: list[Row]) -> Row:
    """Return a program as it was told before there was another after it."""
    is_followed = any(
        one["program_id"] == program["program_id"] and one["valid_from"] == program["valid_until"] for one in programs
    )
    return program if is_followed or program["valid_until"] is None else program | {"valid_until": None}


def agree(house: House, world: World, answer: Answer) -> None:
    """Assert that warehouse and ledger hold what the reference says."""
    columns = ", ".join(_VERSION)
    rows = house.ask(
        f'SELECT {columns} FROM ops.transaction_version ORDER BY partner_account COLLATE "C", transaction_id'
        ' COLLATE "C", line_id COLLATE "C", version_no'
    )
    chains = [tuple(one[name] for name in _VERSION) for key in sorted(answer.versions) for one in answer.versions[key]]
    assert rows == chains
    sales = {
        row[0]: row[1:]
        for row in house.ask(
            "SELECT sale_id, outcome, rule, click_id, member_id, program_id, earns_cashback, is_payout_held"
            " FROM ops.sale"
        )
    }
    assert sales == {
        sale_id: (
            sale.outcome,
            sale.rule,
            None if sale.click is None else sale.click["click_id"],
            sale.member_id,
            None if sale.program is None else sale.program["program_id"],
            sale.earns,
            sale_id in answer.held,
        )
        for sale_id, sale in answer.sales.items()
    }
    breaks = {
        row[:4]: None if row[3] == "commission_differs" else row[4]
        for row in house.ask("SELECT partner_account, transaction_id, line_id, kind, amount FROM ops.break")
    }
    assert breaks == naive.told_breaks(answer)
    books: dict[Any, int] = {}
    for document, kind, owner, asset, effective_for, booked_on, amount in house.everything()["books"]:
        assert booked_on == effective_for
        books[document, kind, owner, asset, effective_for] = int(str(amount))
    assert books == naive.booked(world, answer, PAYABLE_ON)


def nothing_more(house: House, world: World) -> None:
    """Assert that all of it once more writes nothing."""
    before = house.everything()
    assert house.refer(world.programs, world.rules, world.rates, world.aliases) == 0
    assert house.track(world, world.tracked_until) == 0
    assert house.land(world.reports) == 0
    assert house.check(known(world.reports)) == 0
    house.let_through(world.reports)
    assert written(house.keep_books(world.day)) == 0
    assert house.everything() == before


def decided(house: House, world: World, picks: list[Pick]) -> tuple[Row, ...]:
    """Return what people decide about the breaks they see, about evidence that is gone, and about decisions."""
    seen = {
        (row[:3], row[3]): row[4:]
        for row in house.ask(
            "SELECT partner_account, transaction_id, line_id, kind, sale_id, evidence_hash, amount, currency"
            " FROM ops.break"
        )
        if row[4] is not None
    }
    out: list[Row] = []
    click_ids = [*(one["click_id"] for one in world.clicks), "nobodys"]
    for number, pick in enumerate(picks if seen else ()):
        told = sorted(seen)[pick.break_no % len(seen)]
        sale_id, evidence, amount, currency = seen[told]
        if pick.kind == "undo" and not out:
            continue
        undone = out[pick.break_no % len(out)] if pick.kind == "undo" else None
        is_blind = pick.is_stale or undone is not None
        (account, transaction_id, line_id), kind = told
        out.append(
            {
                "decision_id": f"d{number}",
                "kind": pick.kind,
                "sale_id": undone["sale_id"] if undone else sale_id,
                "click_id": click_ids[pick.click_no % len(click_ids)] if pick.kind == "accept_click" else None,
                "undoes": undone["decision_id"] if undone else None,
                "until_on": date(2026, 7, 1) if pick.kind == "wait" else None,
                "decided_at": pick.decided_at,
                "evidence_hash": "gone" if is_blind else evidence,
                "partner_account": account,
                "transaction_id": transaction_id,
                "line_id": line_id,
                "break_kind": kind,
                # What was seen was less: more is at stake now, and the break is open again.
                "amount": amount / 2 if pick.is_less and amount else amount,
                "currency": currency,
                "needs_agreement": pick.agreed_at is not None or pick.is_proposed,
                "agreed_at": pick.agreed_at,
                "answers": None if is_blind or (pick.is_less and amount) else told,
            }
        )
    return tuple(out)


@PROPERTY
@given(worlds(), st.lists(picks, max_size=5), st.integers(0, 2**32))
def test_whatever_the_order_split_and_repetition_the_books_are_those_by_hand(
    house: House, world: World, picked: list[Pick], chance: int
) -> None:
    live(house, world)
    answer = naive.reconciled(world, house.delivery_id)
    _tell(answer, house)
    agree(house, world, answer)
    decisions = decided(house, world, picked)
    if decisions:
        house.decide(decisions)
        house.keep_books(world.day)
        world = replace(world, decisions=decisions)
        answer = naive.reconciled(world, house.delivery_id)
        agree(house, world, answer)
    house.proved(world.day)
    nothing_more(house, world)
    once = house.everything()
    live_in_pieces(house, world, random.Random(chance))
    assert house.everything() == once
    house.proved(world.day)


def _tell(answer: Answer, house: House) -> None:
    """Tell Hypothesis's statistics what kinds of worlds were tried."""
    for sale in answer.sales.values():
        event(f"{sale.outcome} {sale.rule}")
    for kind in {kind for _, kind in answer.breaks}:
        event(f"break {kind}")
    if any(str(kind).startswith("cashback") for _, kind, *_ in house.everything()["books"]):
        event("earns cashback")
