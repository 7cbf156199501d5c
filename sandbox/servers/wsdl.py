"""TradeTracker's service description, written from a short table of its types: names, order and nillability."""

from __future__ import annotations

from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

NAMESPACE = "https://ws.tradetracker.com/soap/affiliate"
_TEMPLATE = Path(__file__).with_name("affiliate.wsdl.template")

ENUMERATIONS: dict[str, tuple[str, ...]] = {
    "Locale": (
        "nl_BE", "fr_BE", "cs_CZ", "da_DK", "de_DE", "et_EE", "en_GB", "es_ES", "fr_FR", "it_IT", "hu_HU", "nl_NL",
        "nb_NO", "de_AT", "pl_PL", "fi_FI", "sv_SE", "ru_RU",
    ),
    "AffiliateSiteStatus": ("pending", "accepted", "rejected", "onhold", "signedout"),
    "AffiliateSiteSort": ("ID", "name"),
    "SortDirection": ("ascending", "descending"),
    "TransactionType": ("click", "lead", "sale"),
    "TransactionStatus": ("pending", "accepted", "rejected"),
    "TransactionRejectionReason": (
        "returned", "stock", "payment", "invalid", "canceled", "duplicate", "test", "channel",
    ),
    "TransactionConversionSort": ("ID", "assessmentDate", "registrationDate"),
}  # fmt: skip

# Name, type, and `?` where the element may be nil.
RECORDS: dict[str, tuple[str, ...]] = {
    "AffiliateSite": ("ID nonNegativeInteger", "name string", "URL normalizedString", "info tns:AffiliateSiteInfo?"),
    "AffiliateSiteType": ("ID nonNegativeInteger", "name normalizedString"),
    "AffiliateSiteCategory": ("ID nonNegativeInteger", "name normalizedString"),
    "AffiliateSiteInfo": (
        "type tns:AffiliateSiteType", "category tns:AffiliateSiteCategory", "description string?",
        "creationDate date", "status tns:AffiliateSiteStatus",
    ),
    "AffiliateSiteFilter": (
        "ID nonNegativeInteger?", "query string?", "affiliateSiteCategoryID nonNegativeInteger?",
        "affiliateSiteTypeID nonNegativeInteger?", "affiliateSiteStatus tns:AffiliateSiteStatus?",
        "limit nonNegativeInteger?", "offset nonNegativeInteger?", "sort tns:AffiliateSiteSort?",
        "sortDirection tns:SortDirection?", "excludeInfo boolean?",
    ),
    # The sandbox never tells a campaign's info, so its type is cut to one element.
    "CampaignInfo": ("deeplinkingSupported boolean", "referencesSupported boolean"),
    "Campaign": ("ID nonNegativeInteger", "name string", "URL normalizedString", "info tns:CampaignInfo?"),
    "CampaignProduct": ("ID nonNegativeInteger", "name string"),
    "ClickTransaction": (
        "ID nonNegativeInteger", "campaign tns:Campaign", "reference string", "transactionType tns:TransactionType",
        "transactionStatus tns:TransactionStatus", "currency normalizedString", "commission decimal",
        "registrationDate dateTime", "refererURL normalizedString", "paidOut boolean",
    ),
    "ConversionTransaction": (
        "ID nonNegativeInteger", "campaign tns:Campaign", "campaignProduct tns:CampaignProduct", "reference string",
        "transactionType tns:TransactionType", "transactionStatus tns:TransactionStatus", "description string?",
        "currency normalizedString", "commission decimal", "orderAmount decimal?", "IP normalizedString",
        "registrationDate dateTime", "assessmentDate dateTime?", "clickToConversion duration?",
        "originatingClickDate dateTime?", "rejectionReason tns:TransactionRejectionReason?", "paidOut boolean",
    ),
    "ClickTransactionFilter": (
        "ID nonNegativeInteger?", "transactionStatus tns:TransactionStatus?", "registrationDateFrom dateTime?",
        "registrationDateTo dateTime?", "reference string?", "limit nonNegativeInteger?",
        "offset nonNegativeInteger?",
    ),
    "ConversionTransactionFilter": (
        "ID nonNegativeInteger?", "transactionType tns:TransactionType?", "transactionStatus tns:TransactionStatus?",
        "registrationDateFrom dateTime?", "registrationDateTo dateTime?", "assessmentDateFrom dateTime?",
        "assessmentDateTo dateTime?", "reference string?", "limit nonNegativeInteger?", "offset nonNegativeInteger?",
        "sort tns:TransactionConversionSort?", "sortDirection tns:SortDirection?",
    ),
}  # fmt: skip
ARRAYS = {
    "AffiliateSites": "AffiliateSite",
    "ClickTransactions": "ClickTransaction",
    "ConversionTransactions": "ConversionTransaction",
}
# Operation: what goes in, what comes out; the messages are named after it.
OPERATIONS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "authenticate": (
        (
            "customerID nonNegativeInteger", "passphrase normalizedString", "sandbox boolean", "locale tns:Locale",
            "demo boolean",
        ),
        (),
    ),
    "getAffiliateSites": (("options tns:AffiliateSiteFilter",), ("affiliateSites tns:AffiliateSites",)),
    "getClickTransactions": (
        ("affiliateSiteID nonNegativeInteger", "options tns:ClickTransactionFilter"),
        ("clickTransactions tns:ClickTransactions",),
    ),
    "getConversionTransactions": (
        ("affiliateSiteID nonNegativeInteger", "options tns:ConversionTransactionFilter"),
        ("conversionTransactions tns:ConversionTransactions",),
    ),
}  # fmt: skip


