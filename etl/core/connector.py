"""What a partner connector promises to the stages: its facts, a fetch of one window, and flattened rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from etl.core.configuration import PartnerAccount


class VersionClock(StrEnum):
    """The one clock that orders the versions of a transaction; never mixed within a connector."""

    MODIFIED = "modified"
    OBSERVED = "observed"


class ReversalModel(StrEnum):
    """How a partner takes a sale back (networks.md, section 1)."""

    MUTATING = "mutating"
    SIGNED_ROWS = "signed_rows"
    AGGREGATE = "aggregate"


class SignedRowLink(StrEnum):
    """What joins the signed rows of one sale: the original's id, or program and order reference."""

    ORIGINAL = "original"
    ORDER = "order"


class ChangeFeed(StrEnum):
    """How late changes are seen: by asking for what changed, or by re-reading windows that hold a sale not final."""

    CHANGE_DATE = "change_date"
    ROLLING_REREAD = "rolling_reread"


@dataclass(frozen=True, slots=True)
class ConnectorFacts:
    """What is true of a partner in any account; `parse_version` rises with every change of flatten or parse SQL."""

    partner: str
    parse_version: int
    version_clock: VersionClock
    clock_precision_seconds: int
    reversal_model: ReversalModel
    change_feed: ChangeFeed
    # True if a complete answer for a window holds every transaction of it, so that one missing has vanished.
    states_scope: bool
    longest_window_days: int
    signed_row_link: SignedRowLink | None = None
    # True if rows carry no status: the sale is approved `validation_days` after it, or when it is paid for.
    has_status: bool = True


@dataclass(frozen=True, slots=True)
class Window:
    """A half-open span of days, [from_on, until_on), in the partner's own zone."""

    from_on: date
    until_on: date

    def __str__(self) -> str:
        return f"{self.from_on.isoformat()}..{self.until_on.isoformat()}"


@dataclass(frozen=True, slots=True)
class Part:
    """One page or file of an answer, on local disk until it has landed; `name` is for people only."""

    path: Path
    name: str
    media_type: str


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer of a partner for one window. An empty answer has its parts too: it is a fact.

    `observed_at` is the clock of the answer (HTTP Date, file time), UTC. `is_secret_blanked` says that a secret the
    partner echoed was blanked in the bytes.
    """

    window: Window
    observed_at: datetime
    parts: tuple[Part, ...]
    is_secret_blanked: bool = False


@dataclass(frozen=True, slots=True)
class FetchPlace:
    """Where a connector may put bytes while it fetches, and how it keeps to a rate budget shared by processes."""

    directory: Path
    budget_directory: Path


@dataclass(frozen=True, slots=True)
class Credentials:
    """Secrets of one account, by name; shown masked. Values come from an Airflow connection or the environment."""

    values: dict[str, str] = field(repr=False)

    def __getitem__(self, name: str) -> str:
        return self.values[name]

    def get(self, name: str) -> str | None:
        return self.values.get(name)


class Connector(Protocol):
    """One affiliate network. A connector knows transport and dialect; what columns mean is said in sql/parse."""

    @property
    def facts(self) -> ConnectorFacts:
        """Return what is true of this partner."""
        ...

    def fetch(
        self, account: PartnerAccount, credentials: Credentials, window: Window, place: FetchPlace
    ) -> Sequence[Answer]:
        """Return complete answers that together cover `window`; Retry or Stop if any is not whole."""
        ...

    def flatten(self, parts: Sequence[Path]) -> Iterator[pa.RecordBatch]:
        """Yield all rows of an answer as text columns with `row_number` (int64 from 1, over all parts in order).

        Streaming; every batch has the same schema. A row whose form is broken is yielded with the text of what is
        wrong in the column `flatten_error`, never dropped. Stop if the bytes are not of this dialect at all.
        """
        ...
