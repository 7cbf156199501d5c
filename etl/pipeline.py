"""Run one stage for one key: the single way in for the DAGs and the command line, each run recorded in ops.run.

Connectors, payout rails and bank inboxes are chosen here and handed to the stages, which know none of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from importlib.metadata import version
from pathlib import Path

from etl import paying
from etl.core.connector import Window
from etl.core.context import Context, StageResult
from etl.core.errors import Stop
from etl.installation import CredentialsOf, Installation

STAGES = (
    "reference",
    "rates",
    "clicks",
    "fetch",
    "parse",
    "validate",
    "reconcile",
    "remit",
    "accrue",
    "payout",
    "export",
    "transmit",
    "verify",
    "report",
)


@dataclass(frozen=True, slots=True)
class Task:
    """One stage for one key on one day. `window` is for fetch alone; without one, the windows that are due are fetched.

    `is_whole` is for reconcile, remit and accrue: look at all sales, not only at those that were touched.

    Keys: a partner account (fetch, parse, validate), a click source (clicks), a bank (payout), a batch (export,
    transmit), and the entity for all others.
    """

    stage: str
    key: str
    day: date
    window: Window | None = None
    is_whole: bool = False


def run_stage(
    installation: Installation, task: Task, *, run_id: str, known_at: datetime, actor: str, credentials: CredentialsOf
) -> StageResult:
    """Run `task` and return what it did; the run is recorded whether it ends well or not.

    Raises Retry or Stop from the stage, and Stop for a stage or key that does not exist.
    """
    stage = _STAGES.get(task.stage)
    if stage is None:
        raise Stop(f"there is no stage {task.stage!r}: choose one of {', '.join(STAGES)}")
    context = installation.context(run_id, known_at, actor)
    _begin(context, task)
    try:
        result = stage(installation, context, task, credentials)
    except BaseException as error:
        _end(context, "failed", StageResult(task.stage, task.key, (), f"{type(error).__name__}: {error}"))
        raise
    finally:
        context.engine.release()
        context.lake.release()
    _end(context, "done", result)
    return result


def _begin(context: Context, task: Task) -> None:
    with context.warehouse.transaction() as connection:
        connection.execute(
            "INSERT INTO ops.run (run_id, stage, key, day, started_at, state, code_version, configuration_hash)"
            " VALUES (%s, %s, %s, %s, %s, 'running', %s, %s)"
            " ON CONFLICT (run_id) DO UPDATE SET state = 'running', started_at = excluded.started_at, ended_at = NULL",
            (
                context.run_id,
                task.stage,
                task.key,
                task.day,
                context.known_at,
                version("tallyback"),
                context.configuration.hash,
            ),
        )


def _end(context: Context, state: str, result: StageResult) -> None:
    with context.warehouse.transaction() as connection:
        connection.execute(
            "UPDATE ops.run SET state = %s, ended_at = %s, counts = %s, note = %s WHERE run_id = %s",
            (state, context.known_at, json.dumps(dict(result.counts)), result.note[:2000], context.run_id),
        )


def _added(stage: str, key: str, results: list[StageResult], note: str) -> StageResult:
    counts: dict[str, int] = {}
    for result in results:
        for name, count in result.counts:
            counts[name] = counts.get(name, 0) + count
    return StageResult(stage, key, tuple(counts.items()), note)


def _fetch(installation: Installation, context: Context, task: Task, credentials: CredentialsOf) -> StageResult:
    from connectors.partners import connector_for
    from etl.fetch import fetch, windows_due
    from etl.land import land

    account = context.configuration.account(task.key)
    connector = connector_for(account.partner)
    windows = [task.window] if task.window else windows_due(context, account, connector, task.day)
    secrets = credentials(account.connection)
    budget = installation.settings.temporary.absolute() / "budget"
    results = []
    for window in windows:
        # Landed window by window, so that an interrupted fetch keeps what it has.
        answers = fetch(context, account, connector, secrets, window, budget)
        results.append(land(context, account, connector, answers))
    spans = ", ".join(str(window) for window in windows) or "no window is due"
    new = sum(dict(result.counts).get("new_deliveries", 0) for result in results)
    note = f"{new:,} new {'delivery' if new == 1 else 'deliveries'} of {spans}" if windows else spans
    return _added("fetch", task.key, results, note)


def _parse(_: Installation, context: Context, task: Task, __: CredentialsOf) -> StageResult:
    from connectors.partners import connector_for
    from etl.parse import parse

    account = context.configuration.account(task.key)
    return parse(context, account, connector_for(account.partner))


def _validate(_: Installation, context: Context, task: Task, __: CredentialsOf) -> StageResult:
    from connectors.partners import connector_for
    from etl.validate import validate

    account = context.configuration.account(task.key)
    return validate(context, account, connector_for(account.partner).facts)


def _reconcile(_: Installation, context: Context, task: Task, __: CredentialsOf) -> StageResult:
    from connectors.partners import connector_for
    from etl.reconcile import reconcile

    facts = {account.partner: connector_for(account.partner).facts for account in context.configuration.accounts}
    return reconcile(context, task.day, facts, is_whole=task.is_whole)


def _remit(installation: Installation, context: Context, task: Task, _: CredentialsOf) -> StageResult:
    from etl.remit import remit
    from etl.remittances import load_folder

    folder = installation.settings.remittances
    loaded = load_folder(context, folder) if folder is not None and folder.is_dir() else []
    done = remit(context, task.day, is_whole=task.is_whole)
    refused = [result.note for result in loaded if result.count("rejects")]
    counts = (("loaded", sum(result.count("new") for result in loaded)), *done.counts)
    return StageResult("remit", task.key, counts, "; ".join([done.note, *refused]))


def _accrue(_: Installation, context: Context, task: Task, __: CredentialsOf) -> StageResult:
    from etl.accrue import accrue
    from etl.adjust import book_adjustments
    from etl.clawback import write_off_debts
    from etl.opening import book_openings

    results = [
        book_openings(context, task.day),
        book_adjustments(context),
        accrue(context, task.day, is_whole=task.is_whole),
    ]
    # What members owe follows from all that is booked before.
    results.append(write_off_debts(context, task.day))
    return _added("accrue", task.key, results, "; ".join(result.note for result in results if result.note))


def _clicks(installation: Installation, context: Context, task: Task, credentials: CredentialsOf) -> StageResult:
    from connectors.clicks.sql_source import SqlSource
    from etl.check_clicks import check_clicks
    from etl.clicks import load_clicks
    from etl.payees import load_payees

    source = context.configuration.click_source(task.key)
    url = credentials(source.connection).get("url")
    if not url:
        raise Stop(
            f"click source {source.name}: the connection {source.connection} has no url; enter the SQLAlchemy URL of "
            "the tracker's database there (docs/bring-your-own.md)."
        )
    reader = SqlSource(source, url)
    try:
        results = [load_clicks(context, source, reader, context.known_at), check_clicks(context, source.name)]
        if source.payees is not None:
            results.append(load_payees(context, source, reader, installation.key_ring(), context.known_at))
    finally:
        reader.close()
    return _added("clicks", task.key, results, "; ".join(result.note for result in results if result.note))


def _reference(installation: Installation, context: Context, task: Task, _: CredentialsOf) -> StageResult:
    from etl.reference import load_aliases, load_programs, load_rules, load_terms

    folder = _folder(installation.settings.reference, "REFERENCE")
    results = [load_programs(context, folder / "programs.csv"), load_rules(context, folder / "cashback_rules.csv")]
    if (folder / "contract_terms.csv").is_file():
        results.append(load_terms(context, folder / "contract_terms.csv"))
    if (folder / "aliases.csv").is_file():
        results.append(load_aliases(context, folder / "aliases.csv"))
    return _added("reference", task.key, results, "; ".join(result.note for result in results))


def _rates(installation: Installation, context: Context, _: Task, __: CredentialsOf) -> StageResult:
    from etl.rates import load_rates

    return load_rates(context, _folder(installation.settings.rates, "RATES"))


def _verify(_: Installation, context: Context, task: Task, __: CredentialsOf) -> StageResult:
    from etl.verify import verify

    checks = verify(context, task.day)
    broken = [check for check in checks if not check.is_ok]
    if broken:
        listed = "; ".join(f"{each.name}: expected {each.expected}, found {each.actual}" for each in broken[:10])
        raise Stop(f"the books do not prove: {listed}")
    return StageResult("verify", task.key, (("checks", len(checks)), ("differences", 0)), "every check holds")


def _report(installation: Installation, context: Context, task: Task, _: CredentialsOf) -> StageResult:
    from etl.report import report

    folder = installation.settings.reports.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    return report(context, task.day.replace(day=1), context.known_at.date(), folder)


def run_day(
    installation: Installation,
    day: date,
    *,
    run_id: str,
    known_at: datetime,
    actor: str,
    credentials: CredentialsOf,
    told: Callable[[StageResult], None],
) -> list[StageResult]:
    """Run every stage due on `day`, from reference data to accrual, and return what each did, told as it ends."""
    configuration = installation.configuration
    entity = configuration.entity.name
    tasks = [("reference", entity), ("rates", entity)]
    tasks += [("clicks", source.name) for source in configuration.click_sources]
    tasks += [(stage, account.name) for account in configuration.accounts for stage in ("fetch", "parse", "validate")]
    tasks += [("reconcile", entity), ("remit", entity), ("accrue", entity)]
    results = []
    for stage, key in tasks:
        results.append(
            run_stage(
                installation,
                Task(stage, key, day),
                run_id=f"{run_id}/{stage}/{key}",
                known_at=known_at,
                actor=actor,
                credentials=credentials,
            )
        )
        told(results[-1])
    return results


def approve_batch(
    installation: Installation, batch_id: str, sha256: str, *, person: str, run_id: str, known_at: datetime
) -> paying.BatchFacts:
    """Record that `person` approves the batch's file of this sha256; Stop if they may not."""
    return paying.approve_batch(installation.context(run_id, known_at, person), batch_id, sha256)


def batch_facts(installation: Installation, bank: str, *, run_id: str, known_at: datetime) -> paying.BatchFacts | None:
    """Return the bank's batch that waits for people, or None."""
    return paying.batch_facts(installation.context(run_id, known_at, ""), bank)


def _folder(path: Path | None, name: str) -> Path:
    if path is None:
        raise Stop(f"TALLYBACK_{name} is not set: name the file or folder there")
    return path


Stage = Callable[[Installation, Context, Task, CredentialsOf], StageResult]

_STAGES: dict[str, Stage] = {
    "fetch": _fetch,
    "parse": _parse,
    "validate": _validate,
    "reconcile": _reconcile,
    "remit": _remit,
    "accrue": _accrue,
    "clicks": _clicks,
    "reference": _reference,
    "rates": _rates,
    "verify": _verify,
    "report": _report,
    "payout": paying.select,
    "export": paying.freeze_batch,
    "transmit": paying.transmit_batch,
}
