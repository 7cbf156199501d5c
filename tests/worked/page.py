"""Print docs/worked-examples.md: python -m tests.worked.page > docs/worked-examples.md."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

from tests.worked.examples import Example, read_examples

HEAD = """# Worked examples

Each example is lived by the tests, stage by stage in a real warehouse, and its journal and balances were worked out by
hand. The page is made of them (`python -m tests.worked.page > docs/worked-examples.md`); a test fails when it is stale.

A member gets half of the commission. Amounts have four digits on the partner's side and the currency's own on the
member's; `border` leads from one to the other and comes to nothing. Legs of one day that cancel are not posted.
[Chart of accounts](chart-of-accounts.md) says what every account holds.
"""


def page() -> str:
    """Return the whole page."""
    examples = read_examples()
    listed = [f"{place}. [{one.title}](#{_anchor(place, one)})" for place, one in enumerate(examples, start=1)]
    parts = [HEAD, "\n".join(listed) + "\n"]
    parts += ["\n".join(_lines(place, one)) + "\n" for place, one in enumerate(examples, start=1)]
    return "\n".join(parts)


def _anchor(place: int, one: Example) -> str:
    text = f"{place}. {one.title}".lower()
    return "".join(letter for letter in text if letter.isalnum() or letter in " -").replace(" ", "-")


def _lines(place: int, one: Example) -> Iterator[str]:
    yield f"## {place}. {one.title}"
    yield ""
    yield one.story
    yield ""
    if one.rates:
        told = ", ".join(f"{rate} {currency} on {on}" for on, currency, rate in one.rates)
        yield from (f"A euro is {told}.", "")
    for step in one.steps:
        yield from _step(step)
    yield "**Journal**"
    yield ""
    yield from _table(("day", "document", "debit", "credit", "amount"), _without_repeats(one.journal))
    yield "**Balances after**"
    yield ""
    if not one.balances:
        yield from ("Nothing is left.", "")
        return
    yield from _table(("account", "debit", "credit"), [_sided(*each) for each in one.balances])


def _step(step: dict[str, Any]) -> Iterator[str]:
    if "rows" in step:
        yield from ("**The partner reports**", "")
        names = ("day", "transaction", "status", "sale", "commission", "")
        yield from _table(names, [[str(cell) for cell in row] for row in step["rows"]])
    elif "statement" in step:
        head = step["statement"]
        currency = head.get("currency", "EUR")
        yield f"**The partner's statement**: {head['bank_amount']} EUR arrive on {head['received_on']}."
        yield ""
        rows = [[kind, f"{amount} {currency}", *(named or [""])] for kind, amount, *named in step["lines"]]
        yield from _table(("line", "amount", "pays transaction"), rows)
    elif "opening" in step:
        yield from ("**The opening**", "")
        rows = [row.split(",") for row in step["opening"].split()]
        yield from _table(("account", "owner", "reference", "", "amount", "as of"), rows)
    elif "adjust" in step:
        kind, owner, amount = step["adjust"]
        yield from (f"**The adjustment**: {kind}, {owner}, {amount} EUR, on {step['day']}.", "")


def _without_repeats(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """Return rows whose day and document are told once for those that follow each other."""
    told: list[list[str]] = []
    before: Sequence[str] = ()
    for row in rows:
        head = ["", ""] if list(row[:2]) == list(before[:2]) else list(row[:2])
        told.append([*head, f"`{row[2]}`", f"`{row[3]}`", row[4]])
        before = row
    return told


def _sided(account: str, amount: str) -> list[str]:
    number, currency = amount.split()
    side = f"{number.lstrip('-')} {currency}"
    return [f"`{account}`", side, ""] if Decimal(number) > 0 else [f"`{account}`", "", side]


def _table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    numbers = {"amount", "debit", "credit", "sale", "commission"}
    is_balance = "account" in names and "debit" in names
    right = [name in numbers and (is_balance or name not in ("debit", "credit")) for name in names]
    yield "| " + " | ".join(names) + " |"
    yield "|" + "|".join("---:" if each else "---" for each in right) + "|"
    for row in rows:
        yield "| " + " | ".join(row) + " |"
    yield ""


if __name__ == "__main__":
    print(page(), end="")
