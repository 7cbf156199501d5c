"""SOAP 1.1 rpc/encoded by hand: read a call, write an answer or a fault, every value with its type beside it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lxml import etree

from sandbox.servers import wsdl

ENVELOPE = "http://schemas.xmlsoap.org/soap/envelope/"
_ENCODING = "http://schemas.xmlsoap.org/soap/encoding/"
_XSI = "http://www.w3.org/2001/XMLSchema-instance"
_PREFIXES = {
    "SOAP-ENV": ENVELOPE,
    "ns1": wsdl.NAMESPACE,
    "xsd": "http://www.w3.org/2001/XMLSchema",
    "xsi": _XSI,
    "SOAP-ENC": _ENCODING,
}
_DEPTH_MAX = 8

Record = dict[str, "str | Record | None"]


class NotSoap(Exception):
    """A body that is no SOAP call."""


@dataclass(frozen=True, slots=True)
class Call:
    """An operation with its parts: plain values by name, and those of the one nested part, `options`."""

    operation: str
    values: dict[str, str]
    options: dict[str, str]


def parsed(body: bytes) -> Call:
    """Return the call of a request body; nil and absent values are left out. NotSoap if it is none."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        root = etree.fromstring(body, parser)
    except etree.XMLSyntaxError as error:
        raise NotSoap(str(error)) from None
    if root.getroottree().docinfo.internalDTD is not None:
        raise NotSoap("a document type is not allowed")
    operation = next(iter(root.iterfind(f"{{{ENVELOPE}}}Body/*")), None)
    if operation is None:
        raise NotSoap("the envelope has no body")
    values: dict[str, str] = {}
    options: dict[str, str] = {}
    for part in operation:
        if len(part):
            options |= {_name(child): child.text or "" for child in part if not _is_nil(child)}
        elif not _is_nil(part):
            values[_name(part)] = part.text or ""
    return Call(_name(operation), values, options)


def answered(
    operation: str, part: str | None = None, array: str | None = None, records: Iterable[Record] = ()
) -> bytes:
    """Return the answer to an operation: empty, or one array of records."""
    envelope, body = _envelope()
    response = etree.SubElement(body, f"{{{wsdl.NAMESPACE}}}{operation}Response")
    if part is not None and array is not None:
        item = wsdl.ARRAYS[array]
        element = etree.SubElement(response, part)
        count = 0
        for record in records:
            _fill(etree.SubElement(element, "item"), item, record, 0)
            count += 1
        element.set(f"{{{_ENCODING}}}arrayType", f"ns1:{item}[{count}]")
        element.set(f"{{{_XSI}}}type", f"ns1:{array}")
    return _bytes(envelope)


def fault(code: str, text: str) -> bytes:
    """Return a fault; `code` is Client or Server."""
    envelope, body = _envelope()
    element = etree.SubElement(body, f"{{{ENVELOPE}}}Fault")
    etree.SubElement(element, "faultcode").text = f"SOAP-ENV:{code}"
    etree.SubElement(element, "faultstring").text = text
    return _bytes(envelope)


def _envelope() -> tuple[etree._Element, etree._Element]:
    envelope = etree.Element(f"{{{ENVELOPE}}}Envelope", nsmap=_PREFIXES)
    envelope.set(f"{{{ENVELOPE}}}encodingStyle", _ENCODING)
    return envelope, etree.SubElement(envelope, f"{{{ENVELOPE}}}Body")


def _fill(element: etree._Element, record_type: str, record: Record, depth: int) -> None:
    assert depth < _DEPTH_MAX
    element.set(f"{{{_XSI}}}type", f"ns1:{record_type}")
    for field in wsdl.RECORDS[record_type]:
        name, type_name = field.rstrip("?").split(" ")
        value = record[name]
        child = etree.SubElement(element, name)
        if value is None:
            child.set(f"{{{_XSI}}}nil", "true")
        elif isinstance(value, dict):
            _fill(child, type_name.removeprefix("tns:"), value, depth + 1)
        else:
            child.set(f"{{{_XSI}}}type", wsdl.qualified(type_name).replace("tns:", "ns1:"))
            child.text = value


def _bytes(envelope: etree._Element) -> bytes:
    return etree.tostring(envelope, xml_declaration=True, encoding="UTF-8")


def _name(element: etree._Element) -> str:
    return etree.QName(element).localname if isinstance(element.tag, str) else ""


def _is_nil(element: etree._Element) -> bool:
    return element.get(f"{{{_XSI}}}nil") in ("true", "1")
