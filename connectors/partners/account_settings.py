"""What a connector reads of an account: secrets and addresses from its connection, the rest from its options."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from etl.core.connector import Credentials, Window
from etl.core.errors import Stop

if TYPE_CHECKING:
    from etl.core.configuration import PartnerAccount

NO_CLOCK = datetime(1970, 1, 1, tzinfo=UTC)
"""Given to the transport for its clock: an answer without a date of its own must not get one of ours."""


def secret(account: PartnerAccount, credentials: Credentials, name: str) -> str:
    """Return a value of the account's connection; Stop naming the connection if it is not there."""
    value = credentials.get(name)
    if not value:
        raise Stop(
            f"{account.name}: the connection {account.connection} has no {name}; enter it there "
            f"(docs/partners/{account.partner}.md says what it needs)."
        )
    return value


def setting(account: PartnerAccount, credentials: Credentials, name: str, default: str | None = None) -> str:
    """Return what the connection says under `name`, else the account's option, else `default`; Stop if none does."""
    value = credentials.get(name) or account.options.get(name, default)
    if value is None or isinstance(value, tuple) or value == "":
        raise Stop(
            f"{account.name}: {name} is not set; enter it under options in config/partners/"
            f"{account.name}.yaml or in the connection {account.connection}."
        )
    return str(value)


def whole_setting(
    account: PartnerAccount, credentials: Credentials, name: str, least: int, most: int, default: int | None = None
) -> int:
    """Return a setting that is a whole number from `least` to `most`; Stop if it is not."""
    text = setting(account, credentials, name, None if default is None else str(default))
    if not (text.isascii() and text.isdecimal() and len(text) <= 9 and least <= int(text) <= most):
        raise Stop(
            f"{account.name}: {name} is {text[:40]!r}, but must be a whole number from {least:,} to {most:,}; correct "
            f"it in config/partners/{account.name}.yaml or in the connection {account.connection}."
        )
    return int(text)


def several(account: PartnerAccount, name: str) -> tuple[str, ...]:
    """Return an option that lists values; Stop if it lists none, or one twice (its rows would come twice)."""
    value = account.options.get(name, ())
    values = value if isinstance(value, tuple) else (str(value),)
    if not values or any(not each for each in values):
        raise Stop(f"{account.name}: the option {name} lists nothing; enter it in config/partners/{account.name}.yaml.")
    if len(set(values)) != len(values):
        raise Stop(
            f"{account.name}: the option {name} lists one value twice ({', '.join(values)}); take one of them out of "
            f"config/partners/{account.name}.yaml."
        )
    return tuple(str(each) for each in values)


def observed(answered_at: datetime, what: str) -> datetime:
    """Return the clock of an answer as naive UTC; Stop if the partner gave none."""
    if answered_at == NO_CLOCK:
        raise Stop(f"{what} carries no Date header, so it is unknown when it was true; ask the partner.")
    return answered_at.astimezone(UTC).replace(tzinfo=None)


def split_window(window: Window, days_max: int) -> list[Window]:
    """Return consecutive windows of at most `days_max` days that together are `window`."""
    windows = []
    start = window.from_on
    while start < window.until_on:
        end = min(start + timedelta(days=days_max), window.until_on)
        windows.append(Window(start, end))
        start = end
    if not windows:
        raise Stop(f"the window {window} holds no day; give a later end.")
    return windows


def days_of(window: Window) -> list[date]:
    """Return the days of a window in order."""
    return [window.from_on + timedelta(days=number) for number in range((window.until_on - window.from_on).days)]
