"""Rules corrected afterwards: shown first, in force only by a person's dated decision, and the same in any order."""

from __future__ import annotations

from dataclasses import astuple, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from etl.accrue import accrue
from etl.core.approval import why_not
from etl.core.configuration import Bank
from etl.core.context import Context
from etl.core.correction import Proposal, undoing
from etl.core.errors import Stop
from etl.core.ledger import FLOW, post
from etl.core.warehouse import Connection
from etl.correct import decide, list_corrections, load_correction
from etl.reference import load_rules
from etl.verify import verify
from etl.what_if import Effect, of_file, of_payout_threshold, of_proposal, of_tolerance
from tests.accrue import naive
from tests.accrue.books import BEGIN, balances, book, context, read, rule, sale, term, version, world, write
from tests.accrue.naive import Rule, World
from tests.engine import A_FEW_AT_ONCE

DAY = date(2026, 3, 20)
MARCH = datetime.fromisoformat("2026-03-01T00:00")
RULES = "rule_id,program_id,basis,value,cap,currency,rounding,valid_from,valid_until,commission_group,component\n"
TERMS = "term_id,program_id,commission_group,customer_type,basis,value,currency,valid_from,valid_until\n"


@pytest.fixture
def url(shared_url: str) -> str:
    """The shared warehouse, with no correction, no period and no books."""
    _empty(shared_url)
    return shared_url


def _empty(url: str) -> None:
    with psycopg.connect(url) as connection:
        for table in ("payout_line", "payout", "batch"):
            connection.execute(f"DELETE FROM payout.{table}")
        tables = ("ref.correction_decision", "ref.cashback_rule_correction", "ref.contract_term_correction",
                  "ref.correction", "ledger.posting", "ledger.journal_entry", "ledger.account")  # fmt: skip
        for table in tables:
            connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER refuse_change")
        connection.execute(f"TRUNCATE {', '.join(tables)}")
        connection.execute("ALTER TABLE ref.period DISABLE TRIGGER ALL")
        connection.execute("TRUNCATE ref.period")
        connection.execute("ALTER TABLE ref.period ENABLE TRIGGER ALL")


def clara(url: str, folder: Path, known_at: str = "2026-04-02T12:00") -> Context:
    return replace(context(url, folder, f"at {known_at}", datetime.fromisoformat(known_at)), actor="Clara Clerk")


def told(folder: Path, *rules: Rule) -> Path:
    """Return a file of rules."""
    path = folder / "corrected.csv"
    lines = [
        ",".join("" if each is None else f"{each.isoformat()}Z" if isinstance(each, datetime) else str(each)
                 for each in astuple(one))
        for one in rules
    ]  # fmt: skip
    path.write_text(RULES + "\n".join(lines) + "\n", encoding="utf-8")
    return path


def effect(here: Context, proposal: Proposal) -> Effect:
    """Return the effect of all sales at once, which is the same a few at a time."""
    with here.warehouse.transaction() as connection:
        whole = of_proposal(here, connection, DAY, proposal)
        parts = of_proposal(replace(here, engine=A_FEW_AT_ONCE), connection, DAY, proposal)
    assert (parts.hash, parts.figures, parts.members) == (whole.hash, whole.figures, whole.members)
    return whole


def say(here: Context, proposal: Proposal, seen: str, reason: str = "the shop says so") -> str:
    def effect_of(given: Context, connection: Connection, proposed: Proposal) -> str:
        return of_proposal(given, connection, DAY, proposed).hash

    return decide(here, proposal, reason, seen, effect_of)


