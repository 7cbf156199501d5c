"""What people say of breaks, on a real warehouse: to wait, to dispute, in bulk, by two persons; and what undoes it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest

from etl.breaks import list_breaks
from etl.core.configuration import Configuration, Entity
from etl.core.context import Context
from etl.core.decisions import ALLOWED, BreakFilter, BreakState, DecisionKind, read_breaks
from etl.core.errors import Stop
from etl.core.kept import REMITTANCE_BREAKS
from etl.core.lake import FolderLake
from etl.core.warehouse import APPROVER, Warehouse
from etl.decide import Recorded, Verdict, agree, decide, decisions, preview, proposals, refuse, undo
from tests.engine import ENGINE
from tests.reconcile.naive import Row
from tests.reconcile.worlds import at
from tests.warehouses import Warehouses

DAY = date.fromisoformat("2026-06-30")
NO_CASHBACK = Verdict(DecisionKind.NO_CASHBACK, "nobody clicked")
WAIT = Verdict(DecisionKind.WAIT, "the partner looks into it", until_on=DAY + timedelta(days=3))


@dataclass
class Desk:
    """A warehouse whose breaks are put there by hand; each test has a partner account of its own."""

    context: Context
    account: str

    def put(self, transaction_id: str, amount: str, kind: str = "unmatched", **said: str) -> None:
        """Put a break there, in place of the one that was."""
        told = {"found": "no reference", "currency": "EUR", "expected": "a click", **said}
        key = (self.account, transaction_id, kind)
        with self.context.warehouse.transaction() as connection:
            connection.execute(
                "DELETE FROM ops.break WHERE partner_account = %s AND transaction_id = %s AND kind = %s", key
            )
            connection.execute(
                "INSERT INTO ops.break VALUES ('awin', %s, %s, '', %s, %s, %s, %s, %s, %s, %s, %s, 'run-1')",
                (
                    *key, f"{self.account}:{transaction_id}", told["expected"], told["found"], Decimal(amount),
                    told["currency"], "/".join((*key, told["expected"], told["found"])), DAY,
                ),
            )  # fmt: skip

    def listed(self, day: date = DAY) -> list[Row]:
        return list_breaks(self.context, day, BreakFilter(self.account)).to_pylist()

    def names(self) -> list[str]:
        return [one["name"] for one in self.listed()]

    def states(self, day: date = DAY) -> dict[str, str]:
        return {one["transaction_id"]: one["state"] for one in self.listed(day)}

    def chosen(self, **only: Any) -> BreakFilter:
        known: dict[str, Any] = {"partner_account": self.account, "states": (BreakState.OPEN,)}
        return BreakFilter(**known | only)

    def decided(self) -> list[Row]:
        return [one for one in decisions(self.context, limit=500) if one["partner_account"] == self.account]

    def in_force(self) -> int:
        return sum(one["standing"] == "in force" and one["kind"] != "undo" for one in self.decided())

    def limited(self, above: str = "25", actor: str = "Clara Clerk") -> Context:
        """Return the context of somebody where more than so much needs a second person."""
        configuration = self.context.configuration
        entity = replace(configuration.entity, second_person_above=Decimal(above))
        return replace(self.context, actor=actor, configuration=replace(configuration, entity=entity))


@pytest.fixture(scope="module")
def place(warehouses: Warehouses, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Context]:
    url, folder = warehouses.take(), Path(tmp_path_factory.mktemp("desk"))
    yield Context(
        run_id="run-1",
        known_at=at("06-30"),
        configuration=Configuration(Entity("shop", "EUR", "Europe/Berlin"), (), (), (), "hash"),
        warehouse=Warehouse(url),
        lake=FolderLake(folder / "lake"),
        engine=ENGINE,
        temporary=folder,
        actor="Clara Clerk",
    )
    warehouses.give_back(url)


@pytest.fixture
def desk(place: Context, request: pytest.FixtureRequest) -> Desk:
    return Desk(place, request.node.name)


def test_a_break_that_waits_is_quiet_until_its_day_and_open_again_by_itself(desk: Desk) -> None:
    desk.put("t1", "10")
    desk.put("t2", "20")
    second, first = desk.names()
    decide(desk.context, DAY, [first], WAIT)
    assert desk.states() == {"t1": "waiting", "t2": "open"}
    assert desk.states(DAY + timedelta(days=2)) == {"t1": "waiting", "t2": "open"}
    assert desk.states(DAY + timedelta(days=3)) == {"t1": "open", "t2": "open"}
    # A later word counts: who waits may wait longer without undoing anything.
    decide(desk.context, DAY, [first], replace(WAIT, until_on=DAY + timedelta(days=9)))
    assert desk.states(DAY + timedelta(days=3))["t1"] == "waiting"
    for wrong in (replace(WAIT, until_on=DAY), replace(WAIT, until_on=None), replace(WAIT, reason=" ")):
        with pytest.raises(Stop):
            decide(desk.context, DAY, [second], wrong)


def test_a_dispute_stays_listed_with_its_age_and_claim_until_the_partner_says_something_else(desk: Desk) -> None:
    desk.put("t1", "-3", "commission_differs", expected="10.0000", found="7.0000")
    decide(desk.context, DAY, desk.names(), Verdict(DecisionKind.DISPUTE, "the contract says 10 %"))
    (disputed,) = desk.listed(DAY + timedelta(days=5))
    assert (disputed["state"], disputed["claim_amount"], disputed["age_days"]) == ("disputed", Decimal("3.0000"), 5)
    # Corrected in part: it is open again, and shows what was claimed of what.
    desk.put("t1", "-1", "commission_differs", expected="10.0000", found="9.0000")
    (again,) = desk.listed()
    assert (again["state"], again["is_reopened"], again["seen_found"]) == ("open", True, "7.0000")
    # While it waits for the partner's answer, it waits; then it is disputed again.
    claim = Verdict(DecisionKind.DISPUTE, "still 10 %", claim_amount=Decimal("0.90"))
    decide(desk.context, DAY, desk.names(), claim)
    decide(desk.context, DAY, desk.names(), WAIT)
    assert desk.states() == {"t1": "waiting"}
    (after,) = desk.listed(DAY + timedelta(days=3))
    assert (after["state"], after["claim_amount"]) == ("disputed", Decimal("0.9000"))
    undo(desk.context, DAY, str(after["decision_id"]), "they are right")
    assert desk.states(DAY + timedelta(days=3)) == {"t1": "open"}


def test_another_click_or_another_claim_is_another_word(desk: Desk) -> None:
    desk.put("t1", "10")
    (name,) = desk.names()
    assert decide(desk.context, DAY, [name], Verdict(DecisionKind.ACCEPT_CLICK, "so", "click-1")).is_new
    assert not decide(desk.context, DAY, [name], Verdict(DecisionKind.ACCEPT_CLICK, "so", "click-1")).is_new
    with pytest.raises(Stop, match="decided accept_click"):
        decide(desk.context, DAY, [name], Verdict(DecisionKind.ACCEPT_CLICK, "no, so", "click-2"))
    desk.put("t2", "3", "commission_differs")
    name = desk.names()[-1]
    part = Verdict(DecisionKind.DISPUTE, "the contract says 10 %", claim_amount=Decimal(2))
    assert [decide(desk.context, DAY, [name], part).is_new for _ in range(2)] == [True, False]
    # Without a claim it is all at stake.
    assert decide(desk.context, DAY, [name], replace(part, claim_amount=None)).is_new
    assert desk.listed()[-1]["claim_amount"] == Decimal("3.0000")


def test_more_at_stake_than_was_seen_is_an_open_break_that_says_what_was_decided(desk: Desk) -> None:
    desk.put("t1", "10")
    (name,) = desk.names()
    decide(desk.context, DAY, [name], NO_CASHBACK)
    assert desk.states() == {"t1": "decided"}
    desk.put("t1", "4")
    assert desk.states() == {"t1": "decided"}
    desk.put("t1", "900")
    (again,) = desk.listed()
    assert (again["state"], again["is_reopened"], again["decision_kind"]) == ("open", True, "no_cashback")
    assert (again["seen_found"], again["seen_amount"]) == ("no reference", Decimal("10.0000"))
    # By the name it had, nobody decides about what it says now.
    with pytest.raises(Stop, match="says something else by now"):
        decide(desk.context, DAY, [name], NO_CASHBACK)
    assert decide(desk.context, DAY, desk.names(), NO_CASHBACK).is_new


def test_many_are_decided_as_one_as_they_were_shown_or_not_at_all(desk: Desk) -> None:
    for number in range(1, 5):
        desk.put(f"t{number}", f"{number}0")
    chosen = desk.chosen(kind="unmatched", amount_at_least=Decimal(15), amount_at_most=Decimal(35))
    shown = preview(desk.context, DAY, chosen, NO_CASHBACK)
    assert shown.breaks["transaction_id"].to_pylist() == ["t3", "t2"]
    assert (shown.stake.amount, shown.stake.needs_agreement) == (Decimal("50.0000"), False)
    # Another one comes in between: what was shown is no more, and nothing is decided.
    desk.put("t9", "25")
    with pytest.raises(Stop, match="not the breaks that were shown"):
        decide(desk.context, DAY, chosen, NO_CASHBACK, shown.batch_id)
    assert desk.decided() == []
    shown = preview(desk.context, DAY, chosen, NO_CASHBACK)
    done = decide(desk.context, DAY, chosen, NO_CASHBACK, shown.batch_id)
    assert (len(done.decision_ids), done.batch_id, done.is_new) == (3, shown.batch_id, True)
    assert {one["batch_id"] for one in desk.decided()} == {done.batch_id}
    again = decide(desk.context, DAY, chosen, NO_CASHBACK, shown.batch_id)
    assert (set(again.decision_ids), again.is_new) == (set(done.decision_ids), False)
    assert decide(desk.context, DAY, chosen, NO_CASHBACK) == Recorded((), None, False, is_new=False)
    assert len(undo(desk.context, DAY, str(done.batch_id)[:12], "it was another shop").decision_ids) == 3
    assert set(desk.states().values()) == {"open"}
    with pytest.raises(Stop, match="undone already"):
        undo(desk.context, DAY, str(done.batch_id), "it was another shop")
    assert decide(desk.context, DAY, chosen, NO_CASHBACK).batch_id != done.batch_id


def test_what_a_kind_does_not_allow_is_refused_with_what_it_does(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(1, 4):
        desk.put(f"t{number}", f"{number}0")
    every = desk.chosen()
    with pytest.raises(Stop, match="by release_hold: it allows accept_click, no_cashback, wait"):
        decide(desk.context, DAY, every, Verdict(DecisionKind.RELEASE_HOLD, "so"))
    with pytest.raises(Stop, match="about one break"):
        decide(desk.context, DAY, every, Verdict(DecisionKind.ACCEPT_CLICK, "so", "click-1"))
    with pytest.raises(Stop, match="a click is named to accept_click"):
        decide(desk.context, DAY, every, Verdict(DecisionKind.NO_CASHBACK, "so", "click-1"))
    with pytest.raises(Stop, match="is no person"):
        decide(replace(desk.context, actor="airflow"), DAY, every, NO_CASHBACK)
    with pytest.raises(Stop, match="is no name of a break"):
        decide(desk.context, DAY, ["t1"], NO_CASHBACK)
    monkeypatch.setattr("etl.decide.BATCH_MAX", 2)
    with pytest.raises(Stop, match="more than 2 breaks"):
        decide(desk.context, DAY, every, NO_CASHBACK)
    assert desk.decided() == []


def test_every_kind_of_break_says_what_it_allows() -> None:
    """docs/matching.md lists every kind that there is; only those of remittances that nobody can end just wait."""
    page = (Path(__file__).parents[2] / "docs" / "matching.md").read_text(encoding="utf-8")
    table = page.split("## Breaks\n", 1)[1].split("##", 1)[0]
    kinds = {kind for line in table.splitlines()[2:] if line for kind in line.split("|")[1].replace(" ", "").split(",")}
    assert kinds >= set(ALLOWED)
    assert kinds - set(ALLOWED) <= set(REMITTANCE_BREAKS)


@pytest.mark.parametrize("is_named", [False, True])
def test_above_the_limit_nothing_acts_until_another_person_agrees(desk: Desk, is_named: bool) -> None:
    desk.put("t1", "10")
    desk.put("t2", "20")
    clara, dan = desk.limited(), desk.limited(actor="Dan")
    # Each is below the limit of 25; together they are not.
    done = decide(clara, DAY, desk.names() if is_named else desk.chosen(), NO_CASHBACK)
    assert (len(done.decision_ids), done.is_proposed, desk.in_force()) == (2, True, 0)
    assert set(desk.states().values()) == {"proposed"}
    with pytest.raises(Stop, match="another person agrees or refuses"):
        decide(dan, DAY, desk.names(), WAIT)
    for same in ("Clara Clerk", " clara  CLERK"):
        with pytest.raises(Stop, match="another person must agree"):
            agree(replace(clara, actor=same), DAY, str(done.batch_id), "so do I")
    with clara.warehouse.transaction(APPROVER) as connection, pytest.raises(psycopg.errors.CheckViolation):
        connection.execute(
            "INSERT INTO ops.agreement VALUES (%s, 'Clara Clerk', 'CLARA  clerk', '2026-06-30', 'so do I')",
            (done.decision_ids[0],),
        )
    assert agree(dan, DAY, str(done.batch_id)[:12], "so do I").is_new
    assert not agree(dan, DAY, str(done.batch_id), "so do I").is_new
    assert [one for one in proposals(clara) if one["partner_account"] == desk.account] == []
    assert (desk.in_force(), set(desk.states().values())) == (2, {"decided"})
    # What two agreed to, one cannot undo alone.
    undone = undo(clara, DAY, str(done.batch_id), "wrong")
    assert (undone.is_proposed, desk.in_force()) == (True, 2)
    with pytest.raises(Stop, match="proposed already to undo"):
        undo(dan, DAY, done.decision_ids[0], "wrong")
    refuse(dan, str(undone.batch_id), "no, it is right")
    assert desk.in_force() == 2
    agree(dan, DAY, str(undo(clara, DAY, str(done.batch_id), "it is").batch_id), "you are right")
    assert (desk.in_force(), set(desk.states().values())) == (0, {"open"})


def test_a_proposal_is_refused_or_withdrawn_and_what_changed_is_not_agreed_to(desk: Desk) -> None:
    desk.put("t1", "30")
    clara, dan = desk.limited(), desk.limited(actor="Dan")
    (proposed,) = decide(clara, DAY, desk.names(), NO_CASHBACK).decision_ids
    refuse(clara, proposed, "let me look again")
    assert desk.states() == {"t1": "open"}
    (proposed,) = decide(clara, DAY, desk.names(), NO_CASHBACK).decision_ids
    desk.put("t1", "50")
    with pytest.raises(Stop, match="has changed: nothing is agreed"):
        agree(dan, DAY, proposed, "so do I")
    refuse(dan, proposed, "it is another amount by now")
    assert sorted(one["standing"] for one in desk.decided()) == ["in force", "in force", "refused", "refused"]
    with pytest.raises(Stop, match="no proposal that waits"):
        agree(dan, DAY, proposed, "so do I")


def test_a_limit_counts_in_the_base_currency_and_what_has_no_rate_is_above_it(desk: Desk) -> None:
    desk.put("t1", "22", currency="GBP")
    clara = desk.limited()
    assert preview(clara, DAY, desk.names(), NO_CASHBACK).stake.amount is None
    assert preview(clara, DAY, desk.names(), NO_CASHBACK).stake.needs_agreement
    with clara.warehouse.transaction() as connection:
        connection.execute("INSERT INTO ref.fx_rate VALUES ('2026-06-29', 'EUR', 'GBP', 0.8, 'ecb')")
    assert preview(clara, DAY, desk.names(), NO_CASHBACK).stake.amount == Decimal("27.5000")
    assert not preview(desk.limited("27.5"), DAY, desk.names(), NO_CASHBACK).stake.needs_agreement


def test_an_undo_of_an_undo_of_an_undo_counts_as_deep_as_it_goes(desk: Desk) -> None:
    desk.put("t1", "10")
    (last,) = decide(desk.context, DAY, desk.names(), NO_CASHBACK).decision_ids
    for depth in range(1, 5):
        (last,) = undo(desk.context, DAY, last, f"number {depth}").decision_ids
        assert desk.in_force() == (depth + 1) % 2
        with desk.context.warehouse.transaction() as connection:
            assert read_breaks(connection, DAY, desk.chosen()).num_rows == depth % 2
