"""Fetch complete answers of a partner for one window, and say which windows are due on a day."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pyarrow as pa

from etl.core.configuration import PartnerAccount
from etl.core.connector import Answer, ChangeFeed, Connector, ConnectorFacts, Credentials, FetchPlace, Window
from etl.core.context import Context
from etl.core.delivery import UNREAD
from etl.core.errors import Stop
from etl.core.warehouse import fetch as fetch_table

REREAD_DAYS_BY_CHANGE_DATE = 3
REREAD_DAYS_ROLLING = 31
NOT_FINAL_DAYS_MAX = 400

CLOCK_AHEAD_MAX = timedelta(days=1)
"""No answer is dated later than this after we asked, however slow the budget was or wrong a clock."""

_WINDOW = [pa.field("window_from", pa.date32()), pa.field("window_until", pa.date32())]
_TOLD = pa.schema([*_WINDOW, pa.field("observed_at", pa.timestamp("us"))])
_UNREAD = pa.schema([pa.field("delivery_id", pa.string()), *_WINDOW])
_INSTANTS = pa.schema([pa.field("occurred_at", pa.timestamp("us"))])


def fetch(
    context: Context,
    account: PartnerAccount,
    connector: Connector,
    credentials: Credentials,
    window: Window,
    budget_directory: Path | None = None,
) -> list[Answer]:
    """Return the partner's complete answers for `window`, on local disk, oldest clock first.

    Rate budgets are counted in `budget_directory`, which all processes of a machine must share; default is a folder
    of `context.temporary`. Raises what the connector raises, and Stop if the answers do not cover the window.
    """
    place = FetchPlace(
        directory=context.temporary / "fetch" / context.run_id / account.name / f"{window.from_on}_{window.until_on}",
        budget_directory=budget_directory or context.temporary / "budget",
    )
    answers = list(connector.fetch(account, credentials, window, place))
    for answer in answers:
        _check_clock(context, account, answer)
    covered = {day for answer in answers for day in _days(answer.window)}
    missing = [day for day in _days(window) if day not in covered]
    if missing:
        raise Stop(
            f"{account.name}: the answers for {window} leave out {len(missing)} days, the first is {missing[0]}; "
            "nothing was landed. This is a defect of the connector."
        )
    return sorted(answers, key=lambda answer: (answer.observed_at, answer.window.from_on))


def _check_clock(context: Context, account: PartnerAccount, answer: Answer) -> None:
    """Raise Stop for an answer whose clock cannot be right: versions are ordered by it, for ever."""
    told = f"{account.name}: the answer for {answer.window} is dated {answer.observed_at.isoformat()} UTC"
    if answer.observed_at > context.known_at + CLOCK_AHEAD_MAX:
        raise Stop(
            f"{told}, but here it is {context.known_at.isoformat()}: all that comes later would count as older. "
            "Nothing was landed; find out whose clock is wrong, the partner's or this machine's."
        )
    if answer.observed_at < _midnight(answer.window.from_on, account.zone):
        raise Stop(
            f"{told}, before its window begins, so it cannot know it. Nothing was landed; ask for a window that has "
            "begun, or the partner why its clock is slow."
        )


def windows_due(context: Context, account: PartnerAccount, connector: Connector, day: date) -> list[Window]:
    """Return the windows to fetch on `day`, oldest first: all their days lie before it.

    Windows are tiles of `window_days` from the account's option `start_on`. A tile is due if it was not fetched whole
    yet (or only by an answer that cannot be read), if it lies in the last `reread_days`, or, for a partner without a
    change feed, if it holds a sale that is not final: pending, or approved and not paid. A sale older than
    `not_final_days_max` (400) no longer counts.
    """
    facts = connector.facts
    tiles = _tiles(account, facts, day)
    if not tiles:
        return []
    default = REREAD_DAYS_ROLLING if facts.change_feed is ChangeFeed.ROLLING_REREAD else REREAD_DAYS_BY_CHANGE_DATE
    reread_from = day - timedelta(days=_number(account, "reread_days", default))
    delivered = _delivered_days(context, account, facts)
    not_final = _not_final_days(context, account, facts, day)
    due = [
        tile
        for tile in tiles
        if tile.until_on > reread_from
        or any(one not in delivered for one in _days(tile))
        or any(one in not_final for one in _days(tile))
    ]
    return due if facts.change_feed is ChangeFeed.ROLLING_REREAD else _joined(due, facts.longest_window_days)


def _tiles(account: PartnerAccount, facts: ConnectorFacts, day: date) -> list[Window]:
    start_on = account.options.get("start_on")
    try:
        start = date.fromisoformat(str(start_on))
    except ValueError:
        raise Stop(
            f"{account.name}: the option start_on is {start_on!r}; set it to the first day to fetch, as 2026-09-01."
        ) from None
    is_rolling = facts.change_feed is ChangeFeed.ROLLING_REREAD
    length = _number(account, "window_days", facts.longest_window_days if is_rolling else 1)
    if not 1 <= length <= facts.longest_window_days:
        raise Stop(
            f"{account.name}: window_days is {length}, but {account.partner} answers 1 to {facts.longest_window_days} "
            "days at once; correct the option."
        )
    tiles = []
    while start < day:
        tiles.append(Window(start, min(start + timedelta(days=length), day)))
        start += timedelta(days=length)
    return tiles


def _number(account: PartnerAccount, name: str, default: int) -> int:
    value = account.options.get(name, default)
    if not isinstance(value, int):
        raise Stop(f"{account.name}: the option {name} is {value!r}; give a whole number of days.")
    return value


def _delivered_days(context: Context, account: PartnerAccount, facts: ConnectorFacts) -> set[date]:
    """Return the days that answers have told whole and readably.

    Where windows are read again, a day counts once an answer was given after it was over. A file has the date that its
    writer gave it, which may be earlier: it is read again for some days anyway.
    """
    query = """
        SELECT window_from, window_until, max(observed_at) AS observed_at
        FROM ops.delivery
        WHERE partner_account = %s
        GROUP BY window_from, window_until
        ORDER BY window_from, window_until
    """
    with context.warehouse.transaction() as connection:
        told = fetch_table(connection, query, _TOLD, (account.name,)).to_pylist()
        unread = fetch_table(connection, UNREAD, _UNREAD, (account.name,)).to_pylist()
    is_rolling = facts.change_feed is ChangeFeed.ROLLING_REREAD
    whole = {
        day
        for row in told
        for day in _days(Window(row["window_from"], row["window_until"]))
        if not is_rolling or row["observed_at"] >= _midnight(day + timedelta(days=1), account.zone)
    }
    return whole - {day for row in unread for day in _days(Window(row["window_from"], row["window_until"]))}


def _not_final_days(context: Context, account: PartnerAccount, facts: ConnectorFacts, day: date) -> set[date]:
    """Return the days, in the account's zone, that hold a sale whose newest version may still change."""
    if facts.change_feed is not ChangeFeed.ROLLING_REREAD:
        return set()
    query = """
        SELECT DISTINCT date_trunc('hour', occurred_at) AS occurred_at
        FROM (
            SELECT DISTINCT ON (transaction_id, line_id) occurred_at, status, partner_paid
            FROM ops.transaction_version
            WHERE partner_account = %s
            ORDER BY transaction_id, line_id, version_no DESC
        ) AS newest
        WHERE occurred_at >= %s AND status <> 'declined' AND NOT (status = 'approved' AND partner_paid)
        ORDER BY 1
    """
    oldest = day - timedelta(days=_number(account, "not_final_days_max", NOT_FINAL_DAYS_MAX))
    since = datetime.combine(oldest, time())
    with context.warehouse.transaction() as connection:
        rows = fetch_table(connection, query, _INSTANTS, (account.name, since)).to_pylist()
    zone = ZoneInfo(account.zone)
    utc = ZoneInfo("UTC")
    return {row["occurred_at"].replace(tzinfo=utc).astimezone(zone).date() for row in rows}


def _joined(windows: list[Window], days_max: int) -> list[Window]:
    """Return the same days in windows as long as the partner allows: one session for many files."""
    joined: list[Window] = []
    for window in windows:
        before = joined[-1] if joined else None
        if before and before.until_on == window.from_on and (window.until_on - before.from_on).days <= days_max:
            joined[-1] = Window(before.from_on, window.until_on)
        else:
            joined.append(window)
    return joined


def _midnight(day: date, zone: str) -> datetime:
    """Return the instant (naive UTC) at which a day begins on the clocks of a zone."""
    return datetime.combine(day, time(), ZoneInfo(zone)).astimezone(UTC).replace(tzinfo=None)


def _days(window: Window) -> list[date]:
    return [window.from_on + timedelta(days=number) for number in range((window.until_on - window.from_on).days)]
