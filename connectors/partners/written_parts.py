"""The parts of an answer over HTTP: on disk without the secrets they echo, and together as old as the oldest one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from connectors.partners.account_settings import observed
from connectors.transport import answer as transport
from connectors.transport.http import HttpClient
from etl.core.connector import Answer, FetchPlace, Part, Window
from etl.core.redaction import blank_secrets


@dataclass(frozen=True, slots=True)
class WrittenPart:
    """A part on local disk, when it was told, and whether a secret was blanked in it."""

    part: Part
    answered_at: datetime
    is_blanked: bool


def write_part(
    told: transport.Answer, client: HttpClient, place: FetchPlace, name: str, media_type: str
) -> WrittenPart:
    """Return what was told as a file of that name, in which what `client` keeps secret is blanked."""
    content, is_blanked = blank_secrets(told.content, client.secrets)
    place.directory.mkdir(parents=True, exist_ok=True)
    path = place.directory / name
    path.write_bytes(content)
    return WrittenPart(Part(path, name, media_type), told.answered_at, is_blanked)


def whole_answer(window: Window, parts: Sequence[WrittenPart], what: str) -> Answer:
    """Return the answer of these parts; Stop if one of them carries no date."""
    observed_at = min(observed(each.answered_at, what) for each in parts)
    return Answer(window, observed_at, tuple(each.part for each in parts), any(each.is_blanked for each in parts))