def reserve(url: str, folder: Path) -> None:
    """Reserve three euro for the member of the plain sale, in a batch of that sale."""
    flow = {"document_id": "p1", "debit_kind": "cashback_payable", "debit_owner": "member-1", "amount": 300,
            "credit_kind": "payout_reserved", "credit_owner": "member-1", "asset": "EUR/2", "effective_for": DAY,
            "component": "payout", "base_amount": None, "rate": None}  # fmt: skip
    here = context(url, folder, "reserve")
    with here.warehouse.transaction() as connection:
        connection.execute(
            "INSERT INTO payout.batch VALUES ('b1', 'house', 'sepa', 'bank', 'EUR', %s, %s, %s, 1, 300, 'reserved')",
            (DAY, DAY, here.known_at),
        )
        connection.execute("INSERT INTO payout.payout VALUES ('p1', 'b1', 'member-1', 'EUR', 300, 1, 'e1', 'reserved')")
        connection.execute("INSERT INTO payout.payout_line VALUES ('p1', 'sale', 'shop_a:1', 300)")
        post(connection, "house", "payout", pa.Table.from_pylist([flow], schema=FLOW), run_id="r", created_by="t",
             posted_at=here.known_at)  # fmt: skip


def _decisions(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT count(*) FROM ref.correction_decision").fetchone()
    assert row is not None
    return int(row[0])


def test_a_correction_is_shown_applied_once_and_posted_as_it_was_shown(url: str, tmp_path: Path) -> None:
    facts = world([version("10", "approved"), version("4", sale_id="shop_b:2", transaction_id="2")],
                  sales=(sale(), sale("shop_b:2", member_id="member-2")))  # fmt: skip
    book(url, tmp_path, facts, DAY)
    reserve(url, tmp_path)
    with psycopg.connect(url) as connection:
        connection.execute("INSERT INTO ref.period VALUES ('house', '2026-03-01', 'closed')")
    here = clara(url, tmp_path)
    correction = load_correction(here, told(tmp_path, rule("0.6")))
    assert load_correction(here, told(tmp_path, rule("0.6"))) == correction
    # Loaded, it does nothing.
    assert accrue(here, DAY).count("postings") == 0

    proposal = Proposal(correction, MARCH)
    shown = effect(here, proposal)
    assert {(each.name, each.before, each.after) for each in shown.figures if each.before != each.after} == {
        ("cashback cost", Decimal("5.0000"), Decimal("6.0000")),
        ("margin", Decimal("5.0000"), Decimal("4.0000")),
        ("cashback cost pending", Decimal("2.0000"), Decimal("2.4000")),
        ("members: pending", Decimal("2.00"), Decimal("2.40")),
        ("members: made payable", Decimal("5.00"), Decimal("6.00")),
        ("cash: payable now", Decimal("2.00"), Decimal("3.00")),
    }
    assert [(each.member_id, each.pending, each.confirmed, each.payable) for each in shown.members] == [
        ("member-1", 0, 0, Decimal("1.00")),
        ("member-2", Decimal("0.40"), 0, 0),
    ]
    shown.write(tmp_path / "postings.parquet")
    written = pq.read_table(tmp_path / "postings.parquet").to_pylist()
    # It is true of March, which is closed.
    assert {(row["effective_for"], row["booked_on"]) for row in written} == {(date(2026, 3, 1), date(2026, 4, 1))}
    assert _decisions(url) == 0, "looking touches nothing"

    assert ("cash: reserved or sent", Decimal("3.00"), Decimal("3.00")) in {
        (each.name, each.before, each.after) for each in shown.figures
    }

    decision = say(here, proposal, shown.hash)
    with psycopg.connect(url) as connection:
        reason = why_not(connection, "b1", "clara  CLERK")
    assert reason is not None and "decided about correction" in reason, "nor does she approve what it pays"
    later = clara(url, tmp_path, "2026-04-05T12:00")
    assert say(later, proposal, shown.hash) == decision, "said again, it is the decision that stands"
    before = read(url)
    assert accrue(later, DAY).count("postings") == len(written) == 5
    corrected = replace(facts, corrections=((rule("0.6"), MARCH),))
    assert read(url) == naive.books(corrected, DAY) != before
    assert accrue(later, DAY).count("postings") == 0
    assert [check.name for check in verify(later, DAY) if not check.is_ok and "closed" not in check.name] == []

    undone = undoing_of(later, decision)
    say(later, undone, effect(later, undone).hash)
    accrue(later, DAY)
    assert read(url) == before
    assert list_corrections(later)["undone_by"].to_pylist() == ["Clara Clerk"]


def undoing_of(here: Context, decision: str) -> Proposal:
    with here.warehouse.transaction() as connection:
        return undoing(connection, decision)


def test_it_acts_on_clicks_from_its_day_and_not_on_those_before(url: str, tmp_path: Path) -> None:
    facts = world([version("10")])
    book(url, tmp_path, facts, DAY)
    here = clara(url, tmp_path)
    correction = load_correction(here, told(tmp_path, rule("0.6")))
    # The plain sale was clicked at nine.
    assert effect(here, Proposal(correction, MARCH + timedelta(hours=9))).members[0].pending == 1
    assert effect(here, Proposal(correction, MARCH + timedelta(hours=9, seconds=1))).members == ()


def test_it_is_refused_by_nobody_without_reason_or_after_its_effect_has_changed(url: str, tmp_path: Path) -> None:
    facts = world([version("10")])
    book(url, tmp_path, facts, DAY)
    here = clara(url, tmp_path)
    proposal = Proposal(load_correction(here, told(tmp_path, rule("0.6"))), MARCH)
    seen = effect(here, proposal).hash
    with pytest.raises(Stop, match="no person"):
        say(replace(here, actor="airflow"), proposal, seen)
    with pytest.raises(Stop, match="needs a reason"):
        say(here, proposal, seen, " ")
    with pytest.raises(Stop, match="there is no correction"):
        effect(here, Proposal("none", MARCH))
    write(url, world([version("10"), version("12", version_no=2, effective_on=date(2026, 3, 9))]))
    with pytest.raises(Stop, match="not the one that was shown"):
        say(here, proposal, seen)
    assert _decisions(url) == 0


def test_what_is_past_is_changed_by_a_correction_and_not_by_a_load(url: str, tmp_path: Path) -> None:
    write(url, world([]))
    here = clara(url, tmp_path)
    ended = rule(valid_until=datetime.fromisoformat("2026-04-01T00:00"))
    with pytest.raises(Stop, match="valid_until: 2026-04-01 00:00:00 is past"):
        load_rules(here, told(tmp_path, ended))
    toys = rule("0.9", rule_id="r2", commission_group="toys")
    with pytest.raises(Stop, match="is past, and r1 holds since"):
        load_rules(here, told(tmp_path, rule(), toys))
    future = replace(toys, valid_from=datetime.fromisoformat("2026-05-01T00:00"))
    assert load_rules(here, told(tmp_path, rule(), future)).count("new") == 1
    with pytest.raises(Stop, match="there is nothing to correct"):
        load_correction(here, told(tmp_path, rule()))
    with pytest.raises(Stop, match="r1 and r3 are both in force"):
        load_correction(here, told(tmp_path, rule("0.6", rule_id="r3")))
    # One rule takes the place of another from a day on that is past: both in one correction.
    swapped = told(tmp_path, ended, rule("0.6", rule_id="r3", valid_from=datetime.fromisoformat("2026-04-01T00:00")))
    assert list_corrections(here).num_rows == 0
    load_correction(here, swapped)
    assert list_corrections(here)["row_count"].to_pylist() == [2]


def test_terms_and_tolerances_are_tried_the_same_way(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = world([version("9", sale_amount=Decimal("100"))], terms=(term("0.08"),))
    book(url, tmp_path, facts, DAY)
    # 8.00 by contract, half of it for the member.
    assert balances(read(url))["cashback_pending", "EUR/2"] == -400
    here = clara(url, tmp_path)
    path = tmp_path / "terms.csv"
    path.write_text(f"{TERMS}c1,p1,,,rate,0.085,EUR,{BEGIN.isoformat()}Z,\n", encoding="utf-8")
    found = of_file(here, DAY, path, BEGIN)
    assert [(each.member_id, each.pending) for each in found.members] == [("member-1", Decimal("0.25"))]
    assert list_corrections(here).num_rows == 0
    # Of many sales results stay with the engine.
    with monkeypatch.context() as large:
        large.setattr("etl.core.engine.SMALL_ROWS_MAX", -1)
        assert of_file(here, DAY, path, BEGIN).hash == found.hash
    # One euro more than the contract is let pass: 9.00 counts.
    assert of_tolerance(here, DAY, Decimal("1"), None).members[0].pending == Decimal("0.50")
    assert of_tolerance(here, DAY, None, Decimal("0.1")).members == ()
    proposal = Proposal(load_correction(here, path), BEGIN)
    say(here, proposal, found.hash)
    accrue(here, DAY)
    assert balances(read(url))["cashback_pending", "EUR/2"] == -425


def test_a_payout_threshold_is_tried_on_what_could_be_paid(url: str, tmp_path: Path) -> None:
    rows = [version("10", "approved"), version("4", "approved", sale_id="shop_a:2", transaction_id="2")]
    book(url, tmp_path, world(rows, sales=(sale(), sale("shop_a:2", member_id="member-2"))), DAY)
    bank = Bank("bank", "sepa", "c", "inbox", "EUR", "House", "DE02120300000000202051", threshold_minor=500)
    found = of_payout_threshold(clara(url, tmp_path), DAY, bank, 100)
    assert (found.before_count, found.before, found.after_count, found.after) == (
        1,
        Decimal("5.00"),
        2,
        Decimal("7.00"),
    )


FROM = st.integers(-3, 4).map(lambda days: datetime.fromisoformat("2026-03-03T00:00") + timedelta(days=days))
CORRECTED = st.tuples(
    st.sampled_from(("0.1", "0.333", "0.7")).map(rule), FROM, st.sampled_from((None, Decimal("1.50")))
)  # fmt: skip


@given(st.lists(CORRECTED, max_size=3), st.lists(st.integers(0, 6), min_size=1, max_size=3), st.data())
@settings(
    max_examples=3,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
def test_whatever_comes_first_the_books_are_those_of_all_decisions(
    shared_url: str, tmp_path: Path, drawn: list[tuple[Rule, datetime, Decimal | None]], clicks: list[int],
    data: st.DataObject,
) -> None:  # fmt: skip
    _empty(shared_url)
    sales = tuple(
        sale(f"shop_a:{place}", clicked_at=datetime.fromisoformat("2026-03-01T09:00") + timedelta(days=days))
        for place, days in enumerate(clicks)
    )
    facts: World = world(
        [version("10", sale_id=each.sale_id, transaction_id=each.sale_id) for each in sales], sales=sales
    )
    decided = tuple((replace(each, cap=cap), from_at) for each, from_at, cap in drawn)
    order = data.draw(st.permutations(range(len(decided))), label="order of arrival")
    write(shared_url, facts)
    for place in order:
        changed, from_at = decided[place]
        # When a person decided is part of what they say; when we learn of it is not.
        here = clara(shared_url, tmp_path, f"2026-04-02T12:0{place}")
        path = told(tmp_path, changed)
        try:
            correction = load_correction(here, path)
        except Stop as error:
            assert "nothing to correct" in str(error)
            continue
        proposal = Proposal(correction, from_at)
        say(here, proposal, effect(here, proposal).hash)
        if data.draw(st.booleans()):
            accrue(here, DAY)
    accrue(clara(shared_url, tmp_path), DAY)
    seen = _told(shared_url)
    assert read(shared_url) == naive.books(replace(facts, corrections=seen), DAY)
    assert accrue(clara(shared_url, tmp_path, "2026-04-09T12:00"), DAY).count("postings") == 0


def _told(url: str) -> tuple[tuple[Rule, datetime], ...]:
    """Return what was decided, in the order of the decisions."""
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT c.value, c.cap, d.from_at FROM ref.correction_decision AS d"
            " JOIN ref.cashback_rule_correction AS c USING (correction_id) ORDER BY d.decided_at, d.decision_id"
        ).fetchall()
    return tuple((rule(str(value), cap=cap), from_at) for value, cap, from_at in rows)
