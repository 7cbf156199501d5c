"""Promises of the SOAP client and the XML reader, against a small rpc/encoded service and hostile documents."""

import resource
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import SecretStr

from connectors.transport.http import HttpClient, HttpSettings
from connectors.transport.soap import SOAP_ENCODING, SoapClient, read_fault
from connectors.transport.xml import iterate_elements
from etl.core.errors import Retry, Stop
from tests.connectors.transport.web_server import Script, WebServer, answer, serving

PASSPHRASE = "hush-hush-passphrase"
NAMESPACE = "https://ws.example.test/soap/sales"

WSDL = f"""<?xml version="1.0" encoding="UTF-8"?>
<definitions name="Sales" targetNamespace="{NAMESPACE}" xmlns:tns="{NAMESPACE}"
    xmlns:soap="http://schemas.xmlsoap.org/wsdl/soap/" xmlns:SOAP-ENC="{SOAP_ENCODING}"
    xmlns:xsd="http://www.w3.org/2001/XMLSchema" xmlns:wsdl="http://schemas.xmlsoap.org/wsdl/"
    xmlns="http://schemas.xmlsoap.org/wsdl/">
<types>
  <xsd:schema elementFormDefault="qualified" targetNamespace="{NAMESPACE}">
    <xsd:import namespace="{SOAP_ENCODING}"/>
    <xsd:complexType name="Sales"><xsd:complexContent><xsd:restriction base="SOAP-ENC:Array">
      <xsd:attribute ref="SOAP-ENC:arrayType" wsdl:arrayType="tns:Sale[]"/>
    </xsd:restriction></xsd:complexContent></xsd:complexType>
    <xsd:complexType name="Sale"><xsd:sequence>
      <xsd:element name="ID" type="xsd:nonNegativeInteger"/>
      <xsd:element name="amount" type="xsd:decimal" nillable="true"/>
    </xsd:sequence></xsd:complexType>
    <xsd:complexType name="Filter"><xsd:sequence>
      <xsd:element name="limit" type="xsd:nonNegativeInteger" nillable="true"/>
      <xsd:element name="offset" type="xsd:nonNegativeInteger" nillable="true"/>
    </xsd:sequence></xsd:complexType>
  </xsd:schema>
</types>
<message name="authenticateRequest"><part name="customer" type="xsd:nonNegativeInteger"/>
  <part name="passphrase" type="xsd:string"/></message>
<message name="authenticateResponse"/>
<message name="getSalesRequest"><part name="site" type="xsd:nonNegativeInteger"/>
  <part name="options" type="tns:Filter"/></message>
<message name="getSalesResponse"><part name="sales" type="tns:Sales"/></message>
<portType name="Port">
  <operation name="authenticate"><input message="tns:authenticateRequest"/>
    <output message="tns:authenticateResponse"/></operation>
  <operation name="getSales"><input message="tns:getSalesRequest"/><output message="tns:getSalesResponse"/></operation>
</portType>
<binding name="Binding" type="tns:Port">
  <soap:binding style="rpc" transport="http://schemas.xmlsoap.org/soap/http"/>
  <operation name="authenticate"><soap:operation soapAction="{NAMESPACE}/authenticate"/>
    <input><soap:body use="encoded" namespace="{NAMESPACE}" encodingStyle="{SOAP_ENCODING}"/></input>
    <output><soap:body use="encoded" namespace="{NAMESPACE}" encodingStyle="{SOAP_ENCODING}"/></output></operation>
  <operation name="getSales"><soap:operation soapAction="{NAMESPACE}/getSales"/>
    <input><soap:body use="encoded" namespace="{NAMESPACE}" encodingStyle="{SOAP_ENCODING}"/></input>
    <output><soap:body use="encoded" namespace="{NAMESPACE}" encodingStyle="{SOAP_ENCODING}"/></output></operation>
</binding>
<service name="Sales"><port name="Port" binding="tns:Binding"><soap:address location="https://ws.example.test/soap"/>
</port></service>
</definitions>"""


