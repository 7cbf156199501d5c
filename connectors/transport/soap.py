"""SOAP calls: zeep knows the contract and writes the messages, our HTTP client sends them, the raw answer comes back.

Turning 100,000 rows into Python objects takes zeep ten seconds and 350 MB; reading the same bytes with
`iterate_elements` takes a twentieth of that, and the bytes are what is landed. So zeep's reply parser is never used.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zeep
import zeep.exceptions
import zeep.wsdl.bindings
from lxml import etree

from connectors.transport.answer import Answer, Expects
from connectors.transport.http import HttpClient
from connectors.transport.xml import iterate_elements
from etl.core.errors import Stop
from etl.core.redaction import redact_text

SOAP_ENCODING = "http://schemas.xmlsoap.org/soap/encoding/"
_ENVELOPE = "{http://schemas.xmlsoap.org/soap/envelope/}"
_ENCODING_SCHEMA = Path(__file__).with_name("soap_encoding.xsd")
_FAULT_TEXT_CHARACTERS = 400
_ABOUT_CREDENTIALS = re.compile(
    r"(?i)session|authenticat|authori[sz]|log[ -]?(?:ged )?in\b"
    r"|credential|pass(?:phrase|word)|token|access denied|expired"
)

# zeep declares no types: here is the one place where that is let in.
_client: Any = zeep.Client


class SoapClient:
    """Calls to one SOAP service: its WSDL is a file of ours, its endpoint and credentials are those of the HTTP client.

    The session cookie that a service sets lives in the HTTP client.
    """

    def __init__(self, wsdl: Path, http: HttpClient) -> None:
        settings = zeep.Settings(strict=True, forbid_dtd=True, raw_response=True)
        try:
            client: Any = _client(str(wsdl), transport=_Wire(wsdl, http), settings=settings)
        except (zeep.exceptions.Error, etree.XMLSyntaxError, OSError) as error:
            raise Stop(f"{http.settings.connection}: the WSDL {wsdl.name} cannot be used: {error}.") from error
        kind = zeep.wsdl.bindings.Soap11Binding
        bindings = [each for each in client.wsdl.bindings.values() if isinstance(each, kind)]
        if len(bindings) != 1:
            raise Stop(
                f"{http.settings.connection}: the WSDL {wsdl.name} has {len(bindings)} SOAP 1.1 bindings, one is "
                "expected; "
                f"reduce it to the one in use."
            )
        self._http = http
        self._service = client.create_service(bindings[0].name, http.settings.base_url)

    def call(self, operation: str, **arguments: Any) -> Answer:
        """Return the raw answer of an operation, once it is known to be one whole SOAP envelope without a fault.

        Arguments are what the WSDL asks for; a complex one is a dict of its elements. Raises Stop for a fault, and
        names a refused session or credential so; else as `HttpClient.post` and `iterate_elements`.
        """
        who = f"{self._http.settings.connection}, {operation}"
        try:
            answer: Answer = getattr(self._service, operation)(**arguments)
        except AttributeError as error:
            raise Stop(f"{who}: the WSDL has no such operation ({error}).") from error
        except (zeep.exceptions.Error, TypeError, ValueError) as error:
            text = redact_text(str(error), self._http.secrets)
            raise Stop(f"{who}: the call does not fit the WSDL: {text}.") from None
        what = f"{who}: the answer of {answer.url_redacted}"
        fault = read_fault(answer.content, what=what, bytes_max=self._http.settings.bytes_max)
        if fault is not None:
            raise self._refusal(who, fault)
        if answer.status != 200:
            raise Stop(f"{what} has status {answer.status} but no fault; ask the partner.")
        return answer

    def _refusal(self, who: str, fault: "Fault") -> Stop:
        shown = f"{fault.code}: {fault.text}"
        shown = redact_text("".join(each if each.isprintable() else " " for each in shown), self._http.secrets)
        shown = shown[:_FAULT_TEXT_CHARACTERS]
        if _ABOUT_CREDENTIALS.search(f"{fault.code} {fault.text}"):
            settings = self._http.settings
            return Stop(
                f"{who}: session or {settings.credential} refused or expired ({shown}): renew the "
                f"{settings.credential} in the "
                f"connection {settings.connection}."
            )
        return Stop(f"{who}: the service answered with a fault ({shown}). Check what was asked for against its WSDL.")


@dataclass(frozen=True, slots=True)
class Fault:
    """What a service says went wrong, in its words."""

    code: str
    text: str


def read_fault(content: bytes, *, what: str, bytes_max: int) -> Fault | None:
    """Return the fault of a SOAP 1.1 envelope, None where there is none; reads the document to its end.

    Raises Stop where the document is no envelope with a body, and as `iterate_elements`.
    """
    code = text = ""
    has_fault = has_body = False
    # Every element, though few are looked at: what is yielded is freed, and a body kept whole takes fifteen times its
    # size.
    for element in iterate_elements(content, "{*}*", bytes_max=bytes_max, what=what):
        parent = element.getparent()
        outer = None if parent is None else parent.tag
        if outer == f"{_ENVELOPE}Fault" and element.tag in ("faultcode", "faultstring"):
            if element.tag == "faultcode":
                code = element.text or ""
            else:
                text = element.text or ""
        elif outer == f"{_ENVELOPE}Body" and element.tag == f"{_ENVELOPE}Fault":
            has_fault = True
        elif outer == f"{_ENVELOPE}Envelope" and element.tag == f"{_ENVELOPE}Body":
            has_body = True
    if not has_body:
        raise Stop(f"{what} is XML but no SOAP envelope; check the address, and the partner's documentation.")
    return Fault(code or "no code", text or "no text") if has_fault else None


class _Wire:
    """What zeep sends and loads through: our HTTP client, and no document but the WSDL and our encoding schema."""

    def __init__(self, wsdl: Path, http: HttpClient) -> None:
        # Not a zeep Transport: that opens a requests session of its own, with the environment's proxies and .netrc.
        self._wsdl = wsdl
        self._http = http

    def load(self, url: str) -> bytes:
        if url.rstrip("/") == SOAP_ENCODING.rstrip("/"):
            return _ENCODING_SCHEMA.read_bytes()
        if Path(url) == self._wsdl:
            return self._wsdl.read_bytes()
        raise Stop(
            f"{self._http.settings.connection}: the WSDL {self._wsdl.name} refers to {url}. No document is loaded "
            "from elsewhere: "
            f"put what is needed of it into the WSDL."
        )

    def post(self, _address: str, message: bytes, headers: dict[str, str]) -> Answer:
        rest = {name: value for name, value in headers.items() if name.lower() != "content-type"}
        # A fault comes with status 500 in SOAP 1.1, so that one is for us to read. All calls made here are questions.
        return self._http.post(
            "",
            message,
            content_type=headers.get("Content-Type", "text/xml; charset=utf-8"),
            repeatable=True,
            expects=Expects.XML,
            headers=rest,
            accepted=(200, 500),
        )

    def post_xml(self, address: str, envelope: "etree._Element", headers: dict[str, str]) -> Answer:
        message = etree.tostring(envelope, xml_declaration=True, encoding="utf-8")
        return self.post(address, message, headers)
