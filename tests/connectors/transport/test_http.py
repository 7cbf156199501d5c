"""Promises of the HTTP client, kept against a server that misbehaves on the wire."""

import gzip
import logging
import random
import resource
import socket
import threading
import traceback
import zlib
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, BinaryIO

import pytest
from pydantic import SecretStr

from connectors.transport.answer import Expects, retry_after_seconds
from connectors.transport.http import HttpClient, HttpSettings
from etl.core.errors import Retry, Stop
from tests.connectors.transport.web_server import Request, WebServer, answer, serving

QUERY_SECRET = "q-secret-9"
TOKEN = "s3cr3t-Token/with+signs"
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def client(server: WebServer, **changes: Any) -> HttpClient:
    """Return a client of the server that carries the token and waits for nothing."""
    wanted: dict[str, Any] = {
        "base_url": server.url,
        "connection": "awin_main",
        "authorization": SecretStr(f"Bearer {TOKEN}"),
        "attempts": 3,
        "wait_initial_seconds": 0.0,
        "read_seconds": 5.0,
        **changes,
    }
    return HttpClient(HttpSettings(**wanted), clock=lambda: NOW)


def test_an_answer_carries_its_bytes_and_the_instant_the_partner_gives_it() -> None:
    with serving(answer(b'[{"id": 1}]', Date="Sun, 01 Mar 2026 09:14:00 GMT")) as server, client(server) as http:
        got = http.get("/publishers/1/transactions/", {"startDate": "2026-03-01T00:00:00", "limit": 5})
    assert got.content == b'[{"id": 1}]'
    assert got.answered_at == datetime(2026, 3, 1, 9, 14, tzinfo=UTC)
    assert (got.status, got.content_type) == (200, "application/json")
    assert server.requests[0].headers["authorization"] == f"Bearer {TOKEN}"
    assert server.requests[0].target == "/publishers/1/transactions/?startDate=2026-03-01T00%3A00%3A00&limit=5"


@pytest.mark.parametrize("date", [None, "yesterday", ""])
def test_without_a_date_of_the_partner_the_clock_given_counts(date: str | None) -> None:
    headers = {} if date is None else {"Date": date}
    with serving(answer(**headers)) as server, client(server) as http:
        assert http.get("/").answered_at == NOW


def test_a_path_is_below_the_base_url_whatever_its_slashes() -> None:
    with serving(answer()) as server, client(server, base_url=f"{server.url}/v1/") as http:
        http.get("/a?b=1")
        http.get("a", {"b": "2"})
    assert [each.target for each in server.requests] == ["/v1/a?b=1", "/v1/a?b=2"]


@pytest.mark.parametrize("status", [408, 429, 502, 503, 504])
def test_what_may_pass_is_asked_again_and_then_left_to_the_scheduler(status: int) -> None:
    with serving(answer(status=status), answer(b"[1]")) as server, client(server) as http:
        assert http.get("/").content == b"[1]"
    with serving(answer(status=status)) as server, client(server) as http:
        with pytest.raises(Retry, match=f"HTTP {status}"):
            http.get("/")
        assert len(server.requests) == 3


def test_a_short_retry_after_is_waited_for_here() -> None:
    with serving(answer(status=429, Retry_After="1"), answer(b"[1]")) as server, client(server) as http:
        assert http.get("/").content == b"[1]"


def test_a_long_retry_after_is_not_waited_for_but_told() -> None:
    with serving(answer(status=429, Retry_After="3600")) as server, client(server) as http:
        with pytest.raises(Retry) as caught:
            http.get("/")
        assert caught.value.after_seconds == 3600
        assert len(server.requests) == 1