def envelope(body: str) -> bytes:
    """Return a SOAP envelope around a body."""
    return (
        '<?xml version="1.0" encoding="UTF-8"?><SOAP-ENV:Envelope '
        f'xmlns:SOAP-ENV="http://schemas.xmlsoap.org/soap/envelope/"><SOAP-ENV:Body>{body}</SOAP-ENV:Body>'
        "</SOAP-ENV:Envelope>"
    ).encode()


def fault(text: str, code: str = "SOAP-ENV:Client") -> bytes:
    """Return a SOAP fault."""
    return envelope(f"<SOAP-ENV:Fault><faultcode>{code}</faultcode><faultstring>{text}</faultstring></SOAP-ENV:Fault>")


def xml(body: bytes, status: int = 200, **headers: str) -> Script:
    """Return a script that answers with XML."""
    return answer(body, status, **{"Content_Type": "text/xml; charset=utf-8", **headers})


SALES = envelope("<getSalesResponse><sales><item><ID>1</ID></item><item><ID>2</ID></item></sales></getSalesResponse>")


@contextmanager
def service(tmp_path: Path, *scripts: Script, wsdl: str = WSDL) -> Iterator[tuple[SoapClient, WebServer]]:
    """Yield a client of a scripted service, and the service."""
    path = tmp_path / "sales.wsdl"
    path.write_text(wsdl)
    with serving(*scripts) as server:
        settings = HttpSettings(
            base_url=f"{server.url}/soap",
            connection="sales_main",
            credential="passphrase",
            other_secrets=(SecretStr(PASSPHRASE),),
            attempts=2,
            wait_initial_seconds=0.0,
            bytes_max=5_000_000,
        )
        with HttpClient(settings, clock=lambda: datetime(2026, 3, 1, tzinfo=UTC)) as http:
            yield SoapClient(path, http), server


def test_a_call_is_written_as_the_wsdl_says_and_its_answer_comes_back_raw(tmp_path: Path) -> None:
    with service(tmp_path, xml(SALES, Date="Sun, 01 Mar 2026 09:14:00 GMT")) as (soap, server):
        got = soap.call("getSales", site=7, options={"limit": 100, "offset": 0})
    assert got.content == SALES
    assert got.answered_at == datetime(2026, 3, 1, 9, 14, tzinfo=UTC)
    sent = server.requests[0]
    assert (sent.method, sent.target) == ("POST", "/soap")
    assert sent.headers["soapaction"].strip('"') == f"{NAMESPACE}/getSales"
    assert [each.text for each in iterate_elements(sent.body, "{*}limit")] == ["100"]
    assert [each.text for each in iterate_elements(got.content, "ID")] == ["1", "2"]


def test_an_absent_filter_is_sent_as_nil(tmp_path: Path) -> None:
    with service(tmp_path, xml(SALES)) as (soap, server):
        soap.call("getSales", site=7, options={"limit": 100, "offset": None})
    nil = "{http://www.w3.org/2001/XMLSchema-instance}nil"
    assert [each.get(nil) for each in iterate_elements(server.requests[0].body, "{*}offset")] == ["true"]


def test_the_session_cookie_is_sent_back(tmp_path: Path) -> None:
    logged_in = xml(envelope("<authenticateResponse/>"), Set_Cookie="PHPSESSID=abc123; path=/")
    with service(tmp_path, logged_in, xml(SALES)) as (soap, server):
        soap.call("authenticate", customer=1, passphrase=PASSPHRASE)
        soap.call("getSales", site=7, options={})
    assert "cookie" not in server.requests[0].headers
    assert server.requests[1].headers["cookie"] == "PHPSESSID=abc123"


