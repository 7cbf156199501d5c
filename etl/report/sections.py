"""What the reconciliation report shows: its sections, the tables in them, and the meaning of every column."""

from __future__ import annotations

from etl.report.outline import Column, Kind, SectionOutline, TableOutline


def _text(name: str, heading: str) -> Column:
    return Column(name, heading, Kind.TEXT)


def _count(name: str, heading: str) -> Column:
    return Column(name, heading, Kind.COUNT)


def _amount(name: str, heading: str) -> Column:
    return Column(name, heading, Kind.AMOUNT)


_CURRENCY = _text("currency", "Currency")
_BASE = (
    Column("base", "In base currency", Kind.BASE),
    _amount("without_base", "Without a rate yet"),
)
_COMPARED = (_amount("last_period", "Last period"), _amount("change", "Change"))
_AGES = (
    _amount("age_30", "0–30 days"),
    _amount("age_60", "31–60"),
    _amount("age_90", "61–90"),
    _amount("age_180", "91–180"),
    _amount("age_more", "More"),
)
_ALL_ROWS = _count("all_rows", "All rows")
_LEFT_OUT = (_count("left_out_count", "Left out"), _amount("left_out_amount", "Amount left out"), _ALL_ROWS)
_ROW = (_text("delivery_id", "Delivery"), _count("row_number", "Row"))
_PARTNER = _text("partner_account", "Partner account")

SUMMARY = TableOutline(
    "summary",
    "Summary",
    "Summary",
    "Each figure on the closing day, beside the same figure of last period.",
    (
        _text("question", "Question"),
        _text("label", "Figure"),
        _count("item_count", "Count"),
        _amount("amount", "Amount"),
        _CURRENCY,
        *_BASE,
        *_COMPARED,
    ),
)

ROLL_FORWARD = TableOutline(
    "roll_forward",
    "Roll-forward",
    "Opening to closing, per kind of account and currency",
    "Opening + new + approved − declined − paid + moved ± FX ± rounding + other = closing, by booking day. The "
    "opening is last period's closing. What is approved leaves the pending account (negative there) and enters the "
    "approved one. "
    "Moved is cashback on its way through its states; paid is money through a bank.",
    (
        _text("label", "Account"),
        _text("kind", "Kind"),
        _count("open_count", "Open documents"),
        _CURRENCY,
        _amount("opening", "Opening"),
        _amount("new", "+ New"),
        _amount("approved", "+ Approved"),
        _amount("declined", "− Declined"),
        _amount("paid", "− Paid"),
        _amount("moved", "+ Moved"),
        _amount("fx", "± FX"),
        _amount("rounding", "± Rounding"),
        _amount("other", "+ Other"),
        _amount("closing", "= Closing"),
        _amount("change", "Change"),
        Column("base", "Closing in base currency", Kind.BASE),
        _amount("without_base", "Without a rate yet"),
    ),
)

FLOW = TableOutline(
    "flow",
    "Roll-forward steps",
    "The steps of the period beside last period",
    "One line for each step of an account; a minus makes the account smaller. The count is of documents.",
    (
        _text("label", "Account"),
        _text("kind", "Kind"),
        _text("step", "Step"),
        _count("item_count", "Count"),
        _amount("amount", "Amount"),
        _CURRENCY,
        *_BASE,
        _count("last_count", "Count last period"),
        *_COMPARED,
    ),
)

RECEIVABLE_ROW = TableOutline(
    "receivable_row",
    "Receivables by sale",
    "Sales",
    "The open amount stands on the first row of a sale. Delivery and row name the line of the partner's file.",
    (
        _PARTNER,
        _text("program", "Program"),
        _text("program_id", "Program id"),
        _text("document_id", "Sale"),
        _amount("amount", "Open"),
        _CURRENCY,
        Column("base", "In base currency", Kind.BASE),
        Column("aged_from", "Approved on", Kind.DATE),
        _count("age_days", "Days"),
        _text("transaction_id", "Transaction"),
        _text("line_id", "Line"),
        _text("status", "Status"),
        _amount("commission_amount", "Commission of the row"),
        *_ROW,
    ),
    hidden=_LEFT_OUT,
    by_group=True,
)