def test_a_retry_after_may_be_a_date_on_the_partners_clock() -> None:
    partner_now = datetime(2020, 1, 1, tzinfo=UTC)
    until = format_datetime(partner_now + timedelta(minutes=10), usegmt=True)
    script = answer(status=503, Retry_After=until, Date=format_datetime(partner_now, usegmt=True))
    with serving(script) as server, client(server) as http, pytest.raises(Retry) as caught:
        http.get("/")
    assert caught.value.after_seconds == 600


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_token_names_the_connection_to_renew(status: int) -> None:
    with serving(answer(b'{"error":"unauthorized"}', status=status)) as server, client(server) as http:
        with pytest.raises(Stop, match=r"token refused or expired.*renew the token in the connection awin_main"):
            http.get("/")
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    "page",
    [
        b"<!DOCTYPE html><html><body>Please log in</body></html>",
        b"\xef\xbb\xbf\n <HTML lang=en>",
        b'<?xml version="1.0"?><!-- x --><html xmlns="http://www.w3.org/1999/xhtml"/>',
    ],
)
@pytest.mark.parametrize("expects", [Expects.JSON, Expects.XML, Expects.CSV])
@pytest.mark.parametrize("content_type", ["text/html; charset=utf-8", "application/json"])
def test_a_login_page_with_status_200_is_no_data(page: bytes, expects: Expects, content_type: str) -> None:
    with (
        serving(answer(page, Content_Type=content_type)) as server,
        client(server) as http,
        pytest.raises(Stop, match=rf"web page came where {expects} was expected.*login or maintenance"),
    ):
        http.get("/", expects=expects)


def test_csv_labelled_as_a_web_page_is_still_csv() -> None:
    with serving(answer(b"id,amount\n1,2\n", Content_Type="text/html")) as server, client(server) as http:
        assert http.get("/", expects=Expects.CSV).content == b"id,amount\n1,2\n"


@pytest.mark.parametrize("body", [b"", b"Service busy", b"1e999990"])
def test_what_is_no_json_at_all_stops(body: bytes) -> None:
    with serving(answer(body)) as server, client(server) as http, pytest.raises(Stop, match="JSON was expected"):
        http.get("/")


def test_json_that_ends_in_the_middle_is_asked_for_again_later() -> None:
    with (
        serving(answer(b'[{"id": 1}, {"id"')) as server,
        client(server) as http,
        pytest.raises(Retry, match="ends in the middle"),
    ):
        http.get("/")


def test_a_body_shorter_than_its_content_length_is_never_an_answer() -> None:
    with serving(answer(b"[1]", Content_Length="900")) as server, client(server) as http:
        with pytest.raises(Retry, match="cut off"):
            http.get("/")
        assert len(server.requests) == 3


def test_an_answer_over_the_limit_is_refused_before_it_is_read() -> None:
    with (
        serving(answer(b"[]", Content_Length="2000000000")) as server,
        client(server) as http,
        pytest.raises(Stop, match="larger than the limit"),
    ):
        http.get("/")