@pytest.mark.parametrize("status", [200, 500])
def test_a_fault_stops_with_its_text(tmp_path: Path, status: int) -> None:
    body = fault("Unknown affiliate site 7")
    with service(tmp_path, xml(body, status)) as (soap, _), pytest.raises(Stop, match=r"fault.*Unknown affiliate site"):
        soap.call("getSales", site=7, options={})


@pytest.mark.parametrize(
    "text", ["Session expired", "Not authenticated", "Invalid passphrase", "You are not logged in", "Access denied"]
)
def test_a_fault_about_the_session_names_the_credential_to_renew(tmp_path: Path, text: str) -> None:
    said = f"{text} ({PASSPHRASE})"
    with (
        service(tmp_path, xml(fault(said), 500)) as (soap, _),
        pytest.raises(Stop, match="renew the passphrase in the connection sales_main") as caught,
    ):
        soap.call("authenticate", customer=1, passphrase=PASSPHRASE)
    assert text in str(caught.value)
    assert PASSPHRASE not in "".join(traceback.format_exception(caught.value))


def test_a_login_page_is_no_envelope(tmp_path: Path) -> None:
    page = answer(b"<!doctype html><html>Log in</html>", Content_Type="text/html")
    with service(tmp_path, page) as (soap, _), pytest.raises(Stop, match="web page"):
        soap.call("getSales", site=7, options={})


def test_other_xml_is_no_envelope(tmp_path: Path) -> None:
    with service(tmp_path, xml(b"<status>busy</status>")) as (soap, _), pytest.raises(Stop, match="no SOAP envelope"):
        soap.call("getSales", site=7, options={})


def test_an_envelope_cut_off_is_fetched_again_and_a_broken_one_is_not(tmp_path: Path) -> None:
    with service(tmp_path, xml(SALES[:-40])) as (soap, _), pytest.raises(Retry, match="ends in the middle"):
        soap.call("getSales", site=7, options={})
    with service(tmp_path, xml(SALES, Content_Length="9999")) as (soap, _), pytest.raises(Retry, match="cut off"):
        soap.call("getSales", site=7, options={})
    broken = SALES.replace(b"</ID>", b"</id>", 1)
    with service(tmp_path, xml(broken)) as (soap, _), pytest.raises(Stop, match="not well-formed"):
        soap.call("getSales", site=7, options={})


def test_a_call_that_does_not_fit_the_wsdl_stops_without_showing_its_arguments(tmp_path: Path) -> None:
    with service(tmp_path, xml(SALES)) as (soap, server):
        for wrong in ({"client": PASSPHRASE}, {"customer": 1}, {"customer": 1, "passphrase": {"of": PASSPHRASE}}):
            with pytest.raises(Stop, match="does not fit the WSDL") as caught:
                soap.call("authenticate", **wrong)
            assert PASSPHRASE not in str(caught.value)
        with pytest.raises(Stop, match="no such operation"):
            soap.call("getClicks")
    assert not server.requests


def test_nothing_is_loaded_from_elsewhere(tmp_path: Path) -> None:
    with serving(xml(b"<x/>")) as other:
        for address in (f"{other.url}/evil.xsd", "/etc/passwd", "other.xsd"):
            place = f'<xsd:import namespace="urn:evil" schemaLocation="{address}"/>'
            wsdl = WSDL.replace('<xsd:complexType name="Sales">', place + '<xsd:complexType name="Sales">')
            with pytest.raises(Stop, match="No document is loaded from elsewhere"), service(tmp_path, wsdl=wsdl):
                pass
        assert not other.requests


def test_a_wsdl_with_a_document_type_is_refused(tmp_path: Path) -> None:
    wsdl = WSDL.replace("<definitions", '<!DOCTYPE definitions SYSTEM "x.dtd"><definitions', 1)
    with pytest.raises(Stop, match=r"sales\.wsdl cannot be used"), service(tmp_path, wsdl=wsdl):
        pass


