"""One module per affiliate network, and which of them speaks with which partner."""

from __future__ import annotations

from etl.core.connector import Connector
from etl.core.errors import Stop

PARTNERS = ("awin", "cj", "kelkoo", "rakuten", "tradetracker")


def connector_for(partner: str) -> Connector:
    """Return the connector of a partner; Stop, naming those there are, if there is none."""
    # Imported on demand: SOAP and SFTP libraries take a second that most callers need not pay.
    match partner:
        case "awin":
            from connectors.partners.awin import Awin

            return Awin()
        case "cj":
            from connectors.partners.cj import Cj

            return Cj()
        case "kelkoo":
            from connectors.partners.kelkoo import Kelkoo

            return Kelkoo()
        case "rakuten":
            from connectors.partners.rakuten import Rakuten

            return Rakuten()
        case "tradetracker":
            from connectors.partners.tradetracker import TradeTracker

            return TradeTracker()
    raise Stop(
        f"there is no connector for the partner {partner!r}, only for {', '.join(PARTNERS)}; correct the account's "
        "partner, or add a connector (docs/how-to-add-a-partner.md)."
    )