RECEIVABLE_PROGRAM = TableOutline(
    "receivable_program",
    "Receivables by program",
    "Programs",
    "",
    (
        _PARTNER,
        _text("program", "Program"),
        _text("program_id", "Program id"),
        _count("item_count", "Sales"),
        _amount("amount", "Open"),
        _CURRENCY,
        *_BASE,
        *_AGES,
        *_COMPARED,
    ),
    hidden=(_ALL_ROWS,),
    key=("partner_account", "currency", "program_id"),
    child=RECEIVABLE_ROW,
)

RECEIVABLE = TableOutline(
    "receivable_partner",
    "Receivables",
    "Approved commission not yet paid to us",
    "Age counts from the day the approval took effect to the closing day. Open a partner for its programs, a program "
    "for its sales.",
    (
        _PARTNER,
        _count("item_count", "Sales"),
        _amount("amount", "Open"),
        _CURRENCY,
        *_BASE,
        *_AGES,
        *_COMPARED,
    ),
    key=("partner_account", "currency"),
    child=RECEIVABLE_PROGRAM,
)

LIABILITY = TableOutline(
    "liability_state",
    "Member liability",
    "What we owe members, by state",
    "Members we owe and members who owe us stand apart and are not offset. What reduces a balance takes its "
    "oldest part.",
    (
        _text("label", "State"),
        _text("side", "Side"),
        _count("item_count", "Members"),
        _amount("amount", "Amount"),
        _CURRENCY,
        *_BASE,
        *_AGES,
        *_COMPARED,
    ),
    hidden=(_text("kind", "Kind"),),
)

LIABILITY_MEMBER = TableOutline(
    "liability_member",
    "Members",
    "Members with the largest balances",
    "A member is known here by an opaque id only.",
    (
        _text("member_id", "Member"),
        _CURRENCY,
        _amount("pending", "Pending"),
        _amount("confirmed", "Confirmed"),
        _amount("payable", "Payable"),
        _amount("reserved", "Reserved"),
        _amount("in_flight", "In flight"),
        _amount("amount", "All"),
        Column("base", "In base currency", Kind.BASE),
        *_COMPARED,
    ),
    hidden=(_ALL_ROWS,),
)

BREAK_ROW = TableOutline(
    "break_row",
    "Breaks by transaction",
    "Transactions",
    "",
    (
        _text("kind", "Kind"),
        _PARTNER,
        _text("program", "Program"),
        _text("transaction_id", "Transaction"),
        _text("line_id", "Line"),
        _amount("amount", "At stake"),
        _CURRENCY,
        Column("base", "In base currency", Kind.BASE),
        _text("expected", "Expected"),
        _text("found", "Found"),
        _text("state", "State"),
        Column("opened_on", "Opened on", Kind.DATE),
        _count("age_days", "Days"),
        *_ROW,
    ),
    hidden=_LEFT_OUT,
    by_group=True,
)

BREAK = TableOutline(
    "break_kind",
    "Breaks",
    "Open breaks, by kind, partner account and age",
    "Money at stake is what the break says about its row. 'Last period' is what was open before the period and still "
    "is, 'change' what opened in it. Decided breaks are counted apart. In base currency: at the rate the books use for "
    "the sale.",
    (
        _text("kind", "Kind"),
        _PARTNER,
        _count("item_count", "Breaks"),
        _amount("amount", "At stake"),
        _CURRENCY,
        *_BASE,
        *_AGES,
        *_COMPARED,
        _count("decided_count", "Decided"),
    ),
    key=("kind", "partner_account", "currency"),
    child=BREAK_ROW,
)

DELIVERY = TableOutline(
    "delivery",
    "Deliveries",
    "What partners delivered for the period",
    "Deliveries whose window touches the period, as last parsed. Every row is a transaction or a reject.",
    (
        _PARTNER,
        _count("item_count", "Deliveries"),
        _count("row_count", "Rows"),
        _count("transaction_count", "Transactions"),
        _count("reject_count", "Rejects"),
        _count("validation_reject_count", "Rejected by a check"),
        _count("held_count", "Held"),
        _count("last_count", "Rows last period"),
        _count("change_count", "Change"),
    ),
)