def described(address: str) -> bytes:
    """Return the service description with the address it is to be called at."""
    text = _TEMPLATE.read_text(encoding="utf-8")
    for mark, lines in (
        ("@TYPES@", _types()),
        ("@MESSAGES@", _messages()),
        ("@OPERATIONS@", _operations()),
        ("@BINDINGS@", _bindings()),
        ("@ADDRESS@", [escape(address)]),
    ):
        text = text.replace(mark, "\n".join(lines))
    return text.encode()


def qualified(name: str) -> str:
    """Return a type with its prefix: our own have one already, the rest are XML Schema's."""
    return name if name.startswith("tns:") else f"xsd:{name}"


def _types() -> list[str]:
    out = []
    for name, values in ENUMERATIONS.items():
        options = "".join(f"<xsd:enumeration value={quoteattr(value)}/>" for value in values)
        out.append(f'<xsd:simpleType name="{name}"><xsd:restriction base="xsd:normalizedString">{options}')
        out.append("</xsd:restriction></xsd:simpleType>")
    for name, fields in RECORDS.items():
        out.append(f'<xsd:complexType name="{name}"><xsd:sequence>')
        out += [_element(field) for field in fields]
        out.append("</xsd:sequence></xsd:complexType>")
    for name, item in ARRAYS.items():
        out.append(f'<xsd:complexType name="{name}"><xsd:complexContent><xsd:restriction base="enc:Array">')
        out.append(f'<xsd:attribute ref="enc:arrayType" wsdl:arrayType="tns:{item}[]"/>')
        out.append("</xsd:restriction></xsd:complexContent></xsd:complexType>")
    return out


def _element(field: str) -> str:
    name, type_name = field.rstrip("?").split(" ")
    nillable = ' nillable="true"' if field.endswith("?") else ""
    return f'<xsd:element maxOccurs="1" name="{name}" type="{qualified(type_name)}"{nillable}/>'


def _message_name(operation: str, suffix: str) -> str:
    return operation[0].upper() + operation[1:] + suffix


def _messages() -> list[str]:
    out = []
    for operation, (inward, outward) in OPERATIONS.items():
        for suffix, parts in (("Message", inward), ("ResponseMessage", outward)):
            out.append(f'<wsdl:message name="{_message_name(operation, suffix)}">')
            for part in parts:
                name, type_name = part.split(" ")
                out.append(f'<wsdl:part name="{name}" type="{qualified(type_name)}"/>')
            out.append("</wsdl:message>")
    return out


def _operations() -> list[str]:
    return [
        f'<wsdl:operation name="{name}"><wsdl:input message="tns:{_message_name(name, "Message")}"/>'
        f'<wsdl:output message="tns:{_message_name(name, "ResponseMessage")}"/></wsdl:operation>'
        for name in OPERATIONS
    ]


def _bindings() -> list[str]:
    body = (
        f'<soap:body use="encoded" namespace="{NAMESPACE}" encodingStyle="http://schemas.xmlsoap.org/soap/encoding/"/>'
    )
    return [
        f'<wsdl:operation name="{name}"><soap:operation soapAction="{NAMESPACE}/{name}"/>'
        f"<wsdl:input>{body}</wsdl:input><wsdl:output>{body}</wsdl:output></wsdl:operation>"
        for name in OPERATIONS
    ]
