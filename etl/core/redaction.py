"""Keeping secrets out of logs, addresses, error texts and landed bytes.

A secret is known in two ways: by its *name* (a query parameter `accessToken`, a log key `password`) and by its *value*
(the credential a connection was opened with). Names catch what nobody declared; values catch what a partner echoes.
"""

import json
import logging
import re
from collections.abc import Iterable, Mapping
from urllib.parse import quote, quote_plus
from xml.sax.saxutils import escape

from pydantic import SecretBytes, SecretStr
from structlog.typing import EventDict, WrappedLogger

BLANK = "***"

SHORTEST_BLANKED = 6
"""Shorter secrets are not searched for in bodies: blanking every `1234` would destroy amounts and ids of a report."""
_SHORTEST_BLANKED_IN_TEXT = 3
"""In messages nothing is lost by blanking too much."""

_SECRET_PARTS = (
    "token", "apikey", "accesskey", "privatekey", "password", "passwd", "passphrase", "secret", "authorization",
    "signature", "credential", "sessionid", "cookie",
)  # fmt: skip
_SECRET_QUERY_NAMES = frozenset({"key", "auth", "sig", "pwd", "pass"})
_QUERY_VALUE = re.compile(r"([?&;])([^=&#;\s\"'<>]{1,100})=([^&#\s\"'<>]*)")
_USERINFO = re.compile(r"(?<=://)[^/?#@\s]*@")
_BEARER = re.compile(r"(?i)\b(bearer|basic)(\s+)[A-Za-z0-9._~+/=-]{6,}")
_NEVER_LOGGED_AT_DEBUG = ("httpcore", "botocore", "urllib3", "zeep", "hpack")


def has_secret_name(name: str, *, in_query: bool = False) -> bool:
    """Return whether a value of this name is to be blanked; `in_query` adds short names that elsewhere mean other
    things.
    """
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    return any(part in plain for part in _SECRET_PARTS) or (in_query and plain in _SECRET_QUERY_NAMES)


def redact_text(text: str, secrets: Iterable[SecretStr] = ()) -> str:
    """Return the text with known secrets, secret query values, user parts of addresses and bearer tokens blanked."""
    for spelling in _spellings(secrets, _SHORTEST_BLANKED_IN_TEXT):
        text = text.replace(spelling, BLANK)
    text = _USERINFO.sub(f"{BLANK}@", text)
    text = _QUERY_VALUE.sub(_blank_query_value, text)
    return _BEARER.sub(rf"\1\2{BLANK}", text)


def redact_url(url: str, secrets: Iterable[SecretStr] = ()) -> str:
    """Return the address as it may be shown to people: no credential in its user part, path or query."""
    return redact_text(url, secrets)


def blank_secrets(body: bytes, secrets: Iterable[SecretStr]) -> tuple[bytes, bool]:
    """Return the body with every spelling of the secrets blanked, and whether any was found.

    Used before landing: a partner that echoes our credential must not bring it into the lake. Spellings tried: as is,
    URL-encoded, JSON- and XML-escaped, each in UTF-8 and UTF-16. Secrets under `SHORTEST_BLANKED` characters are left.
    """
    found = False
    for spelling in _spellings(secrets, SHORTEST_BLANKED):
        for encoding in ("utf-8", "utf-16-le", "utf-16-be"):
            needle = spelling.encode(encoding)
            if needle in body:
                found = True
                body = body.replace(needle, BLANK.encode(encoding))
    return body, found


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Blank secrets in a log event: a structlog processor, to stand after exceptions were made text and before
    rendering.
    """
    return {key: _redacted(key, value) for key, value in event.items()}


def quieten_wire_logs() -> None:
    """Keep third-party loggers from printing addresses and headers with credentials, whatever level the root logger
    has.

    httpx logs each address at INFO: a filter redacts it. The layers below write headers and bodies at DEBUG: they are
    raised to INFO or above. Calling it again changes nothing.
    """
    httpx_logger = logging.getLogger("httpx")
    if not any(isinstance(each, _RedactRecord) for each in httpx_logger.filters):
        httpx_logger.addFilter(_RedactRecord())
    for name in _NEVER_LOGGED_AT_DEBUG:
        logger = logging.getLogger(name)
        if logger.level < logging.INFO:
            logger.setLevel(logging.INFO)


class _RedactRecord(logging.Filter):
    """Rewrites a log record's text with its secrets blanked."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg = redact_text(record.getMessage())
        record.args = None
        return True


def _blank_query_value(found: re.Match[str]) -> str:
    mark, name, value = found.groups()
    return f"{mark}{name}={BLANK if has_secret_name(name, in_query=True) else value}"


def _spellings(secrets: Iterable[SecretStr], shortest: int) -> list[str]:
    """Return every way the secrets may be written, longest first, so that none leaves a piece of another behind."""
    spellings: set[str] = set()
    for secret in secrets:
        value = secret.get_secret_value()
        # "Bearer abc" is sent whole, but it is `abc` that gets echoed.
        for plain in {value, value.rpartition(" ")[2], value.strip()}:
            if len(plain) >= shortest:
                in_json = json.dumps(plain)[1:-1]
                spellings |= {plain, quote(plain, safe=""), quote_plus(plain), in_json, in_json.replace("/", "\\/")}
                spellings |= {escape(plain), escape(plain, {'"': "&quot;", "'": "&apos;"})}
    return sorted(spellings, key=lambda spelling: (-len(spelling), spelling))


def _redacted(key: str, value: object) -> object:
    if isinstance(value, SecretStr | SecretBytes) or has_secret_name(key):
        return BLANK
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, bytes):
        return redact_text(value.decode("utf-8", "replace"))
    if isinstance(value, BaseException):
        return redact_text(f"{type(value).__name__}: {value}")
    if isinstance(value, Mapping):
        return {name: _redacted(str(name), inner) for name, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_redacted("", inner) for inner in value]
    return value
