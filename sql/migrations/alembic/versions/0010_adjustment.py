"""What people book by hand: runs 0010_adjustment.sql."""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Run the plain SQL file of this revision."""
    text = (Path(__file__).parent.parent.parent / "0010_adjustment.sql").read_text(encoding="utf-8")
    op.get_bind().exec_driver_sql(text.replace("%", "%%"))
