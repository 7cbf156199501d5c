"""What the reconciliation in plain Python reads, and its first half: what partners said as versions, and sales."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

Row = dict[str, Any]
Key = tuple[str, str, str]
EPOCH = datetime.fromisoformat("1970-01-01")
FOREVER = datetime.fromisoformat("2200-01-01")
CUTS = (16, 20, 30, 32, 50)


@dataclass
class Delivery:
    delivery_id: str
    partner_account: str
    observed_at: datetime
    rows: list[Row]
    from_at: datetime = EPOCH
    until_at: datetime = FOREVER
    states_scope: bool = False
    has_unkeyed_rejects: bool = False
    rejected: list[tuple[str, str | None]] = field(default_factory=list)


@dataclass
class World:
    models: list[Row]
    deliveries: list[Delivery]
    programs: list[Row]
    clicks: list[Row]
    conversions: list[Row]
    day: date
    sealed_until: datetime | None = FOREVER
    decisions: list[Row] = field(default_factory=list)
    settled: list[Row] = field(default_factory=list)
    books_zone: str = "Europe/Berlin"
    rules: list[Row] = field(default_factory=list)
    # Days with a rate of each currency; None where no books are kept.
    rate_days: dict[str, set[date]] | None = None
    base_currency: str = "EUR"
    aliases: list[Row] = field(default_factory=list)

    def model(self, account: str) -> Row:
        return next(one for one in self.models if one["partner_account"] == account)


def local_day(instant: datetime, zone: str) -> date:
    return instant.replace(tzinfo=UTC).astimezone(ZoneInfo(zone)).date()


def standing(decisions: list[Row]) -> list[Row]:
    """Return the decisions that hold: agreed to where a second person must, and not undone by an undo that holds."""

    def holds(one: Row) -> bool:
        if one.get("needs_agreement") and one.get("agreed_at") is None:
            return False
        return not any(holds(undo) for undo in decisions if undo.get("undoes") == one["decision_id"])

    return [one for one in decisions if one["kind"] != "undo" and holds(one)]


def acts_at(decision: Row) -> datetime:
    """Return since when a decision holds."""
    when: datetime = decision.get("agreed_at") or decision["decided_at"]
    return when


def is_valid(program: Row, at: datetime | None) -> bool:
    if at is None or program["valid_from"] > at:
        return False
    return program["valid_until"] is None or at < program["valid_until"]


def clock_of(world: World, row: Row) -> datetime:
    model = world.model(row["partner_account"])
    is_modified = model["version_clock"] == "modified"
    clock = (row["modified_at"] or row["occurred_at"]) if is_modified else row["observed_at"]
    seconds = max(model["clock_precision_seconds"], 1)
    since = int((clock - EPOCH) / timedelta(microseconds=1))
    return EPOCH + timedelta(microseconds=since - since % (seconds * 1_000_000))


def place(row: Row) -> tuple[Any, ...]:
    return row["clock"], row["observed_at"], row["row_number"], row["delivery_id"], row["content_hash"]


def versions(world: World) -> tuple[dict[Key, list[Row]], set[Key]]:
    """Return the versions of each key in order, and the keys whose newest word contradicts itself."""
    heard: dict[Key, list[Row]] = defaultdict(list)
    for delivery in world.deliveries:
        for row in delivery.rows:
            told = {**row, "observed_at": delivery.observed_at, "delivery_id": delivery.delivery_id, "is_absent": False}
            told["clock"] = clock_of(world, told)
            heard[row["partner_account"], row["transaction_id"], row["line_id"]].append(told)
    out: dict[Key, list[Row]] = {}
    conflicts: set[Key] = set()
    for key, rows in heard.items():
        moments: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
        for row in rows:
            moments[row["clock"], row["observed_at"], row["delivery_id"]].append(row)
        torn = {moment for moment, said in moments.items() if len({one["content_hash"] for one in said}) > 1}
        newest = max(moments, key=lambda at: (at[0], at[1], max(one["row_number"] for one in moments[at]), at[2]))
        if newest in torn:
            conflicts.add(key)
        good = [row for moment, said in moments.items() if moment not in torn for row in said]
        words = good + [word for delivery in world.deliveries if (word := _silence(world, delivery, key, rows, good))]
        chain: list[Row] = []
        for word in sorted(words, key=place):
            if not chain or (chain[-1]["content_hash"], chain[-1]["is_absent"]) != (
                word["content_hash"],
                word["is_absent"],
            ):
                chain.append(dict(word))
        if chain:
            out[key] = chain
    _named(world, out)
    for chain in out.values():
        _dated(world, chain, out)
    return _moved(world, out), conflicts


def _silence(world: World, delivery: Delivery, key: Key, heard: list[Row], good: list[Row]) -> Row | None:
    if not delivery.states_scope or delivery.has_unkeyed_rejects or delivery.partner_account != key[0]:
        return None
    if any(row["delivery_id"] == delivery.delivery_id for row in heard):
        return None
    if any(name == key[1] and line in (None, key[2]) for name, line in delivery.rejected):
        return None
    before = [row for row in good if row["observed_at"] < delivery.observed_at]
    if not before:
        return None
    last = max(before, key=place)
    if not delivery.from_at <= last["occurred_at"] < delivery.until_at:
        return None
    silent = {**last, "observed_at": delivery.observed_at, "delivery_id": delivery.delivery_id, "row_number": 0}
    if world.model(key[0])["reversal_model"] != "aggregate":
        return {**silent, "is_absent": True}
    # A day that is told whole and leaves a sum out says that it is zero.
    nothing = {"sale_amount": Decimal("0.0000"), "commission_amount": Decimal("0.0000")}
    return {**silent, **nothing, "content_hash": hashlib.sha256(b"left out: zero").hexdigest()}


def is_change(row: Row) -> bool:
    """Return whether a row takes a sale back or states it anew."""
    is_restated = row["kind"] == "adjustment" and row["original_transaction_id"] is not None
    return bool(row["sale_amount"] < 0 or row["commission_amount"] < 0 or is_restated)


def _named(world: World, chains: dict[Key, list[Row]]) -> None:
    """Name the sale of every row after its first version; a day's sum below zero belongs to a day it fits into."""
    for (account, _, _), chain in chains.items():
        first = chain[0]
        model = world.model(account)
        name = _sale_name(model, first)
        if model["reversal_model"] == "aggregate" and is_change(first) and first["click_ref"] is not None:
            same = ("partner_account", "partner_program_id", "click_ref", "currency")
            days = [
                other[0]
                for other in chains.values()
                if all(other[0][column] == first[column] for column in same)
                and not is_change(other[0])
                and other[0]["occurred_at"] < first["occurred_at"]
                and other[0]["sale_amount"] + first["sale_amount"] >= 0
                and other[0]["commission_amount"] + first["commission_amount"] >= 0
            ]
            if days:
                name = max(days, key=lambda day: (day["occurred_at"], day["transaction_id"]))["transaction_id"]
        for row in chain:
            row["sale_id"] = f"{account}:{name}"


