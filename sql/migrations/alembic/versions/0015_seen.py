"""What reconcile and accrue last saw: runs 0015_seen.sql."""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Run the plain SQL file of this revision."""
    text = (Path(__file__).parent.parent.parent / "0015_seen.sql").read_text(encoding="utf-8")
    op.get_bind().exec_driver_sql(text.replace("%", "%%"))