def endless(sent: list[int]) -> Any:
    """Return a script that streams one line for as long as anybody listens, up to 2 GB, and counts what it sent."""

    def script(_request: Request, out: BinaryIO) -> None:
        out.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n[")
        for _ in range(2 * 1024 * 16):
            out.write(b"x" * 65536)
            sent.append(65536)

    return script


def test_a_line_of_two_gigabytes_is_given_up_at_the_limit() -> None:
    sent: list[int] = []
    with (
        serving(endless(sent)) as server,
        client(server, bytes_max=1_000_000) as http,
        pytest.raises(Stop, match="limit of 1,000,000 bytes"),
    ):
        http.get("/")
    assert sum(sent) < 50_000_000


def test_a_compression_bomb_is_given_up_at_the_limit() -> None:
    packer = zlib.compressobj(wbits=31)
    bomb = packer.compress(b"[" + b" " * 80_000_000) + packer.flush()
    with (
        serving(answer(bomb, Content_Encoding="gzip")) as server,
        client(server, bytes_max=1_000_000) as http,
        pytest.raises(Stop, match="limit of 1,000,000 bytes"),
    ):
        http.get("/")


def test_an_answer_that_trickles_is_given_up_in_the_end() -> None:
    def trickle(_request: Request, out: BinaryIO) -> None:
        out.write(b"HTTP/1.1 200 OK\r\n\r\n[")
        for _ in range(40):
            out.write(b" ")
            out.flush()
            stop.wait(0.05)

    stop = threading.Event()
    with serving(trickle) as server, client(server, answer_seconds_max=0.2, attempts=1) as http:
        with pytest.raises(Retry, match="did not answer in time"):
            http.get("/")
        stop.set()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_to_another_host_is_refused_and_the_token_stays(status: int) -> None:
    with serving(answer()) as other:
        script = answer(status=status, Location=f"{other.url}/take?accessToken=abcdefgh")
        with (
            serving(script) as server,
            client(server) as http,
            pytest.raises(Stop, match="not sent to another host") as caught,
        ):
            http.get("/")
        assert not other.requests
        assert "abcdefgh" not in str(caught.value)


def test_a_next_page_on_another_host_is_refused() -> None:
    with serving(answer()) as other, serving(answer()) as server, client(server) as http:
        http.get(f"{server.url}/page/2")
        for address in (f"{other.url}/page/2", "//evil.example/x", f"http://127.0.0.1:{server.port}@evil.example/"):
            with pytest.raises(Stop, match="not sent to another host"):
                http.get(address)
        assert not other.requests


def test_a_redirect_on_the_same_host_is_followed_but_not_for_ever() -> None:
    with serving(answer(status=302, Location="/there"), answer(b"[1]")) as server, client(server) as http:
        assert http.get("/here").content == b"[1]"
    with (
        serving(answer(status=302, Location="/there")) as server,
        client(server) as http,
        pytest.raises(Stop, match="redirects more than"),
    ):
        http.get("/here")


def test_a_bad_question_stops_with_what_the_partner_said() -> None:
    with (
        serving(answer(b'{"description": "31 days at most"}', status=400)) as server,
        client(server) as http,
        pytest.raises(Stop, match=r"HTTP 400.*31 days at most"),
    ):
        http.get("/")


def test_another_server_error_is_not_hammered() -> None:
    with serving(answer(b"boom", status=500)) as server, client(server) as http:
        with pytest.raises(Retry, match="HTTP 500"):
            http.get("/")
        assert len(server.requests) == 1


def test_a_server_that_is_not_there_is_tried_again_later() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        http = client(WebServer(port=int(probe.getsockname()[1])))
        with http, pytest.raises(Retry, match="cannot be reached"):
            http.get("/")


def test_an_order_whose_outcome_is_unknown_is_never_sent_twice() -> None:
    with serving(answer(b"{", Content_Length="9")) as server, client(server) as http:
        with pytest.raises(Stop, match="unknown whether"):
            http.post("/payouts", b"{}", content_type="application/json", repeatable=False)
        assert len(server.requests) == 1
    with serving(answer(status=502)) as server, client(server) as http:
        with pytest.raises(Stop, match="HTTP 502"):
            http.post("/payouts", b"{}", content_type="application/json", repeatable=False)
        assert len(server.requests) == 1


def test_an_order_that_was_refused_unheard_may_be_sent_again() -> None:
    with serving(answer(status=429), answer(b"{}")) as server, client(server) as http:
        http.post("/payouts", b"{}", content_type="application/json", repeatable=False)
        assert len(server.requests) == 2


def test_the_token_is_never_in_a_message_a_repr_a_traceback_or_a_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    # Airflow raises httpx to WARNING in a process that imports it, as another test of this process may have done.
    caplog.set_level(logging.DEBUG, logger="httpx")
    echoing = answer(f'{{"error": "bad token {TOKEN}", "hidden": "q-secret-9"}}'.encode(), status=400)
    for script in (
        echoing,
        answer(status=401),
        answer(status=503),
        answer(b"[1]", Content_Length="9"),
        answer(b"<html>"),
    ):
        with serving(script) as server, client(server) as http:
            with pytest.raises((Stop, Retry)) as caught:
                http.get("/x", {"accessToken": SecretStr(QUERY_SECRET), "id": 7})
            shown = "".join(traceback.format_exception(caught.value)) + repr(http) + repr(http.settings)
            assert TOKEN not in shown
            assert QUERY_SECRET not in shown
            assert "id=7" in str(caught.value) or "web page" in str(caught.value)
            assert "accessToken=q-secret-9" in server.requests[0].target
    assert TOKEN not in caplog.text
    assert QUERY_SECRET not in caplog.text
    assert "HTTP Request" in caplog.text, "httpx logs addresses: if it no longer does, this test proves nothing"


def test_a_token_is_not_sent_unencrypted_nor_with_a_line_break() -> None:
    for changes in ({"base_url": "http://api.example.com"}, {"authorization": SecretStr("Bearer abc\nX: y")}):
        wanted: dict[str, Any] = {"base_url": "https://api.example.com", "connection": "c", **changes}
        with pytest.raises(Stop) as caught:
            HttpClient(HttpSettings(**wanted), clock=lambda: NOW)
        assert "abc" not in str(caught.value)


def test_the_environment_cannot_replace_the_token_or_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with serving(answer()) as server, client(server) as http:
        http.get("/")
        assert server.requests[0].headers["authorization"] == f"Bearer {TOKEN}"


def packed(*members: bytes) -> bytes:
    return b"".join(gzip.compress(each) for each in members)


def test_a_packed_answer_is_unpacked_to_its_end_whatever_its_members() -> None:
    script = answer(packed(b"[" + b"1," * 3_000_000, b"1]"), Content_Encoding="gzip")
    with serving(script) as server, client(server) as http:
        assert http.get("/").content == b"[" + b"1," * 3_000_000 + b"1]"


@pytest.mark.parametrize("missing", [1, 8, 9, 200])
def test_a_packed_answer_that_was_cut_is_no_answer_even_if_what_came_looks_whole(missing: int) -> None:
    body = packed(b"[" + random.Random(1).randbytes(4_000).hex().encode() + b"]")[:-missing]
    with (
        serving(answer(body, Content_Encoding="gzip")) as server,
        client(server) as http,
        pytest.raises(Retry, match="cut off"),
    ):
        http.get("/", expects=Expects.ANY)


@pytest.fixture(scope="module")
def bomb() -> bytes:
    return gzip.compress(gzip.compress(bytes(100_000_000), 1), 1)


@pytest.mark.parametrize("status", [200, 400, 500])
@pytest.mark.parametrize("encoding", ["gzip, gzip", "deflate"])
def test_a_compression_nobody_asked_for_is_not_unpacked(encoding: str, status: int, bomb: bytes) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    told = "encoded as" if status == 200 else f"HTTP {status}"
    with (
        serving(answer(bomb, status, Content_Encoding=encoding)) as server,
        client(server) as http,
        pytest.raises((Stop, Retry), match=told),
    ):
        http.get("/")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 * 1024


def test_a_bomb_is_given_up_at_the_limit() -> None:
    script = answer(gzip.compress(bytes(50_000_000), 1), Content_Encoding="gzip")
    with serving(script) as server, client(server, bytes_max=1_000_000) as http, pytest.raises(Stop, match="larger"):
        http.get("/")


@pytest.mark.parametrize("date", ["Fri, 31 Dec 9999 23:59:59 -1200", "Sun, 99 Foo 2026 00:00:00 GMT", "0", "x" * 9_000])
def test_a_date_that_is_none_is_no_date(date: str) -> None:
    with serving(answer(Date=date)) as server, client(server) as http:
        assert http.get("/").answered_at == NOW


@pytest.mark.parametrize(
    ("retry_after", "date", "seconds"),
    [
        ("99999999999", None, 86_400),
        ("Fri, 31 Dec 2027 23:59:59 GMT", None, None),
        ("Fri, 31 Dec 9999 23:59:59 -1200", "Sun, 01 Mar 2026 09:14:00 GMT", None),
        ("Fri, 31 Dec 2027 23:59:59 GMT", "Sun, 01 Mar 2026 09:14:00 GMT", 86_400),
        ("Sun, 01 Mar 2026 09:13:00 GMT", "Sun, 01 Mar 2026 09:14:00 GMT", 0),
        ("-5", None, None), ("1.5", None, None), ("soon", None, None), ("", None, None),
    ],
)  # fmt: skip
def test_no_partner_makes_us_wait_for_years(retry_after: str, date: str | None, seconds: int | None) -> None:
    assert retry_after_seconds(retry_after, date) == seconds


def test_a_redirect_that_leads_nowhere_stops() -> None:
    with serving(answer(status=302)) as server, client(server) as http, pytest.raises(Stop, match="HTTP 302"):
        http.get("/")