def _dated(world: World, chain: list[Row], chains: dict[Key, list[Row]]) -> None:
    zone = world.books_zone
    for number, row in enumerate(chain):
        model = world.model(row["partner_account"])
        if number == 0:
            # A discount comes with the rows that make the sale, however late they came; what comes later changes it.
            made = [
                other[0]["processed_at"]
                for other in chains.values()
                if other[0]["sale_id"] == row["sale_id"]
                and not is_change(other[0])
                and other[0]["processed_at"] is not None
            ]
            begun = min(made, default=row["occurred_at"])
            late = row["processed_at"] is not None and row["processed_at"] >= begun + timedelta(hours=1)
            comes_later = model["reversal_model"] == "signed_rows" and late
            instant = row["processed_at"] if comes_later else row["occurred_at"]
        elif row["is_absent"]:
            instant = row["observed_at"]
        elif row["modified_at"] is not None:
            instant = row["modified_at"]
        elif row["processed_at"] is not None and row["processed_at"] != chain[number - 1]["processed_at"]:
            instant = row["processed_at"]
        else:
            instant = row["observed_at"]
        row["effective_on"] = local_day(instant, zone)
        if number:
            row["effective_on"] = max(row["effective_on"], chain[number - 1]["effective_on"])
        row["version_no"] = number + 1


