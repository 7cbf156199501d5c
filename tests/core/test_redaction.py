"""Promises about secrets: blanked where people or files would see them, and nothing else is."""

import json
import logging

import pytest
import structlog
from pydantic import SecretStr

from etl.core.redaction import (
    blank_secrets,
    has_secret_name,
    quieten_wire_logs,
    redact,
    redact_text,
    redact_url,
)

SECRET = SecretStr('pa ss/"w&rd<9')


@pytest.mark.parametrize(
    "name",
    [
        "token",
        "apiKey",
        "api-key",
        "accessToken",
        "access_token",
        "X-Api-Key",
        "password",
        "passphrase",
        "client_secret",
        "Authorization",
        "signature",
        "sessionId",
        "Set-Cookie",
        "private_key",
    ],
)
def test_a_secret_is_known_by_its_name(name: str) -> None:
    assert has_secret_name(name)
    assert redact_url(f"https://h/x?a=1&{name}=hush&b=2") == f"https://h/x?a=1&{name}=***&b=2"
    assert redact(None, "info", {"event": "x", name: "hush"})[name] == "***"


@pytest.mark.parametrize("name", ["startDate", "limit", "merchant", "click_ref", "author", "paid"])
def test_what_is_no_secret_stays_readable(name: str) -> None:
    assert redact_url(f"https://h/x?{name}=1") == f"https://h/x?{name}=1"
    assert redact(None, "info", {name: "1"}) == {name: "1"}


def test_the_key_of_a_run_is_no_secret_but_a_key_in_a_query_is() -> None:
    assert redact(None, "info", {"key": "awin/2026-03"}) == {"key": "awin/2026-03"}
    assert redact_url("https://h/?key=abc") == "https://h/?key=***"


def test_user_parts_and_bearer_tokens_are_blanked_anywhere_in_a_text() -> None:
    text = redact_text("GET https://me:hush@h/x failed; sent Authorization: Bearer abcdef123")
    assert text == "GET https://***@h/x failed; sent Authorization: Bearer ***"


def test_log_events_are_searched_to_the_bottom() -> None:
    seen = redact(
        None,
        "error",
        {
            "event": "call https://h/?token=hush",
            "held": SECRET,
            "nested": {"password": "hush", "list": ["https://h/?token=hush", 3]},
            "error": ValueError("https://u:hush@h/"),
            "raw": b"https://h/?apiKey=hush",
            "count": 3,
        },
    )
    assert "hush" not in repr(seen)
    assert seen["count"] == 3


def test_it_works_as_a_structlog_processor() -> None:
    lines: list[str] = []

    class Sink:
        def info(self, message: str) -> None:
            lines.append(message)

    log = structlog.wrap_logger(Sink(), processors=[redact, structlog.processors.JSONRenderer()])
    log.info("fetched", url="https://h/?accessToken=hush&page=2", passphrase="hush")
    assert json.loads(lines[0]) == {
        "event": "fetched",
        "url": "https://h/?accessToken=***&page=2",
        "passphrase": "***",
    }


@pytest.mark.parametrize(
    "echo",
    [
        'pa ss/"w&rd<9',
        "pa%20ss%2F%22w%26rd%3C9",
        "pa+ss%2F%22w%26rd%3C9",
        'pa ss/\\"w&rd<9',
        'pa ss\\/\\"w&rd<9',
        "pa ss/&quot;w&amp;rd&lt;9",
        'pa ss/"w&amp;rd&lt;9',
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16"])
def test_a_secret_that_is_echoed_is_blanked_in_any_spelling(echo: str, encoding: str) -> None:
    body, found = blank_secrets(f"before {echo} after".encode(encoding), [SECRET])
    assert found
    assert body.decode(encoding) == "before *** after"


def test_of_an_authorization_header_the_token_itself_is_blanked() -> None:
    assert blank_secrets(b'{"token":"abcdefg"}', [SecretStr("Bearer abcdefg")]) == (b'{"token":"***"}', True)


def test_bytes_without_a_secret_are_the_same_bytes() -> None:
    body = b"id,amount\n1234,12.34\n\xff"
    assert blank_secrets(body, [SecretStr("1234"), SecretStr("not there"), SecretStr("")]) == (body, False)


def test_third_party_loggers_cannot_be_made_to_print_headers(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    # Airflow raises httpx to WARNING in a process that imports it, as another test of this process may have done.
    caplog.set_level(logging.DEBUG, logger="httpx")
    quieten_wire_logs()
    quieten_wire_logs()
    logging.getLogger("httpcore.http11").debug("headers %s", "hush")
    logging.getLogger("botocore.endpoint").debug("headers %s", "hush")
    logging.getLogger("httpx").info("HTTP Request: %s", "https://h/?token=hush")
    assert "hush" not in caplog.text
    assert "HTTP Request" in caplog.text
    assert len(logging.getLogger("httpx").filters) == 1
