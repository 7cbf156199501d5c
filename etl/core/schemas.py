"""The canonical tables as Arrow schemas: the public shape of clicks, transactions and what is derived from them.

Instants are UTC timestamps of microseconds without a zone, amounts are decimals, absent is null and never ''. No schema
here may hold a float; a test walks them all.
"""

from __future__ import annotations

import pyarrow as pa

INSTANT = pa.timestamp("us")
AMOUNT = pa.decimal128(18, 4)
RATE = pa.decimal128(9, 6)
TEXT = pa.string()

CLICK = pa.schema(
    [
        pa.field("click_id", TEXT, nullable=False),
        pa.field("partner", TEXT, nullable=False),
        pa.field("program_id", TEXT, nullable=False),
        pa.field("member_id", TEXT, nullable=False),
        pa.field("clicked_at", INSTANT, nullable=False),
    ]
)

CONVERSION = pa.schema(
    [
        pa.field("conversion_id", TEXT, nullable=False),
        pa.field("click_id", TEXT),
        pa.field("order_ref", TEXT),
        pa.field("occurred_at", INSTANT, nullable=False),
        pa.field("amount", AMOUNT),
        pa.field("currency", TEXT),
    ]
)

TRANSACTION = pa.schema(
    [
        pa.field("partner", TEXT, nullable=False),
        pa.field("partner_account", TEXT, nullable=False),
        pa.field("transaction_id", TEXT, nullable=False),
        # '' where a partner reports no lines: part of the key, so never null.
        pa.field("line_id", TEXT, nullable=False),
        pa.field("kind", TEXT, nullable=False),
        pa.field("original_transaction_id", TEXT),
        pa.field("order_ref", TEXT),
        pa.field("partner_program_id", TEXT),
        pa.field("program_id", TEXT),
        pa.field("click_ref", TEXT),
        pa.field("partner_clicked_at", INSTANT),
        pa.field("partner_clicked_precision_seconds", pa.int32()),
        pa.field("occurred_at", INSTANT, nullable=False),
        pa.field("occurred_precision_seconds", pa.int32(), nullable=False),
        pa.field("processed_at", INSTANT),
        pa.field("modified_at", INSTANT),
        # Null where the partner never says (Rakuten): approval then follows from validation days or remittance.
        pa.field("status", TEXT),
        pa.field("raw_status", TEXT),
        pa.field("partner_paid", pa.bool_(), nullable=False),
        pa.field("payment_ref", TEXT),
        pa.field("reason", TEXT),
        pa.field("sale_amount", AMOUNT, nullable=False),
        pa.field("commission_amount", AMOUNT, nullable=False),
        pa.field("currency", TEXT, nullable=False),
        # What the partner's terms may depend on, where it tells them.
        pa.field("commission_group", TEXT),
        pa.field("customer_type", TEXT),
        pa.field("delivery_id", TEXT, nullable=False),
        pa.field("row_number", pa.int64(), nullable=False),
        pa.field("content_hash", TEXT, nullable=False),
    ]
)

TRANSACTION_OPTIONAL = frozenset({"commission_group", "customer_type"})
"""Columns that a file of transactions may lack: it then tells none of them."""

PROGRAM = pa.schema(
    [
        pa.field("program_id", TEXT, nullable=False),
        pa.field("merchant_id", TEXT, nullable=False),
        pa.field("partner", TEXT, nullable=False),
        pa.field("partner_program_id", TEXT, nullable=False),
        pa.field("name", TEXT, nullable=False),
        pa.field("currency", TEXT, nullable=False),
        pa.field("commission_rate", RATE),
        pa.field("lookback_days", pa.int32(), nullable=False),
        pa.field("validation_days", pa.int32()),
        pa.field("valid_from", INSTANT, nullable=False),
        pa.field("valid_until", INSTANT),
    ]
)

CASHBACK_RULE = pa.schema(
    [
        pa.field("rule_id", TEXT, nullable=False),
        pa.field("program_id", TEXT, nullable=False),
        pa.field("basis", TEXT, nullable=False),
        # A share or rate for commission_share and sale_rate, an amount of `currency` for fixed.
        pa.field("value", pa.decimal128(18, 6), nullable=False),
        pa.field("cap", AMOUNT),
        pa.field("currency", TEXT, nullable=False),
        pa.field("rounding", TEXT, nullable=False),
        pa.field("valid_from", INSTANT, nullable=False),
        pa.field("valid_until", INSTANT),
        # Null: for all rows whose group no rule names.
        pa.field("commission_group", TEXT),
        # cashback, or bonus: what comes on top, capped, rounded and posted by itself.
        pa.field("component", TEXT, nullable=False),
    ]
)

# What a partner owes us for a sale or lead, by contract.
CONTRACT_TERM = pa.schema(
    [
        pa.field("term_id", TEXT, nullable=False),
        pa.field("program_id", TEXT, nullable=False),
        # Null: for all that no term names.
        pa.field("commission_group", TEXT),
        pa.field("customer_type", TEXT),
        pa.field("basis", TEXT, nullable=False),
        # A share of the sale amount for rate, an amount of `currency` for fixed.
        pa.field("value", pa.decimal128(18, 6), nullable=False),
        pa.field("currency", TEXT, nullable=False),
        pa.field("valid_from", INSTANT, nullable=False),
        pa.field("valid_until", INSTANT),
    ]
)

# By how much commission may differ from the contract before somebody must look, per account beyond what rounding does.
COMMISSION_TOLERANCE = pa.schema(
    [
        pa.field("partner_account", TEXT, nullable=False),
        pa.field("amount", AMOUNT, nullable=False),
        pa.field("share", RATE, nullable=False),
    ]
)

