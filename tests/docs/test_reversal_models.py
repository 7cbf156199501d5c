"""The table of worked examples on the page of reversal models names every one there is, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from tests.models import test_signed_rows, test_sums_of_days, test_told_again

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reversal-models.md"
EXAMPLES = (
    set(test_told_again.TOLD),
    {*test_signed_rows.RAKUTEN, *test_signed_rows.CJ},
    set(test_sums_of_days.TOLD),
)


def test_the_page_and_the_examples_name_the_same_events() -> None:
    rows = [line.split("|")[2:5] for line in PAGE.read_text(encoding="utf-8").split("## Worked")[1].splitlines()]
    told = [row for row in rows if len(row) == 3 and "`" in "".join(row)]
    assert len(told) >= 9
    for column, (events, model) in enumerate(zip(EXAMPLES, ("mutating", "signed", "sums"), strict=True)):
        named = {name for row in told for name in re.findall(r"`(\w+)`", row[column])}
        # Further examples of sums are about what only they have.
        only_sums = (
            {"same_sum_on_two_days", "nobodys", "rejected_later", "first_told_late"} if model == "sums" else set()
        )
        assert named == events - only_sums, model