def _moved(world: World, chains: dict[Key, list[Row]]) -> dict[Key, list[Row]]:
    """Let sales whose key moved go on where it moved to; a row that ended says so by being worth nothing."""
    newest = {one["alias_id"]: one for one in sorted(world.aliases, key=lambda one: one["revision"])}
    moves = {
        (one["former_account"], one["former_transaction_id"]): (
            (one["partner_account"], one["transaction_id"]),
            one["moved_on"],
        )
        for one in newest.values()
        if one["state"] == "in_force"
    }
    came = {later: (former, moved_on) for former, (later, moved_on) in moves.items()}
    sales: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for key, chain in chains.items():
        sales[chain[0]["sale_id"]].add(key[:2])

    def first(key: tuple[str, str]) -> tuple[tuple[str, str], int]:
        steps = 0
        while key in came:
            key, steps = came[key][0], steps + 1
        return key, steps

    # Sales that have keys of one chain are one sale, and so are those that share one with either.
    groups: list[set[str]] = []
    for sale_id, keys in sales.items():
        roots = {first(key)[0] for key in keys if key in came or key in moves}
        if not roots:
            continue
        same = [group for group in groups if any(first(key)[0] in roots for other in group for key in sales[other])]
        groups = [group for group in groups if group not in same] + [{sale_id}.union(*same)]
    told: dict[str, tuple[str, date | None, date | None, bool, str]] = {}
    for group in groups:
        step = {
            sale_id: min(first(key)[1] for key in sales[sale_id] if key in came or key in moves) for sale_id in group
        }
        name = min(group, key=lambda sale_id: (step[sale_id], sale_id))
        for sale_id in group:
            begins = [came[key][1] for key in sales[sale_id] if key in came]
            ends = [moves[key] for key in sales[sale_id] if key in moves]
            is_later = step[sale_id] > min(step.values())
            told[sale_id] = (
                name,
                min(begins) if is_later else None,
                min((on for _, on in ends), default=None),
                step[sale_id] < max(step.values()),
                min((":".join(to) for to, _ in ends), default=""),
            )
    out: dict[Key, list[Row]] = {}
    for key, chain in chains.items():
        own = chain[0]["sale_id"]
        name, since, until, is_followed, goes_to = told.get(own, (own, None, None, False, ""))
        step = first(key[:2])[1] if key[:2] in came or key[:2] in moves else None
        heard = []
        for row in chain:
            on = row["effective_on"] if since is None else max(row["effective_on"], since)
            if until is None or on < until:
                heard.append({**row, "effective_on": on, "sale_id": name, "step": step})
        if heard and is_followed:
            nothing = {
                "sale_amount": Decimal("0.0000"),
                "commission_amount": Decimal("0.0000"),
                "is_absent": False,
                "status": "declined",
            }
            text = f"moved to {goes_to}"
            heard.append({
                **heard[-1], **nothing, "raw_status": text, "row_number": 0, "effective_on": until,
                "version_no": len(heard) + 1, "content_hash": hashlib.sha256(text.encode()).hexdigest(),
            })  # fmt: skip
        if heard:
            out[key] = heard
    return out


def _sale_name(model: Row, first: Row) -> str:
    if model["reversal_model"] == "signed_rows":
        if model["signed_row_link"] == "original":
            return str(first["original_transaction_id"] or first["transaction_id"])
        if first["order_ref"] is not None:
            return f"{first['partner_program_id'] or ''}/{first['order_ref']}"
    return str(first["transaction_id"])


@dataclass
class Sale:
    sale_id: str
    rows: list[Row]
    lead: Row
    outcome: str = "unmatched"
    rule: str | None = None
    click: Row | None = None
    program: Row | None = None
    earns: bool = True
    member_id: str | None = None

    @property
    def key(self) -> Key:
        return self.lead["partner_account"], self.lead["transaction_id"], self.lead["line_id"]

    def least(self, name: str, rows: list[Row] | None = None) -> Any:
        values = [row[name] for row in (self.credits if rows is None else rows) if row[name] is not None]
        return min(values, default=None)

    @property
    def original(self) -> list[Row]:
        """Return the rows it began with, not those it moved to."""
        return [row for row in self.rows if not row["is_moved"]]

    @property
    def credits(self) -> list[Row]:
        """Return the rows that say of which click it is."""
        return [row for row in self.original if not row["is_reduction"]]

    @property
    def is_orphan(self) -> bool:
        """Return whether all its rows take back or state anew what nobody told."""
        return bool(self.lead["is_reduction"] or self.lead["is_correction"])

    @property
    def until(self) -> datetime:
        occurred: datetime = self.lead["occurred_at"]
        return occurred + timedelta(seconds=max(self.lead["occurred_precision_seconds"], 0))

    @property
    def standing(self) -> list[Row]:
        return [row for row in self.rows if row["status"] != "declined"]

    def net(self, name: str) -> Decimal:
        return sum((row[name] for row in self.standing), Decimal(0))

    @property
    def first_amount(self) -> Decimal:
        return sum((row["first_sale_amount"] for row in self.original if not row["is_correction"]), Decimal(0))