# What sql/accrue/contracted says of a sale, as others read it.
CONTRACTED = pa.schema([pa.field("sale_id", TEXT), pa.field("expected_amount", pa.decimal128(20, 10))])

FX_RATE = pa.schema(
    [
        pa.field("rate_on", pa.date32(), nullable=False),
        pa.field("base", TEXT, nullable=False),
        pa.field("quote", TEXT, nullable=False),
        pa.field("rate", pa.decimal128(18, 9), nullable=False),
        pa.field("source", TEXT, nullable=False),
    ]
)

# What `tallyback match` and the reconcile stage write: one row for each transaction row.
MATCH = pa.schema(
    [
        pa.field("partner", TEXT, nullable=False),
        pa.field("partner_account", TEXT, nullable=False),
        pa.field("transaction_id", TEXT, nullable=False),
        pa.field("line_id", TEXT, nullable=False),
        # matched, unmatched, waiting (a rule that needs uniqueness waits for click days to be sealed)
        pa.field("outcome", TEXT, nullable=False),
        pa.field("click_id", TEXT),
        # original, click_ref, click_ref_repaired, order_ref, click_time, decision; null if unmatched
        pa.field("rule", TEXT),
    ]
)

BREAK = pa.schema(
    [
        pa.field("partner", TEXT, nullable=False),
        pa.field("partner_account", TEXT, nullable=False),
        pa.field("transaction_id", TEXT, nullable=False),
        pa.field("line_id", TEXT, nullable=False),
        pa.field("kind", TEXT, nullable=False),
        pa.field("expected", TEXT),
        pa.field("found", TEXT),
    ]
)

# One row of a version of a transaction: the canonical columns and where it stands in version order.
VERSION = pa.schema(
    [
        *TRANSACTION,
        pa.field("observed_at", INSTANT, nullable=False),
        pa.field("version_no", pa.int32(), nullable=False),
        # A version `absent` repeats the amounts of the version before it; is_absent says it is held.
        pa.field("is_absent", pa.bool_(), nullable=False),
        pa.field("sale_id", TEXT, nullable=False),
        # The day it is true in books_zone: a function of facts alone.
        pa.field("effective_on", pa.date32(), nullable=False),
    ]
)

# A key that is the continuation of another one since a day. Of one alias_id the highest revision counts.
ALIAS = pa.schema(
    [
        pa.field("alias_id", TEXT, nullable=False),
        pa.field("revision", pa.int32(), nullable=False),
        pa.field("former_account", TEXT, nullable=False),
        pa.field("former_transaction_id", TEXT, nullable=False),
        pa.field("partner_account", TEXT, nullable=False),
        pa.field("transaction_id", TEXT, nullable=False),
        pa.field("moved_on", pa.date32(), nullable=False),
        # in_force, or void: it never was
        pa.field("state", TEXT, nullable=False),
        pa.field("reason", TEXT, nullable=False),
    ]
)

# What a partner paid, as it told it. Of one remittance_id the highest revision counts.
REMITTANCE = pa.schema(
    [
        pa.field("partner", TEXT, nullable=False),
        pa.field("partner_account", TEXT, nullable=False),
        pa.field("remittance_id", TEXT, nullable=False),
        pa.field("revision", pa.int32(), nullable=False),
        pa.field("invoice_ref", TEXT),
        pa.field("invoiced_on", pa.date32()),
        pa.field("due_on", pa.date32()),
        # Null until the money is there; so are the three of the bank.
        pa.field("received_on", pa.date32()),
        pa.field("currency", TEXT, nullable=False),
        pa.field("net", AMOUNT, nullable=False),
        pa.field("vat", AMOUNT, nullable=False),
        pa.field("withholding", AMOUNT, nullable=False),
        pa.field("gross", AMOUNT, nullable=False),
        pa.field("bank", TEXT),
        pa.field("bank_amount", AMOUNT),
        pa.field("bank_currency", TEXT),
        # lines, or period: a lump sum for the days from period_from until before period_until
        pa.field("coverage", TEXT, nullable=False),
        pa.field("period_from", pa.date32()),
        pa.field("period_until", pa.date32()),
    ]
)

REMITTANCE_LINE = pa.schema(
    [
        pa.field("partner_account", TEXT, nullable=False),
        pa.field("remittance_id", TEXT, nullable=False),
        pa.field("revision", pa.int32(), nullable=False),
        pa.field("line_no", pa.int32(), nullable=False),
        # commission, vat, withholding, fee, carry_forward, adjustment, set_off
        pa.field("kind", TEXT, nullable=False),
        pa.field("transaction_id", TEXT),
        pa.field("line_id", TEXT),
        pa.field("payment_ref", TEXT),
        # Below zero where it makes what arrives less.
        pa.field("amount", AMOUNT, nullable=False),
        pa.field("currency", TEXT, nullable=False),
    ]
)

TABLES: dict[str, pa.Schema] = {
    "click": CLICK,
    "conversion": CONVERSION,
    "transaction": TRANSACTION,
    "program": PROGRAM,
    "cashback_rule": CASHBACK_RULE,
    "contract_term": CONTRACT_TERM,
    "fx_rate": FX_RATE,
    "alias": ALIAS,
    "match": MATCH,
    "break": BREAK,
    "version": VERSION,
    "remittance": REMITTANCE,
    "remittance_line": REMITTANCE_LINE,
}
