"""Hold a warehouse against the truth of its world: were sales given the right click, is each member owed the right sum?

Nothing here uses Tallyback's own code: the warehouse is read by SQL, the truth comes from the world. Everything in the
warehouse is judged, and everything the truth has must be there: what is on one side alone is a problem. A difference is
excused only if the sale has an open break of a kind that leaves its cashback unbooked, and no more than that.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from zoneinfo import ZoneInfo

import psycopg

from sandbox import folder
from sandbox.house import Place
from sandbox.instants import books_day, in_zone
from sandbox.model import ACCOUNTS, AWIN, RAKUTEN, TRADETRACKER, Row, World
from sandbox.rates import Rates
from sandbox.truth import net_at, truth_balance, truth_owed

OWED_KINDS = {"cashback_pending": "pending", "cashback_confirmed": "confirmed", "cashback_payable": "confirmed"}
COMMISSION_KINDS = ("commission_expected", "commission_receivable")
UNBOOKED_KINDS = frozenset(
    "unmatched ambiguous click_of_another_program click_after_sale outside_window no_click_expected unknown_program"
    " rate_missing".split()
)
"""Breaks of sales that have no cashback until a decision, a click, a program or a rate comes."""
UNCHANGED_KINDS = frozenset({"conflicting_versions", "vanished_at_partner"})
"""Breaks of sales whose newest word is not believed: what they had before stands."""
ZONES = {AWIN: "Europe/London", TRADETRACKER: "Europe/Amsterdam", RAKUTEN: "UTC"}
SHARE_MAX = Fraction(1, 100)
"""How much of the commission may be in cashback that breaks excuse."""

RowKey = tuple[str, str]
"""Partner account and transaction id of a row."""
Owed = tuple[str, str, str, str]
"""Sale, member, currency, and whether pending or confirmed."""


@dataclass(slots=True)
class Verdict:
    """What was found, of one world or several. Sums are in euro cents, at the rates of the days of the sales."""

    sales: int = 0
    matched: int = 0
    right: int = 0
    wrong_by_rule: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    findable: int = 0
    found: int = 0
    missed: list[tuple[RowKey, str, str]] = field(default_factory=list)
    balances: int = 0
    owed: Fraction = Fraction(0)
    excused: dict[str, Fraction] = field(default_factory=lambda: defaultdict(Fraction))
    excused_sales: int = 0
    never_seen: int = 0
    commission: Fraction = Fraction(0)
    problems: list[str] = field(default_factory=list)

    @property
    def excused_share(self) -> Fraction:
        """Return the cashback that breaks excuse as a share of the commission of the same sales."""
        return sum(self.excused.values(), Fraction(0)) / self.commission if self.commission else Fraction(0)

    @property
    def lines(self) -> list[str]:
        """Return the verdict as lines for a person."""
        wrong = ", ".join(f"{count} by {rule}" for rule, count in sorted(self.wrong_by_rule.items())) or "none"
        kinds = ", ".join(f"{kind} {_euros(sum_)}" for kind, sum_ in sorted(self.excused.items())) or "none"
        return [
            f"{self.sales:,} sales, {self.matched:,} matched to a click, {self.right:,} rightly; wrong: {wrong}",
            f"{self.found:,} of {self.findable:,} that a rule can find were found",
            f"{self.balances:,} members are owed {_euros(self.owed)} EUR; {self.excused_sales} sales differ from the "
            f"truth by {_euros(sum(self.excused.values(), Fraction(0)))} and are listed as breaks ({kinds}), "
            f"{_percent(self.excused_share)} % of {_euros(self.commission)} commission",
            f"{len(self.problems)} differences that no break excuses; {self.never_seen} sales came and went unseen",
            *self.problems[:10],
        ]

    def add(self, other: Verdict) -> None:
        """Add what was found in another world."""
        for name in ("sales", "matched", "right", "findable", "found", "balances", "excused_sales", "never_seen"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.owed += other.owed
        self.commission += other.commission
        self.missed += other.missed
        self.problems += other.problems
        for rule, count in other.wrong_by_rule.items():
            self.wrong_by_rule[rule] += count
        for kind, sum_ in other.excused.items():
            self.excused[kind] += sum_


def _euros(cents: Fraction) -> str:
    return f"{round(cents) / 100:,.2f}"


def _percent(share: Fraction) -> str:
    return f"{round(share * 10_000) / 100:.2f}"


@dataclass(frozen=True, slots=True)
class Books:
    """What a warehouse says: the sale of each row, matches, open breaks by sale, what is owed, deliveries.

    A match is account, transaction, outcome, click, rule; `owed` is in minor units; `commission` is by account and
    currency, in ten-thousandths; a delivery is account, first day, day after the last, and when it was observed.
    """

    sale_of: Mapping[RowKey, str]
    matches: Sequence[tuple[str, str, str, str | None, str | None]]
    breaks: Mapping[str, frozenset[str]]
    owed: Mapping[Owed, int]
    commission: Mapping[tuple[str, str], int]
    deliveries: Sequence[tuple[str, str, str, datetime]]


def judge(place: Place, as_of: datetime, world: World | None = None) -> Verdict:
    """Return how the warehouse of `place` stands against the truth at `as_of` (naive UTC); `world` saves a reading."""
    with psycopg.connect(place.postgres.url(f"tallyback_{place.name}")) as connection:
        books = _read(connection)
    return judge_books(world or folder.load(place.world), books, as_of)


def _read(connection: psycopg.Connection[tuple[object, ...]]) -> Books:
    def texts(query: str, *parameters: object) -> list[tuple[str, ...]]:
        rows = connection.execute(query, parameters or None).fetchall()
        return [tuple(str(value) for value in row) for row in rows]

    versions = texts("SELECT DISTINCT partner_account, transaction_id, sale_id FROM ops.transaction_version")
    matches = connection.execute(
        "SELECT partner_account, transaction_id, outcome, click_id, rule FROM ops.match ORDER BY 1, 2, line_id"
    ).fetchall()
    breaks: dict[str, set[str]] = defaultdict(set)
    for sale, kind in texts("SELECT DISTINCT sale_id, kind FROM ops.break WHERE sale_id IS NOT NULL"):
        breaks[sale].add(kind)
    owed: dict[Owed, int] = defaultdict(int)
    query = (
        "SELECT document_id, owner, currency, kind, (-sum(amount_minor))::bigint FROM mart.movement"
        " WHERE document_kind = 'sale' AND kind = ANY(%s) GROUP BY 1, 2, 3, 4"
    )
    for sale, member, currency, kind, minor in texts(query, list(OWED_KINDS)):
        owed[sale, member, currency, OWED_KINDS[kind]] += int(minor)
    query = (
        "SELECT owner, currency, sum(amount_minor)::bigint FROM mart.movement"
        " WHERE document_kind = 'sale' AND kind = ANY(%s) GROUP BY 1, 2"
    )
    commission = {(owner, currency): int(minor) for owner, currency, minor in texts(query, list(COMMISSION_KINDS))}
    deliveries = connection.execute(
        "SELECT partner_account, window_from::text, window_until::text, observed_at FROM ops.delivery ORDER BY 4, 2"
    ).fetchall()
    return Books(
        {(account, transaction): sale for account, transaction, sale in versions},
        [(str(a), str(t), str(o), None if c is None else str(c), None if r is None else str(r))
         for a, t, o, c, r in matches],
        {sale: frozenset(kinds) for sale, kinds in breaks.items()},
        owed,
        commission,
        [(str(a), str(f), str(u), at) for a, f, u, at in deliveries if isinstance(at, datetime)],
    )  # fmt: skip


def judge_books(world: World, books: Books, as_of: datetime) -> Verdict:
    """Return how what a warehouse says stands against the truth of its world."""
    verdict = Verdict()
    rows_of: dict[str, list[Row]] = defaultdict(list)
    for row in world.rows:
        rows_of[row.sale_key].append(row)
    sale_ids, unseen = _judge_sales(verdict, world, rows_of, books, as_of)
    verdict.never_seen = len(unseen)
    _judge_matches(verdict, world, rows_of, books, sale_ids)
    _judge_owed(verdict, world, books, sale_ids, unseen, as_of)
    _judge_commission(verdict, world, rows_of, books, sale_ids, as_of)
    return verdict


def _judge_sales(
    verdict: Verdict, world: World, rows_of: Mapping[str, list[Row]], books: Books, as_of: datetime
) -> tuple[dict[str, str], set[str]]:
    """Return the warehouse's id of each true sale, and which sales nobody could have seen.

    Say which are missing, invented, torn apart or thrown together.
    """
    sale_ids: dict[str, str] = {}
    unseen: set[str] = set()
    keys_of: dict[str, set[str]] = defaultdict(set)
    told: set[RowKey] = set()
    for sale in world.sales:
        account = ACCOUNTS[sale.partner]
        shown = [row for row in rows_of[sale.sale_key] if row.state_at(as_of) is not None]
        known = {books.sale_of[key] for row in shown if (key := (account, row.transaction_id)) in books.sale_of}
        told |= {(account, row.transaction_id) for row in shown}
        missing = [row for row in shown if (account, row.transaction_id) not in books.sale_of]
        if missing and not known and all(_is_unseen(row, account, books.deliveries, as_of) for row in missing):
            unseen.add(sale.sale_key)
        elif missing:
            verdict.problems.append(f"{account} {missing[0].transaction_id} of {sale.sale_key}: the warehouse lacks it")
        # A reversal whose sale cannot be found by any rule is a sale of its own, and says so by its break.
        whole = {one for one in known if "reversal_without_original" not in books.breaks.get(one, frozenset())}
        if len(whole) > 1:
            verdict.problems.append(f"{sale.sale_key} is several sales: {', '.join(sorted(whole))}")
        for one in known:
            keys_of[one].add(sale.sale_key)
        if known:
            sale_ids[sale.sale_key] = min(whole or known)
    verdict.problems += [
        f"sale {one} holds {', '.join(sorted(keys))}" for one, keys in keys_of.items() if len(keys) > 1
    ]
    verdict.problems += [f"{account} {row} is in no report" for account, row in sorted(books.sale_of.keys() - told)]
    return sale_ids, unseen


def _is_unseen(row: Row, account: str, deliveries: Iterable[tuple[str, str, str, datetime]], as_of: datetime) -> bool:
    """Return whether the row is gone, and was not there whenever an answer for its window was given."""
    last = row.state_at(as_of)
    if last is None or not last.is_vanished:
        return False
    moment = row.processed_at if row.partner == RAKUTEN else row.occurred_at
    day = in_zone(moment, ZoneInfo(ZONES[row.partner])).date().isoformat()
    for of_account, window_from, window_until, observed_at in deliveries:
        if of_account == account and window_from <= day < window_until:
            state = row.state_at(observed_at)
            if state is not None and not state.is_vanished:
                return False
    return True


def _judge_matches(
    verdict: Verdict, world: World, rows_of: Mapping[str, list[Row]], books: Books, sale_ids: Mapping[str, str]
) -> None:
    """Judge every row that was matched: a sale is right if each of its rows that has a click has the true one."""
    found: dict[RowKey, list[tuple[str, str | None, str | None]]] = defaultdict(list)
    for account, transaction, outcome, click, rule in books.matches:
        found[account, transaction].append((outcome, click, rule))
    for sale in world.sales:
        if sale.sale_key not in sale_ids:
            continue
        verdict.sales += 1
        account = ACCOUNTS[sale.partner]
        said = [one for row in rows_of[sale.sale_key] for one in found.get((account, row.transaction_id), ())]
        matched = [(click, rule) for outcome, click, rule in said if outcome == "matched"]
        wrong = sorted({str(rule) for click, rule in matched if click != sale.true_click_id})
        verdict.matched += bool(matched)
        verdict.right += bool(matched) and not wrong
        for rule in wrong:
            verdict.wrong_by_rule[rule] += 1
        if sale.finding_rule != "none":
            verdict.findable += 1
            if matched and not wrong:
                verdict.found += 1
            else:
                key = (account, sale.original_transaction_id)
                verdict.missed.append((key, sale.finding_rule.value, sale.defects))


def _judge_owed(
    verdict: Verdict, world: World, books: Books, sale_ids: Mapping[str, str], unseen: set[str], as_of: datetime
) -> None:
    """Compare what each member is owed, sale by sale and then per member and currency, in every minor unit."""
    expected: dict[Owed, int] = defaultdict(int)
    excused: dict[tuple[str, str, str], int] = defaultdict(int)
    cents: dict[str, Fraction] = {}
    rates = Rates(world.rates_text)
    occurred_at = {sale.sale_key: sale.occurred_at for sale in world.sales}
    for row in truth_owed(world, as_of).to_pylist():
        key, currency = row["sale_key"], row["cashback_currency"]
        if key in unseen:
            for state in ("pending", "confirmed"):
                # The truth's own sums have it; no warehouse can.
                excused[row["member_id"], currency, state] -= row[f"{state}_minor"]
            continue
        sale = sale_ids.get(key, f"unknown {key}")
        cents[sale] = 1 / rates.per_euro(currency, books_day(occurred_at[key]))
        for state in ("pending", "confirmed"):
            minor = row[f"{state}_minor"]
            verdict.owed += minor * cents[sale]
            if minor:
                expected[sale, row["member_id"], currency, state] += minor
    sales: set[str] = set()
    for owed in sorted(books.owed.keys() | expected.keys()):
        booked, true = books.owed.get(owed, 0), expected.get(owed, 0)
        if booked == true:
            continue
        kind = _excuse(books.breaks.get(owed[0], frozenset()), booked)
        if kind is None:
            verdict.problems.append(f"sale {owed[0]}: {' '.join(owed[1:])}: booked {booked}, true {true}")
            continue
        verdict.excused[kind] += abs(booked - true) * cents.get(owed[0], Fraction(1))
        sales.add(owed[0])
        excused[owed[1:]] += booked - true
    verdict.excused_sales += len(sales)
    _judge_balances(verdict, world, books, excused, as_of)


def _excuse(kinds: frozenset[str], booked: int) -> str | None:
    """Return the kind of break that explains a difference, or None: without a click nothing may be booked at all."""
    for kind in sorted(kinds):
        if kind in UNCHANGED_KINDS or (kind in UNBOOKED_KINDS and booked == 0):
            return kind
    return None


def _judge_balances(
    verdict: Verdict,
    world: World,
    books: Books,
    excused: Mapping[tuple[str, str, str], int],
    as_of: datetime,
) -> None:
    """Compare the balance of each member and currency with the truth's own sums, less what breaks excuse."""
    booked: dict[tuple[str, str, str], int] = defaultdict(int)
    for (_, member, currency, state), minor in books.owed.items():
        booked[member, currency, state] += minor
    true: dict[tuple[str, str, str], int] = {}
    for row in truth_balance(world, as_of).to_pylist():
        for state in ("pending", "confirmed"):
            true[row["member_id"], row["currency"], state] = row[f"{state}_minor"]
    verdict.balances += len({balance[:2] for balance in true})
    for balance in sorted(booked.keys() | true.keys()):
        difference = booked.get(balance, 0) - true.get(balance, 0) - excused.get(balance, 0)
        if difference:
            verdict.problems.append(f"balance {' '.join(balance)}: {difference:+} from the truth, unexplained")


def _judge_commission(
    verdict: Verdict,
    world: World,
    rows_of: Mapping[str, list[Row]],
    books: Books,
    sale_ids: Mapping[str, str],
    as_of: datetime,
) -> None:
    """Compare the commission of each account and currency, which posts whether or not a click was found."""
    rates = Rates(world.rates_text)
    true: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for sale in world.sales:
        net = net_at(rows_of[sale.sale_key], as_of)
        if net is None or sale.sale_key not in sale_ids:
            continue
        true[ACCOUNTS[sale.partner], net.currency] += net.commission
        per_euro = rates.per_euro(net.currency, books_day(sale.occurred_at))
        verdict.commission += 100 * Fraction(net.commission) / per_euro
    for key in sorted(true.keys() | books.commission.keys()):
        difference = Decimal(books.commission.get(key, 0)).scaleb(-4) - true.get(key, Decimal(0))
        if difference:
            verdict.problems.append(f"commission of {key[0]} in {key[1]}: {difference:+} from the truth")
