"""Which files hold what, and when references were clicked: runs 0018_file_span.sql."""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    """Run the plain SQL file of this revision."""
    text = (Path(__file__).parent.parent.parent / "0018_file_span.sql").read_text(encoding="utf-8")
    op.get_bind().exec_driver_sql(text.replace("%", "%%"))
