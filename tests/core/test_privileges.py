"""What each role of the warehouse may write: the pipeline is nobody, an approver only says, readers read the marts."""

from __future__ import annotations

import psycopg
import pytest

PIPELINE, APPROVER = "tallyback_pipeline", "tallyback_approver"
READERS = ("tallyback_finance_read", "tallyback_pii_read")
SCHEMAS = ("ref", "ops", "ledger", "payout", "pii", "mart")
# What a person says, with the only role that may write it down; nobody may change it.
SAID_BY_PEOPLE = (
    "payout.approval",
    "ops.decision",
    "ops.agreement",
    "ops.hold_release",
    "ops.remittance_decision",
    "ops.opening",
    "ops.opening_line",
    "ops.opening_approval",
    "ops.adjustment",
    "ops.adjustment_verdict",
    "ref.correction",
    "ref.cashback_rule_correction",
    "ref.contract_term_correction",
    "ref.correction_decision",
    "ledger.period_event",
)
# Ledger and audit: rows are added, never changed.
APPENDED = (
    "ledger.posting",
    "ledger.journal_entry",
    "ledger.account",
    "payout.payout_line",
    "payout.event",
    "pii.payee",
)


def privileges(url: str, role: str) -> set[tuple[str, str]]:
    """Return (table, privilege) of all a role may do, whether by itself or through PUBLIC."""
    query = """
        SELECT n.nspname || '.' || c.relname, k.privilege
        FROM pg_class AS c
        JOIN pg_namespace AS n ON n.oid = c.relnamespace
        CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER']) AS k (privilege)
        WHERE n.nspname = ANY(%s) AND c.relkind IN ('r', 'v', 'p')
            AND (has_table_privilege(%s, c.oid, k.privilege)
                OR (k.privilege IN ('INSERT', 'UPDATE') AND has_any_column_privilege(%s, c.oid, k.privilege)))
    """
    with psycopg.connect(url) as connection:
        rows = connection.execute(query, (list(SCHEMAS), role, role)).fetchall()
    return {(str(table), str(privilege)) for table, privilege in rows}


@pytest.mark.parametrize("table", SAID_BY_PEOPLE)
def test_the_pipeline_cannot_write_what_people_say(warehouse_url: str, table: str) -> None:
    assert {privilege for named, privilege in privileges(warehouse_url, PIPELINE) if named == table} == {"SELECT"}
    assert {privilege for named, privilege in privileges(warehouse_url, APPROVER) if named == table} == {
        "SELECT",
        "INSERT",
    }


def test_the_pipeline_adds_to_ledger_and_audit_and_changes_nothing_there(warehouse_url: str) -> None:
    mine = privileges(warehouse_url, PIPELINE)
    for table in APPENDED:
        assert {privilege for named, privilege in mine if named == table} == {"SELECT", "INSERT"}, table
    assert not [told for told in mine if told[1] in ("TRUNCATE", "TRIGGER")]
    assert not [told for told in mine if told[0].startswith("payout.") and told[1] == "DELETE"]


def test_an_approver_moves_no_money_and_changes_no_payee(warehouse_url: str) -> None:
    written = {told for told in privileges(warehouse_url, APPROVER) if told[1] != "SELECT"}
    assert {table for table, _ in written} == {*SAID_BY_PEOPLE, "ref.period"}
    assert not [told for told in written if told[1] in ("DELETE", "TRUNCATE", "TRIGGER")]


@pytest.mark.parametrize("role", READERS)
def test_readers_write_nothing_and_see_their_own_part(warehouse_url: str, role: str) -> None:
    mine = privileges(warehouse_url, role)
    assert {privilege for _, privilege in mine} == {"SELECT"}
    assert {table.partition(".")[0] for table, _ in mine} == {"mart" if "finance" in role else "pii"}
