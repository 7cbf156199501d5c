"""TradeTracker's server wants a session, speaks rpc/encoded SOAP, and pages."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import httpx
import pytest
from lxml import etree

from sandbox import credentials
from sandbox.model import TRADETRACKER, TRADETRACKER_SITE_IDS, Defect, World
from sandbox.servers import wsdl
from sandbox.servers.tradetracker import duration
from sandbox.truth import truth_owed
from sandbox.up import Sandbox
from tests.sandbox.places import LATER

XSI = "{http://www.w3.org/2001/XMLSchema-instance}"
ENVELOPE = (
    '<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/" xmlns:t="https://ws.tradetracker.com/soap/affiliate">'
    "<e:Body>{}</e:Body></e:Envelope>"
)


def post(client: httpx.Client, sandbox: Sandbox, body: str) -> httpx.Response:
    return client.post(str(sandbox.addresses["tradetracker"]["url"]), content=body.encode())


def call(client: httpx.Client, sandbox: Sandbox, operation: str, inside: str) -> httpx.Response:
    return post(client, sandbox, ENVELOPE.format(f"<t:{operation}>{inside}</t:{operation}>"))


def log_in(client: httpx.Client, sandbox: Sandbox, passphrase: str | None = None) -> httpx.Response:
    right = credentials.load(sandbox.directory).tradetracker_passphrase
    inside = f"<customerID>77001</customerID><passphrase>{passphrase or right}</passphrase><locale>en_GB</locale>"
    return call(client, sandbox, "authenticate", inside)


def transactions(client: httpx.Client, sandbox: Sandbox, site: str, **options: str) -> list[dict[str, str | None]]:
    inside = "".join(f"<{name}>{value}</{name}>" for name, value in options.items())
    answer = call(
        client, sandbox, "getConversionTransactions",
        f"<affiliateSiteID>{site}</affiliateSiteID><options>{inside}</options>",
    )  # fmt: skip
    assert answer.status_code == 200, answer.text
    items = etree.fromstring(answer.content).iter("item")
    return [
        {child.tag: None if child.get(f"{XSI}nil") == "true" else child.text or "" for child in item} for item in items
    ]


@pytest.fixture
def stranger() -> Iterator[httpx.Client]:
    with httpx.Client() as client:
        yield client


@pytest.fixture
def client(running: Sandbox) -> Iterator[httpx.Client]:
    with httpx.Client() as client:
        assert log_in(client, running).status_code == 200
        yield client


def everything(client: httpx.Client, sandbox: Sandbox) -> dict[str, dict[str, str | None]]:
    out = {}
    for site in TRADETRACKER_SITE_IDS:
        for record in transactions(client, sandbox, site, limit="500"):
            out[str(record["ID"])] = record
    return out


def test_without_a_session_there_is_a_fault(stranger: httpx.Client, running: Sandbox) -> None:
    answer = call(stranger, running, "getAffiliateSites", "<options/>")
    assert answer.status_code == 500
    fault = etree.fromstring(answer.content).find(".//faultstring")
    assert fault is not None and fault.text == "Not authenticated"


def test_a_made_up_session_is_none(stranger: httpx.Client, running: Sandbox) -> None:
    stranger.cookies.set("PHPSESSID", "0" * 32)
    assert call(stranger, running, "getAffiliateSites", "<options/>").status_code == 500


def test_a_wrong_passphrase_gets_no_session(stranger: httpx.Client, running: Sandbox) -> None:
    answer = log_in(stranger, running, "wrong")
    assert answer.status_code == 500
    assert "set-cookie" not in answer.headers


def test_logging_in_answers_with_nothing_but_a_cookie(stranger: httpx.Client, running: Sandbox) -> None:
    answer = log_in(stranger, running)
    assert answer.headers["set-cookie"].startswith("PHPSESSID=")
    response = etree.fromstring(answer.content).find(f".//{{{wsdl.NAMESPACE}}}authenticateResponse")
    assert response is not None and len(response) == 0


def test_the_customer_has_two_sites(client: httpx.Client, running: Sandbox) -> None:
    answer = call(client, running, "getAffiliateSites", "<options/>")
    sites = [element.findtext("ID") for element in etree.fromstring(answer.content).iter("item")]
    assert tuple(sites) == TRADETRACKER_SITE_IDS


def test_every_sale_that_has_not_vanished_is_told_by_one_site(
    client: httpx.Client, running: Sandbox, small: World
) -> None:
    vanished = {sale.original_transaction_id for sale in small.sales if Defect.VANISHED in sale.defects}
    expected = {row.transaction_id for row in small.rows if row.partner == TRADETRACKER} - vanished
    assert len(expected) > 80
    by_site = [
        {record["ID"] for record in transactions(client, running, site, limit="500")} for site in TRADETRACKER_SITE_IDS
    ]
    assert by_site[0] and by_site[1] and by_site[0].isdisjoint(by_site[1])
    assert by_site[0] | by_site[1] == expected


def test_elements_come_in_the_order_of_the_description(client: httpx.Client, running: Sandbox) -> None:
    order = [field.partition(" ")[0] for field in wsdl.RECORDS["ConversionTransaction"]]
    records = everything(client, running)
    assert len(records) > 80
    assert all(list(record) == order for record in records.values())


def test_pages_put_together_are_the_whole(client: httpx.Client, running: Sandbox) -> None:
    site = TRADETRACKER_SITE_IDS[0]
    whole = transactions(client, running, site, limit="500")
    pages: list[dict[str, str | None]] = []
    while page := transactions(client, running, site, limit="7", offset=str(len(pages))):
        assert len(page) <= 7
        pages += page
    assert pages == whole
    assert [record["registrationDate"] for record in whole] == sorted(
        str(record["registrationDate"]) for record in whole
    )


def test_the_window_includes_both_its_ends_and_reads_local_time(client: httpx.Client, running: Sandbox) -> None:
    site = TRADETRACKER_SITE_IDS[0]
    whole = transactions(client, running, site, limit="500")
    first, last = str(whole[3]["registrationDate"]), str(whole[9]["registrationDate"])
    assert first.endswith("+02:00")
    for start, end in ((first, last), (first[:19], last[:19])):
        options = {"registrationDateFrom": start, "registrationDateTo": end}
        assert transactions(client, running, site, **options) == whole[3:10]


def test_status_and_reason_belong_together(client: httpx.Client, running: Sandbox) -> None:
    records = everything(client, running).values()
    assert {record["transactionStatus"] for record in records} == {"pending", "accepted", "rejected"}
    for record in records:
        is_rejected = record["transactionStatus"] == "rejected"
        assert (record["rejectionReason"] is not None) == is_rejected
        if is_rejected:
            assert record["rejectionReason"] in wsdl.ENUMERATIONS["TransactionRejectionReason"]


def test_what_is_nillable_is_sometimes_nil(client: httpx.Client, running: Sandbox) -> None:
    records = everything(client, running).values()
    for name in ("description", "assessmentDate", "rejectionReason"):
        assert 0 < sum(record[name] is None for record in records) < len(records)


def test_commissions_agree_with_the_truth(client: httpx.Client, running: Sandbox, small: World) -> None:
    owed = {
        row["transaction_id"]: row for row in truth_owed(small, LATER).to_pylist() if row["partner"] == TRADETRACKER
    }
    for number, record in everything(client, running).items():
        expected = "0.0000" if record["transactionStatus"] == "rejected" else f"{record['commission']}00"
        assert str(owed[number]["net_commission"]) == expected


@pytest.mark.parametrize(
    ("span", "text"),
    [
        (timedelta(seconds=0), "PT0S"),
        (timedelta(seconds=1042), "PT17M22S"),
        (timedelta(days=1, hours=2, seconds=4), "P1DT2H4S"),
        (timedelta(days=30), "P30D"),
    ],
)
def test_durations_are_written_as_the_schema_wants(span: timedelta, text: str) -> None:
    assert duration(span) == text


@pytest.mark.parametrize(
    "body",
    [
        "no xml at all",
        "<html><body>hello</body></html>",
        '<!DOCTYPE a [<!ENTITY b "c">]>' + ENVELOPE.format("<t:authenticate/>"),
        ENVELOPE.format("<t:getPayments/>"),
    ],
)
def test_what_is_no_call_gets_a_fault(client: httpx.Client, running: Sandbox, body: str) -> None:
    answer = post(client, running, body)
    assert answer.status_code == 500
    assert etree.fromstring(answer.content).find(".//faultcode") is not None


def test_a_site_of_somebody_else_and_a_broken_date_are_faults(client: httpx.Client, running: Sandbox) -> None:
    for site, options in (
        ("1", ""),
        (TRADETRACKER_SITE_IDS[0], "<registrationDateFrom>yesterday</registrationDateFrom>"),
    ):
        inside = f"<affiliateSiteID>{site}</affiliateSiteID><options>{options}</options>"
        assert call(client, running, "getConversionTransactions", inside).status_code == 500


def test_the_description_names_the_address_it_was_asked_at(running: Sandbox) -> None:
    address = running.addresses["tradetracker"]
    tree = etree.fromstring(httpx.get(str(address["wsdl"])).content)
    location = tree.find(".//{http://schemas.xmlsoap.org/wsdl/soap/}address")
    assert location is not None and location.get("location") == address["url"]