def laughs(count: int = 11) -> bytes:
    """Return a document type whose last entity stands for ten to the count of words."""
    entities = "".join(f'<!ENTITY l{each} "{f"&l{each - 1};" * 10}">' for each in range(1, count))
    return f'<!DOCTYPE a [<!ENTITY l0 "lol">{entities}]>'.encode()


HOSTILE = {
    "billion laughs": laughs() + b"<a>&l10;</a>",
    "billion laughs in an attribute": laughs() + b"<a b='&l10;'/>",
    "quadratic": b'<!DOCTYPE a [<!ENTITY x "' + b"y" * 100_000 + b'">]><a>' + b"&x;" * 100_000 + b"</a>",
    "external entity": b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>',
    "parameter entity": b'<!DOCTYPE a [<!ENTITY % x SYSTEM "file:///etc/passwd">%x;]><a/>',
    "external document type": b'<!DOCTYPE a SYSTEM "http://127.0.0.1:9/x.dtd"><a/>',
    "harmless document type": b"<!DOCTYPE a><a/>",
    "document type in UTF-16": '<?xml version="1.0" encoding="utf-16"?><!DOCTYPE a><a/>'.encode("utf-16"),
    "too deep": b"<a>" * 100 + b"</a>" * 100,
    "far too deep": b"<a>" * 100_000,
    "endless text": b"<a>" + b"x" * 30_000_000 + b"</a>",
    "mismatch": b"<a><b></a></b>",
    "two roots": b"<a/><a/>",
    "no XML": b'{"error": "busy"}',
    "zeros": b"\0" * 100,
    "wrong encoding": b'<?xml version="1.0" encoding="utf-8"?><a>\xff</a>',
    "undefined entity": b"<a>&nbsp;</a>",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_xml_stops_and_costs_little(name: str, tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF)
    path = tmp_path / "hostile.xml"
    path.write_bytes(HOSTILE[name])
    for source in (HOSTILE[name], path):
        with pytest.raises(Stop) as caught:
            list(iterate_elements(source, "a"))
        assert "root:" not in str(caught.value)
        assert len(str(caught.value)) < 500
    after = resource.getrusage(resource.RUSAGE_SELF)
    assert after.ru_utime - before.ru_utime < 5
    assert after.ru_maxrss - before.ru_maxrss < 300 * 1024


@pytest.mark.parametrize("cut", range(1, 25))
def test_a_document_that_ends_early_is_a_broken_transfer_wherever_it_ends(cut: int) -> None:
    whole = '<r><a b="1">ü</a></r>'.encode()
    if cut < len(whole):
        with pytest.raises(Retry, match="ends in the middle"):
            list(iterate_elements(whole[:cut], "a"))
    else:
        assert len(list(iterate_elements(whole, "a"))) == 1


def test_a_document_over_the_limit_stops_before_it_is_parsed_whole(tmp_path: Path) -> None:
    with pytest.raises(Stop, match="larger than the limit of 1,000 bytes"):
        list(iterate_elements(b"<r>" + b"<a/>" * 1000 + b"</r>", "a", bytes_max=1000))


def test_a_large_document_is_read_in_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "large.xml"
    with path.open("wb") as file:
        file.write(b"<r>")
        for _ in range(200):
            file.write(b"<item><ID>1</ID><text>0123456789012345678901234567890123456789</text></item>" * 1000)
        file.write(b"</r>")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    total = sum(int(each.findtext("ID") or "0") for each in iterate_elements(path, "item"))
    assert total == 200_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20 * 1024


def test_a_fault_is_only_one_where_soap_puts_it() -> None:
    named = envelope("<r><item><faultcode>x</faultcode><Fault>y</Fault></item></r>")
    assert read_fault(named, what="x", bytes_max=10_000) is None
    found = read_fault(fault("a &amp; b"), what="x", bytes_max=10_000)
    assert found is not None
    assert (found.code, found.text) == ("SOAP-ENV:Client", "a & b")