REJECT = TableOutline(
    "reject",
    "Rejects",
    "Rows that were not taken",
    "A reject is stored with its row and reason and never guessed at. What stands in it was written by the partner.",
    (
        _PARTNER,
        *_ROW,
        _text("transaction_id", "Transaction"),
        _text("stage", "Found by"),
        _text("rule", "Rule"),
        _text("column_name", "Column"),
        _text("value", "Value"),
        _text("reason", "Reason"),
    ),
    hidden=(_ALL_ROWS,),
)

PAYOUT_ROW = TableOutline(
    "payout_row",
    "Payouts by sale",
    "Payouts",
    "The amount of a payout stands on its first row, that of a sale in it on the first row of the sale.",
    (
        _text("batch_id", "Batch"),
        _text("payout_id", "Payout"),
        _text("member_id", "Member"),
        _text("state", "State"),
        _amount("amount", "Payout"),
        _CURRENCY,
        _text("document_id", "For sale"),
        _amount("line_amount", "Of which"),
        _text("transaction_id", "Transaction"),
        _text("line_id", "Line"),
        *_ROW,
    ),
    hidden=_LEFT_OUT,
    by_group=True,
)

PAYOUT_BATCH = TableOutline(
    "payout_batch",
    "Payouts",
    "Batches of the period, and older ones that are not finished",
    "'Sent' says that the bank was given the file. Paid is only what the bank confirmed.",
    (
        _text("batch_id", "Batch"),
        _text("bank", "Bank"),
        Column("selected_for", "Selected for", Kind.DATE),
        Column("execute_on", "To execute on", Kind.DATE),
        _text("state", "State"),
        _count("item_count", "Payouts"),
        _amount("amount", "Amount"),
        _CURRENCY,
        *_BASE,
        _amount("reserved", "Reserved"),
        _amount("in_flight", "In flight"),
        _amount("settled", "Paid"),
        _amount("returned", "Returned or canceled"),
        _text("released_by", "Released by"),
        _text("approved_by", "Approved by"),
        _text("sha256", "File (sha256)"),
    ),
    hidden=(_ALL_ROWS,),
    key=("batch_id",),
    child=PAYOUT_ROW,
)

PAYOUT_EVENT = TableOutline(
    "payout_event",
    "Payout events",
    "What happened to payouts in the period",
    "One payout may be reserved, sent and paid in one period; the lines do not add up to a total.",
    (
        _text("label", "Event"),
        _count("item_count", "Payouts"),
        _amount("amount", "Amount"),
        _CURRENCY,
        *_BASE,
        _count("last_count", "Payouts last period"),
        *_COMPARED,
    ),
)

CONTROL = TableOutline(
    "control",
    "Control",
    "Every check: expected, actual, difference",
    "The expected side is read from the ledger's own postings, the partners' files or the payouts; the actual side "
    "from the tables of this report. Differences stand first.",
    (
        _text("outcome", "Outcome"),
        _text("name", "Check"),
        Column("expected", "Expected", Kind.MEASURE),
        Column("actual", "Actual", Kind.MEASURE),
        Column("difference", "Difference", Kind.MEASURE),
        _text("unit", "Unit"),
    ),
)

SECTIONS = (
    SectionOutline("summary", "Summary", "", (SUMMARY,)),
    SectionOutline(
        "roll_forward", "Roll-forward", "How each account got from its opening to its closing.", (ROLL_FORWARD, FLOW)
    ),
    SectionOutline("receivables", "Receivables", "What partners have approved and not paid.", (RECEIVABLE,)),
    SectionOutline(
        "liability", "Member liability", "What we owe members, and what members owe us.", (LIABILITY, LIABILITY_MEMBER)
    ),
    SectionOutline("breaks", "Breaks", "What a person must look at, and what it is about.", (BREAK, DELIVERY, REJECT)),
    SectionOutline("payouts", "Payouts", "What was selected, sent and confirmed.", (PAYOUT_BATCH, PAYOUT_EVENT)),
    SectionOutline("control", "Control", "Whether the books and this report prove.", (CONTROL,)),
)
