"""Each stage killed before every commit and rename and run again, or run twice at once: the same rows."""

from __future__ import annotations

import hashlib
import secrets
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path

import pytest

from etl.core import expectations
from etl.core.embedded import EmbeddedPostgres
from etl.trace import NodeKind, trace
from tests.kill.doom import child, doomed, is_killed, slowly
from tests.kill.life import STAGES, Life, small_world

# Points at least: the end and each commit that writes, each object in the lake, each file at the bank.
LEAST = {
    "reference": 3, "rates": 2, "clicks": 3, "check_clicks": 2, "payees": 2, "land": 7, "parse": 6, "validate": 6,
    "release": 2, "reconcile": 2, "decide": 2, "accrue": 2, "select": 2, "freeze": 3, "approve": 3, "transmit": 5,
    "settle": 2, "remittances": 2, "remit": 2, "begin_close": 2, "finish_close": 3, "report": 4,
}  # fmt: skip
# After an attempt that nobody knows the end of, a person says what became of it, and so stands in these.
TOLD_OF = {"transmit": ("payout.transmission", "payout.event", "ledger.journal_entry")}


@dataclass(frozen=True)
class Moment:
    """The state before a stage and, never killed, after it."""

    before: Life
    rows: dict[str, list[str]]
    files: dict[str, bytes]


@dataclass
class History:
    """The moments of one life, made once; copies of them are handed out."""

    server: EmbeddedPostgres
    folder: Path
    moments: dict[str, Moment]
    names: list[str]

    def copy(self, life: Life) -> Life:
        """Return a copy of a moment, to be thrown away."""
        name = f"life_{secrets.token_hex(8)}"
        url = self.server.create_database(name, template=life.url.rpartition("/")[2].partition("?")[0])
        self.names.append(name)
        return life.copied(url, self.folder / name)

    def forget(self, life: Life) -> None:
        """Throw a copy away."""
        name = life.home.name
        self.server.drop_database(name)
        self.names.remove(name)
        shutil.rmtree(life.home)


@pytest.fixture(scope="module")
def history(
    postgres: EmbeddedPostgres, migrated_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[History]:
    """One life lived from its beginning to its end, stage by stage."""
    # Imported and set up before the children are forked: it takes longer than all they do.
    expectations._great_expectations()
    folder = tmp_path_factory.mktemp("history")
    (folder / "beginning").mkdir()
    made = History(postgres, folder, {}, [])
    life = Life(postgres.url(migrated_template), folder / "beginning", small_world())
    for name, stage in STAGES.items():
        after = made.copy(life)
        assert not is_killed(child(_of(stage, after)))
        made.moments[name] = Moment(life, after.rows(), after.files())
        life = after
    yield made
    for name in made.names:
        postgres.drop_database(name)


def _of(stage: Callable[[Life], None], life: Life) -> Callable[[], None]:
    return lambda: stage(life)


def test_the_life_is_one_in_which_every_stage_writes(history: History) -> None:
    told = [moment.rows for moment in history.moments.values()]
    files = [moment.files for moment in history.moments.values()]
    for number, name in enumerate(STAGES):
        was, had = (told[number - 1], files[number - 1]) if number else ({}, {})
        assert told[number] != was or files[number] != had, name
    last = told[-1]
    assert len(last["payout.payout"]) == 3
    assert len(last["ops.reject"]) == 2
    assert len([name for name, rows in last.items() if rows]) >= 27


@pytest.mark.parametrize("name", STAGES)
def test_killed_at_any_point_and_run_again_the_same_rows_stand(history: History, name: str) -> None:
    moment, stage = history.moments[name], STAGES[name]
    left_out = TOLD_OF.get(name, ())
    kill_at, is_alive = 0, False
    while not is_alive:
        kill_at += 1
        life = history.copy(moment.before)
        work = _of(stage, life)
        is_alive = not is_killed(child(partial(doomed, work, kill_at, life.home / "lake")))
        assert life.files().keys() <= moment.files.keys() | moment.before.files().keys(), f"killed at point {kill_at}"
        assert not is_killed(child(work))
        rows = life.rows()
        differing = [table for table, found in rows.items() if found != moment.rows[table] and table not in left_out]
        assert differing == [], f"killed at point {kill_at}"
        assert life.files() == moment.files, f"killed at point {kill_at}"
        if name == "transmit":
            assert len(life.inbox.delivered()) == 1, f"killed at point {kill_at}"
        history.forget(life)
    assert kill_at - 1 >= LEAST[name]


@pytest.mark.parametrize("name", [name for name in STAGES if name != "transmit"])
def test_two_at_once_write_what_one_writes(history: History, name: str) -> None:
    moment, stage = history.moments[name], STAGES[name]
    life = history.copy(moment.before)
    for process in [child(lambda: slowly(_of(stage, life))), child(lambda: slowly(_of(stage, life)))]:
        assert not is_killed(process)
    rows = life.rows()
    assert [table for table, found in rows.items() if found != moment.rows[table]] == []
    assert life.files() == moment.files
    history.forget(life)


def test_every_payout_is_traced_to_its_rows_and_every_row_to_its_payout(history: History) -> None:
    life = history.moments["report"].before
    lines = life.ask(
        "SELECT p.payout_id, p.amount_minor, l.document_id, l.amount_minor FROM payout.payout AS p"
        " JOIN payout.payout_line AS l USING (payout_id) ORDER BY 1"
    )
    assert len(lines) == 3
    for payout_id, amount, sale_id, _ in lines:
        assert amount == sum(int(str(line[3])) for line in lines if line[0] == payout_id)
        (payout,) = trace(life.context, str(payout_id))
        assert {node.name for node in payout.find(NodeKind.SALE)} == {line[2] for line in lines if line[0] == payout_id}
        paid = [dict(node.facts) for node in payout.find(NodeKind.POSTING)]
        payable = [told for told in paid if told.get("credit_kind") == "cashback_payable"]
        assert sum(int(Decimal(told["amount"]) * 100) for told in payable) == amount
        (row,) = payout.find(NodeKind.ROW)
        (part,) = row.find(NodeKind.PART)
        told = dict(part.facts)
        # The bytes as the partner sent them, with the transaction in them.
        content = (life.home / "lake" / told["object_path"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == told["sha256"]
        transaction_id = str(sale_id).partition(":")[2]
        assert f'"{transaction_id}"'.encode() in content
        assert dict(row.facts)["parsed_row"] == "says the same"
        for name in (transaction_id, str(sale_id), next(iter(payout.find(NodeKind.CLICK))).name):
            back = [node.name for root in trace(life.context, name) for node in root.find(NodeKind.PAYOUT)]
            assert back == [payout_id], name
