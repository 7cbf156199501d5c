"""Only people decide and release: runs 0006_people_decide.sql."""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Run the plain SQL file of this revision."""
    text = (Path(__file__).parent.parent.parent / "0006_people_decide.sql").read_text(encoding="utf-8")
    op.get_bind().exec_driver_sql(text.replace("%", "%%"))
