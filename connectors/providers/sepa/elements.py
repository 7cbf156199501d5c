"""The elements of a pain.001 file with their texts, for the reader alone, one by one and without a tree in memory.

The parser is given nothing it could be attacked with: the beginning of the file is judged first, so that no DOCTYPE,
other encoding or byte order mark reaches it; entities, network and huge nodes are switched off.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from lxml import etree

from etl.core.errors import Stop

PAYMENT_PATH = "PmtInf/CdtTrfTxInf"

_NAMESPACE = "{urn:iso:std:iso:20022:tech:xsd:pain.001.001.09}"
_ROOT_NAMES = ("Document", "CstmrCdtTrfInitn")
_AMOUNT_PATH = f"{PAYMENT_PATH}/Amt/InstdAmt"
# A DOCTYPE could stand only between the declaration and the root; so none can get past this. A BOM cannot either.
_BEGINNING = re.compile(rb'<\?xml version="1\.0" encoding="UTF-8"\?>[ \r\n\t]{0,16}<Document[ >]')
_BEGINNING_BYTES = 80


class Mark(StrEnum):
    """That a payment begins or ends here."""

    BEGIN = "begin"
    END = "end"


@dataclass(frozen=True, slots=True)
class Leaf:
    """An element with a text and perhaps a currency; or, with a mark and no text, the border of a payment."""

    path: str
    text: str
    currency: str | None
    mark: Mark | None = None


def refusal(finding: str) -> Stop:
    """Return the error for a file that must not be sent, because of `finding`."""
    return Stop(f"payment file refused: {finding}; do not send it, write it again from the frozen batch")


def leaves(chunks: Iterator[bytes], forms: Mapping[str, re.Pattern[str]], *, payments_max: int) -> Iterator[Leaf]:
    """Yield every element of `forms` (path below CstmrCdtTrfInitn, and the form of its text) as it ends.

    Raises Stop at anything else: an unknown element, attribute or namespace, one that occurs twice in the file or in a
    payment, a text of another form or between elements, a comment, an instruction, or an end before the end.
    """
    # "" is both Document and CstmrCdtTrfInitn: paths begin below them.
    containers = {""} | {path[:place] for path in forms for place, character in enumerate(path) if character == "/"}
    parser = etree.XMLPullParser(
        events=("start", "end", "comment", "pi"),
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        huge_tree=False,
        recover=False,
        collect_ids=False,
    )
    names: list[str] = []
    once_per_file: set[str] = set()
    once_per_payment: set[str] = set()
    payment_count = 0
    for event, element in _events(parser, chunks):
        if event == "start":
            names.append(_known_name(element, names, forms, containers))
            path = "/".join(names[2:])
            if path == PAYMENT_PATH:
                payment_count += 1
                if payment_count > payments_max:
                    raise refusal(f"it holds more than {payments_max} payments")
                once_per_payment.clear()
                yield Leaf(path, "", None, Mark.BEGIN)
            else:
                once = once_per_payment if path.startswith(PAYMENT_PATH) else once_per_file
                if (place := "/".join(names)) in once:
                    raise refusal(f"{place} at line {element.sourceline} is there twice")
                once.add(place)
        elif event == "end":
            path = "/".join(names[2:])
            names.pop()
            if path in forms:
                yield _leaf(element, path, forms[path])
            else:
                _require_no_text(element, path)
            if path == PAYMENT_PATH:
                yield Leaf(path, "", None, Mark.END)
                _forget(element, path)
        else:
            raise refusal("it holds a comment or a processing instruction")


def _events(parser: etree.XMLPullParser, chunks: Iterator[bytes]) -> Iterator[tuple[str, Any]]:
    # Any, because an element, a comment and an instruction share no class in lxml's stubs; `leaves` tells them apart.
    try:
        for chunk in _after_beginning(chunks):
            parser.feed(chunk)
            yield from parser.read_events()
        parser.close()
        yield from parser.read_events()
    except etree.XMLSyntaxError as fault:
        raise refusal(f"it is no well-formed XML at line {fault.lineno}, or ends in the middle") from None


def _after_beginning(chunks: Iterator[bytes]) -> Iterator[bytes]:
    # A stream may answer with fewer bytes than asked for: gather until the beginning can be judged.
    head = b""
    for chunk in chunks:
        head += chunk
        if len(head) >= _BEGINNING_BYTES:
            break
    if _BEGINNING.match(head) is None:
        raise refusal("it does not begin as an XML document in UTF-8 without DOCTYPE, with Document as its root")
    yield head
    yield from chunks


def _known_name(
    element: etree._Element, names: list[str], forms: Mapping[str, re.Pattern[str]], containers: set[str]
) -> str:
    tag = str(element.tag)
    name = tag.removeprefix(_NAMESPACE)
    if name == tag or element.prefix is not None:
        raise refusal(f"element {tag[:100]} is not of namespace {_NAMESPACE}")
    path = "/".join([*names, name][2:])
    is_root = len(names) < len(_ROOT_NAMES)
    if name != _ROOT_NAMES[len(names)] if is_root else path not in forms and path not in containers:
        raise refusal(f"element {(path or name)[:100]} is not one this reader knows")
    if element.attrib and not (path == _AMOUNT_PATH and list(element.attrib) == ["Ccy"]):
        raise refusal(f"element {path or name} has an attribute this reader does not know")
    return name


def _leaf(element: etree._Element, path: str, form: re.Pattern[str]) -> Leaf:
    text = element.text or ""
    if len(element) or form.fullmatch(text) is None:
        # The text itself may be a name or an account, so it is not shown.
        raise refusal(f"{path} at line {element.sourceline} is not of the form it must have")
    currency = element.get("Ccy")
    return Leaf(path, text, None if currency is None else str(currency))


def _require_no_text(element: etree._Element, path: str) -> None:
    if (element.text or "").strip() or any((child.tail or "").strip() for child in element):
        raise refusal(f"{path or 'the root'} holds a text between its elements")


def _forget(element: etree._Element, path: str) -> None:
    # Without this a million payments stay in memory as a tree. A tail is kept until the next payment comes, because the
    # parser runs ahead of the events: what stands between two payments is looked at before it goes.
    tail = element.tail
    element.clear()
    element.tail = tail
    parent = element.getparent()
    before = element.getprevious()
    while parent is not None and before is not None:
        if (before.tail or "").strip():
            raise refusal(f"there is a text between two {path}")
        parent.remove(before)
        before = element.getprevious()
