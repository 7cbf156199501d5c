"""The content hash in plain Python, written from docs/content-hash.md alone."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

TEXTS = {
    "kind", "original_transaction_id", "order_ref", "partner_program_id", "click_ref", "status", "raw_status",
    "payment_ref", "reason", "currency", "commission_group", "customer_type",
}  # fmt: skip
ORDER = (
    "kind", "original_transaction_id", "order_ref", "partner_program_id", "click_ref", "partner_clicked_at",
    "occurred_at", "processed_at", "modified_at", "status", "raw_status", "partner_paid", "payment_ref", "reason",
    "sale_amount", "commission_amount", "currency", "commission_group", "customer_type",
)  # fmt: skip


def content_hash(row: dict[str, Any]) -> str:
    """Return the hash of a transaction's business columns."""
    parts = []
    for name in ORDER:
        value = row[name]
        if value is None:
            continue
        if name in TEXTS:
            parts.append(f"{name}{len(value)}:{value};")
        elif isinstance(value, bool):
            parts.append(f"{name}={'true' if value else 'false'};")
        elif isinstance(value, datetime):
            parts.append(f"{name}={(value - datetime(1970, 1, 1)) // timedelta(microseconds=1)};")
        else:
            parts.append(f"{name}={Decimal(value):.4f};")
    return hashlib.sha256("".join(parts).encode()).hexdigest()
