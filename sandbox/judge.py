"""Hold a warehouse against the truth of its world: were sales given the right click, is each member owed the right sum?

Nothing here uses Tallyback's own code: the warehouse is read by SQL, the truth comes from the world.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

import psycopg
import pyarrow.parquet as pq

from sandbox import folder
from sandbox.house import Place
from sandbox.model import World
from sandbox.truth import truth_owed

OWED_KINDS = {"cashback_pending": "pending", "cashback_confirmed": "confirmed", "cashback_payable": "confirmed"}

SaleKey = tuple[str, str]
"""Partner account and transaction id of the original row."""


@dataclass(slots=True)
class Verdict:
    """What was found. Amounts are minor units of the cashback currency, commission in units."""

    sales: int = 0
    matched: int = 0
    right: int = 0
    wrong_by_rule: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    findable: int = 0
    found: int = 0
    missed: list[tuple[SaleKey, str, str]] = field(default_factory=list)
    owed_minor: int = 0
    excused_minor: int = 0
    excused_sales: int = 0
    never_seen: int = 0
    unexcused: list[str] = field(default_factory=list)
    commission: Decimal = Decimal(0)

    @property
    def lines(self) -> list[str]:
        """Return the verdict as lines for a person."""
        share = Decimal(100 * self.excused_minor) / 100 / self.commission if self.commission else Decimal(0)
        wrong = ", ".join(f"{count} by {rule}" for rule, count in sorted(self.wrong_by_rule.items())) or "none"
        return [
            f"{self.sales:,} sales, {self.matched:,} matched to a click, {self.right:,} rightly; wrong: {wrong}",
            f"{self.found:,} of {self.findable:,} that a rule can find were found",
            f"members are owed {self.owed_minor / 100:,.2f}; {self.excused_sales} sales differ from the truth by "
            f"{self.excused_minor / 100:,.2f} in all and are listed as breaks ({share:.2f} % of commission); "
            f"{len(self.unexcused)} differ and are not; {self.never_seen} came and went between two fetches",
        ]


def judge(place: Place, as_of: datetime, world: World | None = None) -> Verdict:
    """Return how the warehouse of `place` stands against the truth at `as_of` (naive UTC); `world` saves a reading."""
    verdict = Verdict()
    world = world or folder.load(place.world)
    truth = {
        (str(row["partner_account"]), str(row["transaction_id"])): row
        for row in pq.read_table(place.world / "truth_sale.parquet").to_pylist()
    }
    with psycopg.connect(place.postgres.url(f"tallyback_{place.name}")) as connection:
        rows = connection.execute(
            "SELECT DISTINCT v.partner_account, v.transaction_id, v.sale_id FROM ops.transaction_version AS v"
        ).fetchall()
        sale_of = {(str(account), str(transaction)): str(sale) for account, transaction, sale in rows}
        matches = connection.execute(
            "SELECT partner_account, transaction_id, outcome, click_id, rule FROM ops.match ORDER BY 1, 2, line_id"
        ).fetchall()
        _judge_matches(verdict, truth, matches, set(sale_of))
        broken = {str(row[0]) for row in connection.execute("SELECT DISTINCT sale_id FROM ops.break").fetchall()}
        booked = connection.execute(
            "SELECT document_id, owner, kind, (-sum(amount_minor))::bigint FROM mart.movement"
            " WHERE document_kind = 'sale' AND kind = ANY(%s) GROUP BY 1, 2, 3 HAVING sum(amount_minor) <> 0",
            (list(OWED_KINDS),),
        ).fetchall()
    _judge_owed(verdict, truth_owed(world, as_of).to_pylist(), booked, sale_of, broken)
    return verdict


def _judge_matches(
    verdict: Verdict,
    truth: dict[SaleKey, dict[str, object]],
    matches: list[tuple[object, ...]],
    known: set[SaleKey],
) -> None:
    found: dict[SaleKey, tuple[str, object, object]] = {}
    for account, transaction, outcome, click, rule in matches:
        found.setdefault((str(account), str(transaction)), (str(outcome), click, rule))
    for key, row in truth.items():
        if key not in known:
            continue
        verdict.sales += 1
        outcome, click, rule = found.get(key, ("unmatched", None, None))
        is_right = outcome == "matched" and click == row["true_click_id"]
        if outcome == "matched":
            verdict.matched += 1
            verdict.right += is_right
            if not is_right:
                verdict.wrong_by_rule[str(rule)] += 1
        if row["finding_rule"] != "none":
            verdict.findable += 1
            verdict.found += is_right
            if not is_right:
                verdict.missed.append((key, str(row["finding_rule"]), str(row["defects"])))


def _judge_owed(
    verdict: Verdict,
    owed: list[dict[str, object]],
    booked: list[tuple[object, ...]],
    sale_of: dict[SaleKey, str],
    broken: set[str],
) -> None:
    actual: dict[tuple[str, str, str], int] = defaultdict(int)
    for sale, member, kind, minor in booked:
        actual[str(sale), str(member), OWED_KINDS[str(kind)]] += int(str(minor))
    expected: dict[tuple[str, str, str], int] = defaultdict(int)
    for row in owed:
        told = (str(row["partner_account"]), str(row["transaction_id"]))
        if told not in sale_of and "vanished" in str(row["defects"]):
            # It came and went between two fetches: nobody who did not ask then can know it.
            verdict.never_seen += 1
            continue
        sale = sale_of.get(told, f"never seen: {row['sale_key']}")
        verdict.commission += abs(Decimal(str(row["net_commission"])))
        for state in ("pending", "confirmed"):
            minor = int(str(row[f"{state}_minor"]))
            verdict.owed_minor += minor
            if minor:
                expected[sale, str(row["member_id"]), state] += minor
    differing: dict[str, int] = defaultdict(int)
    for key in sorted(actual.keys() | expected.keys()):
        difference = actual.get(key, 0) - expected.get(key, 0)
        if not difference:
            continue
        if key[0] in broken:
            differing[key[0]] += abs(difference)
        else:
            verdict.unexcused.append(f"{key}: booked {actual.get(key, 0)}, true {expected.get(key, 0)}")
    verdict.excused_sales = len(differing)
    verdict.excused_minor = sum(differing.values())
