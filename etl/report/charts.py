"""Charts of the reconciliation report: small inline SVG drawings, each with its figures in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from markupsafe import Markup

from etl.report.wording import amount_text

_LABEL = 280
_PLOT = 330
_VALUE = 130
_WIDTH = _LABEL + _PLOT + _VALUE
_ROW = 26


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar from `start` to `end` (amounts), its label, and the amount written beside it."""

    label: str
    start: Decimal
    end: Decimal
    amount: Decimal
    style: str = "plain"


def bars(title: str, currency: str, amounts: Sequence[tuple[str, Decimal]]) -> Markup:
    """Return a chart of one bar for each amount, all from zero."""
    return _drawn(title, currency, [Bar(label, Decimal(0), amount, amount) for label, amount in amounts])


def waterfall(title: str, currency: str, steps: Sequence[tuple[str, Decimal]], total: str) -> Markup:
    """Return a chart in which each step begins where the one before ended, and the `total` they lead to."""
    drawn: list[Bar] = []
    level = Decimal(0)
    for place, (label, amount) in enumerate(steps):
        style = "total" if place == 0 else "up" if amount >= 0 else "down"
        drawn.append(Bar(label, level, level + amount, amount, style))
        level += amount
    drawn.append(Bar(total, Decimal(0), level, level, "total"))
    return _drawn(title, currency, drawn)


def _drawn(title: str, currency: str, drawn: Sequence[Bar]) -> Markup:
    low = min(Decimal(0), *(min(bar.start, bar.end) for bar in drawn))
    high = max(Decimal(0), *(max(bar.start, bar.end) for bar in drawn))
    span = (high - low) or Decimal(1)

    def across(amount: Decimal) -> Decimal:
        return (_LABEL + (amount - low) / span * _PLOT).quantize(Decimal("0.1"))

    height = _ROW * len(drawn) + 8
    said = "; ".join(f"{bar.label} {amount_text(bar.amount, currency)}" for bar in drawn)
    parts = [
        Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">').format(_WIDTH, height, f"{title}: {said}"),
        Markup('<line class="axis" x1="{0}" x2="{0}" y1="0" y2="{1}"/>').format(across(Decimal(0)), height),
    ]
    for place, bar in enumerate(drawn):
        top = place * _ROW + 4
        left, right = sorted((across(bar.start), across(bar.end)))
        text = Markup('<text x="{}" y="{}" class="{}">{}</text>')
        parts.append(text.format(_LABEL - 10, top + 14, "label", bar.label))
        # Nothing is drawn for nothing, and what is something is wide enough to be seen.
        if bar.amount:
            parts.append(
                Markup('<rect class="{}" x="{}" y="{}" width="{}" height="18" rx="2"/>').format(
                    bar.style, left, top, max(right - left, Decimal("1.5"))
                )
            )
        parts.append(text.format(_WIDTH, top + 14, "value", amount_text(bar.amount, currency)))
    parts.append(Markup("</svg>"))
    caption = Markup("<figcaption>{}</figcaption>").format(f"{title}, {currency}")
    return Markup("<figure>{}{}</figure>").format(caption, Markup("").join(parts))
