"""The note on a run can be read in the list of runs: what failed and why, silence first, then what stages said."""

import sys
from typing import Any

import pytest

from .conftest import DAGS

sys.path.append(str(DAGS / "plugins"))
import tallyback_notes


def said(note: str) -> dict[str, Any]:
    return {"counts": {}, "note": note}


def test_stages_say_their_sentences_in_order() -> None:
    notes = [("fetch", "return_value", said("2 new deliveries")), ("parse", "return_value", said("4,112 rows"))]
    assert tallyback_notes.note_of(notes) == "2 new deliveries; 4,112 rows"


def test_what_failed_and_why_comes_first() -> None:
    notes = [("fetch", "return_value", said("2 new deliveries")), ("parse", "problem", "a login page for a CSV")]
    assert tallyback_notes.note_of(notes, ["parse"]) == "FAILED parse: a login page for a CSV; 2 new deliveries"
    assert tallyback_notes.note_of([], ["parse"]) == "FAILED parse: see its log"


def test_a_problem_that_a_later_try_got_over_is_not_told() -> None:
    assert tallyback_notes.note_of([("fetch", "problem", "HTTP 503"), ("fetch", "return_value", said("ok"))]) == "ok"


def test_silence_comes_before_what_the_others_said() -> None:
    notes = [("a", "return_value", said("12 rows")), ("b", "return_value", said("NO DATA: 2026-09-10..2026-09-11"))]
    assert tallyback_notes.note_of(notes) == "NO DATA: 2026-09-10..2026-09-11; 12 rows"


def test_the_answer_of_a_person_is_told_by_name() -> None:
    answer = {"chosen_options": ["Reject"], "responded_by_user": {"id": "7", "name": "alex"}}
    told = [("approve", "answer", "alex: Reject"), ("approve", "return_value", answer)]
    assert tallyback_notes.note_of(told) == "alex: Reject"


@pytest.mark.parametrize("value", [None, 12, "text", [], {"note": ""}, {"note": 7}])
def test_what_is_no_note_is_left_out(value: Any) -> None:
    assert tallyback_notes.note_of([("x", "return_value", value)]) == ""
