"""Remittances: runs 0002_remittance.sql."""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Run the plain SQL file of this revision."""
    text = (Path(__file__).parent.parent.parent / "0002_remittance.sql").read_text(encoding="utf-8")
    op.get_bind().exec_driver_sql(text.replace("%", "%%"))
