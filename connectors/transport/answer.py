"""What a partner answered, when, and whether it is the kind of thing that was asked for."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum

from etl.core.errors import Retry, Stop

_HTML = re.compile(rb"<\s*(?:!doctype\s+html|html[\s>/])", re.IGNORECASE)
_HTML_TYPES = ("text/html", "application/xhtml+xml")
_LOOK_AHEAD_BYTES = 2048
RETRY_AFTER_SECONDS_MAX = 86_400
"""Whoever says later is asked again after a day all the same."""


class Expects(StrEnum):
    """The kind of body a call is answered with."""

    JSON = "JSON"
    XML = "XML"
    CSV = "CSV"
    ANY = "ANY"


@dataclass(frozen=True, slots=True)
class Answer:
    """The whole body of one answer, the instant (UTC) the other side says it was made, and where it came from,
    redacted.
    """

    content: bytes
    answered_at: datetime
    status: int
    content_type: str
    url_redacted: str


def instant_of(date_header: str | None, fallback: datetime) -> datetime:
    """Return the instant of a Date header in UTC, or the fallback where there is none or it is no HTTP date."""
    instant = _http_date(date_header)
    return fallback.astimezone(UTC) if instant is None else instant


def retry_after_seconds(header: str | None, date_header: str | None) -> int | None:
    """Return the seconds a Retry-After header asks to wait, from 0 to a day, None if it says nothing that can be used.

    It says digits, or an HTTP date: that is counted from the Date of the same answer, by the partner's own clock, and
    means nothing without one.
    """
    text = (header or "").strip()
    if text.isascii() and text.isdigit():
        return min(int(text[:9]), RETRY_AFTER_SECONDS_MAX)
    until, told_at = _http_date(text), _http_date(date_header)
    if until is None or told_at is None:
        return None
    return min(max(0, round((until - told_at).total_seconds())), RETRY_AFTER_SECONDS_MAX)


def _http_date(text: str | None) -> datetime | None:
    if not text:
        return None
    try:
        instant = parsedate_to_datetime(text)
        return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def check_kind(answer: Answer, expects: Expects, who: str) -> None:
    """Raise Stop if a page for people came where data was expected, Retry if JSON was cut off in the middle."""
    if expects is Expects.ANY:
        return
    if is_html(answer.content, answer.content_type):
        raise Stop(
            f"{who}: a web page came where {expects} was expected (HTTP {answer.status} from {answer.url_redacted}): "
            "most likely a login or maintenance page. Open the address, and check the credential and the partner's "
            "status."
        )
    if expects is not Expects.JSON:
        return
    body = answer.content.removeprefix(b"\xef\xbb\xbf").strip()
    if not body or body[:1] not in b"[{":
        raise Stop(
            f"{who}: JSON was expected from {answer.url_redacted}, but the answer "
            f"({answer.content_type or 'no content type'}, "
            f"{len(answer.content)} bytes) is not a JSON object or array. Check the address and the partner's "
            "documentation."
        )
    if body[-1:] not in b"]}":
        raise Retry(
            f"{who}: the JSON from {answer.url_redacted} ends in the middle, after {len(answer.content)} bytes; "
            f"the transfer was cut off. Fetch the window again."
        )


def is_html(content: bytes, content_type: str) -> bool:
    """Return whether a body is a web page, by how it begins (XHTML begins as XML does).

    The content type alone proves nothing: some servers label CSV and JSON as text/html.
    """
    beginning = content[:_LOOK_AHEAD_BYTES].removeprefix(b"\xef\xbb\xbf").lstrip()
    if beginning.startswith(b"<") and content_type.split(";")[0].strip().lower() in _HTML_TYPES:
        return True
    if beginning.startswith(b"<?xml"):
        beginning = beginning[beginning.find(b">") + 1 :].lstrip()
    while beginning.startswith(b"<!--"):
        end = beginning.find(b"-->")
        if end < 0:
            return False
        beginning = beginning[end + 3 :].lstrip()
    return _HTML.match(beginning) is not None
