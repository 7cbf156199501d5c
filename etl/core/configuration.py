"""Configuration as code: the entity, its partner accounts, click sources and banks, read from YAML and checked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml
from jsonschema import Draft202012Validator

from etl.core.errors import Stop
from etl.core.plain_yaml import read_yaml

Option = str | int | tuple[str, ...]
_SCHEMA = Path(__file__).with_name("configuration.schema.json")


@dataclass(frozen=True, slots=True)
class ClawbackPolicy:
    """From a day on, by currency in its smallest unit: above what a debt is reviewed, and what is written off when."""

    valid_from: date
    review_above_minor: Mapping[str, int] = field(default_factory=dict)
    write_off_after_days: int | None = None
    write_off_below_minor: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Entity:
    """The legal entity whose books these are.

    A decision about a break with more at stake than `second_person_above`, in the base currency, needs a second person;
    None: none does.
    """

    name: str
    base_currency: str
    books_zone: str
    lump_sums: str = "wait"
    clawback: tuple[ClawbackPolicy, ...] = ()
    second_person_above: Decimal | None = None


@dataclass(frozen=True, slots=True)
class RemittanceLayout:
    """How an account's remittance files are written: our column names to theirs, what is fixed, and how values look."""

    columns: Mapping[str, str] = field(default_factory=dict)
    fixed: Mapping[str, str] = field(default_factory=dict)
    line_kinds: Mapping[str, str] = field(default_factory=dict)
    negated_kinds: tuple[str, ...] = ()
    delimiter: str = ","
    decimal: str = "."
    date_format: str = "yyyy-mm-dd"


@dataclass(frozen=True, slots=True)
class PartnerAccount:
    """Our account at a partner. `connection` names where its credentials are, never what they are."""

    name: str
    partner: str
    entity: str
    connection: str
    zone: str
    currency: str | None
    cashback_payable_on: str
    options: Mapping[str, Option] = field(default_factory=dict)
    remittance: RemittanceLayout = RemittanceLayout()
    payment_days: int = 0
    payment_threshold_minor: int = 0
    commission_tolerance: str = "0"
    commission_tolerance_share: str = "0"
    program_payable_on: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TrackedTable:
    """One mapped table of a tracker: our column names to theirs, and the column that says when a row committed."""

    table: str
    columns: Mapping[str, str]
    watermark: str
    zone: str = "UTC"


@dataclass(frozen=True, slots=True)
class ClickSource:
    """A database that holds tracked clicks, and where it has them, conversions and payees."""

    name: str
    connection: str
    overlap_minutes: int
    clicks: TrackedTable
    conversions: TrackedTable | None = None
    payees: TrackedTable | None = None


@dataclass(frozen=True, slots=True)
class Bank:
    """A bank that executes payouts: our account there, its usage rules and where its inbox is."""

    name: str
    rail: str
    connection: str
    inbox: str
    currency: str
    debtor_name: str
    debtor_iban: str = field(repr=False)
    debtor_bic: str | None = None
    threshold_minor: int = 0
    maturity_days: int = 0
    options: Mapping[str, Option] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SparkSettings:
    """Where Spark is and what it may use. `options` are more of Spark's own settings, by their names there.

    `partitions` is into how many parts a join or a sort divides its rows; None: three for each core there is.
    """

    master: str = "local[*]"
    driver_memory: str = "2g"
    executor_memory: str = "2g"
    partitions: int | None = None
    options: Mapping[str, str] = field(default_factory=dict, repr=False)


_Named = TypeVar("_Named", PartnerAccount, ClickSource, Bank)
_Made = TypeVar("_Made")


@dataclass(frozen=True, slots=True)
class Configuration:
    """All of it, and the hash of what it says. `spark` is None where the engine is DuckDB."""

    entity: Entity
    accounts: tuple[PartnerAccount, ...]
    click_sources: tuple[ClickSource, ...]
    banks: tuple[Bank, ...]
    hash: str
    spark: SparkSettings | None = None

    def account(self, name: str) -> PartnerAccount:
        """Return the partner account `name`; Stop with the known ones if there is none."""
        return _named(self.accounts, name, "partner account", "partners")

    def click_source(self, name: str) -> ClickSource:
        """Return the click source `name`; Stop with the known ones if there is none."""
        return _named(self.click_sources, name, "click source", "clicks")

    def bank(self, name: str) -> Bank:
        """Return the bank `name`; Stop with the known ones if there is none."""
        return _named(self.banks, name, "bank", "banks")


def _named(items: Sequence[_Named], name: str, what: str, folder: str) -> _Named:
    for item in items:
        if item.name == name:
            return item
    known = ", ".join(item.name for item in items) or "none"
    raise Stop(f"there is no {what} {name!r} (known: {known}): add config/{folder}/{name}.yaml")


def _read(path: Path) -> dict[str, object]:
    try:
        content = read_yaml(path)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise Stop(f"{path}: cannot be read as YAML: {error}") from error
    if not isinstance(content, dict):
        raise Stop(f"{path}: must hold a mapping of settings to values")
    return content


def _made(kind: Callable[..., _Made], content: object) -> _Made:
    """Return a `kind` of what a mapping says, whose names and values the schema has checked."""
    assert isinstance(content, dict)
    return kind(**content)


def _frozen_options(content: object) -> dict[str, Option]:
    assert isinstance(content, dict)
    return {key: tuple(value) if isinstance(value, list) else value for key, value in content.items()}


def problems(directory: Path) -> list[str]:
    """Return what is wrong with the configuration under `directory`, one sentence each, file and setting named."""
    schema = json.loads(_SCHEMA.read_text(encoding="utf-8"))
    found: list[str] = []
    names: set[tuple[str, str]] = set()
    if not (directory / "entity.yaml").is_file():
        return [f"{directory / 'entity.yaml'} is missing: name the entity, its base_currency and books_zone"]
    for kind, path in _files(directory):
        try:
            content = _read(path)
        except Stop as error:
            found.append(str(error))
            continue
        validator = Draft202012Validator({**schema, "$ref": f"#/$defs/{kind}"})
        for fault in sorted(validator.iter_errors(content), key=lambda item: list(map(str, item.absolute_path))):
            place = ".".join(str(step) for step in fault.absolute_path) or "the file"
            found.append(f"{path}: {place}: {fault.message}")
        for zone_key in ("zone", "books_zone"):
            zone = content.get(zone_key)
            if isinstance(zone, str) and not _is_zone(zone):
                found.append(f"{path}: {zone_key}: {zone!r} is no time zone: use a name such as Europe/Berlin")
        found += [f"{path}: clawback: {fault}" for fault in _policy_faults(content)]
        if kind not in ("entity", "engine") and content.get("name") != path.stem:
            found.append(f"{path}: name: must be {path.stem!r}, as the file is called")
        if (kind, path.stem) in names:
            found.append(f"{path}: a second {kind} of this name")
        names.add((kind, path.stem))
    return found


def _policies(content: Mapping[str, object]) -> tuple[ClawbackPolicy, ...]:
    told = content.get("clawback", [])
    assert isinstance(told, list)
    return tuple(ClawbackPolicy(**{**each, "valid_from": date.fromisoformat(each["valid_from"])}) for each in told)


def _policy_faults(content: Mapping[str, object]) -> list[str]:
    """Return what is wrong with the clawback policies beyond their form."""
    try:
        policies = _policies(content)
    except (ValueError, TypeError, KeyError, AssertionError):
        # What has no form is told by the schema; it does not know which days exist.
        return ["valid_from must be a day that exists, as '2026-09-01'"] if "clawback" in content else []
    found = []
    if [each.valid_from for each in policies] != sorted({each.valid_from for each in policies}):
        found.append("each policy must begin after the one before it: add the newest at the end")
    for each in policies:
        for currency, below in each.write_off_below_minor.items():
            if below > each.review_above_minor.get(currency, below):
                found.append(
                    f"of {each.valid_from}: what is written off in {currency} must not be above what is reviewed"
                )
        if each.write_off_below_minor and each.write_off_after_days is None:
            found.append(f"of {each.valid_from}: say write_off_after_days, or leave write_off_below_minor out")
    return found


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def _files(directory: Path) -> list[tuple[str, Path]]:
    found = [("entity", directory / "entity.yaml")]
    if (engine := directory / "engine.yaml").is_file():
        found.append(("engine", engine))
    for kind, folder in (("partner_account", "partners"), ("click_source", "clicks"), ("bank", "banks")):
        found += [(kind, path) for path in sorted((directory / folder).glob("*.yaml"))]
    return found


def _entity(content: Mapping[str, object]) -> Entity:
    fields = {**content, "clawback": _policies(content)}
    if "second_person_above" in fields:
        fields["second_person_above"] = Decimal(str(fields["second_person_above"]))
    return _made(Entity, fields)


def _spark(content: Mapping[str, object]) -> SparkSettings | None:
    fields = {key: value for key, value in content.items() if key != "engine"}
    return _made(SparkSettings, fields) if content["engine"] == "spark" else None


def load(directory: Path) -> Configuration:
    """Return the configuration under `directory`; Stop with every problem if there is one."""
    if found := problems(directory):
        raise Stop("the configuration has problems:\n  " + "\n  ".join(found))
    contents = {(kind, path.stem): _read(path) for kind, path in _files(directory)}
    digest = hashlib.sha256(json.dumps([[list(key), value] for key, value in contents.items()]).encode()).hexdigest()
    entity = _entity(contents["entity", "entity"])
    accounts, sources, banks = [], [], []
    for (kind, _), content in contents.items():
        fields = dict(content)
        if "options" in fields:
            fields["options"] = _frozen_options(fields["options"])
        if kind == "partner_account":
            fields = {"currency": None, **fields, "entity": entity.name}
            if "remittance" in fields:
                fields["remittance"] = _made(RemittanceLayout, _frozen_options(fields["remittance"]))
            accounts.append(_made(PartnerAccount, fields))
        elif kind == "click_source":
            for part in ("clicks", "conversions", "payees"):
                if part in fields:
                    fields[part] = _made(TrackedTable, fields[part])
            sources.append(_made(ClickSource, fields))
        elif kind == "bank":
            banks.append(_made(Bank, fields))
    spark = _spark(contents.get(("engine", "engine"), {"engine": "duckdb"}))
    return Configuration(entity, tuple(accounts), tuple(sources), tuple(banks), digest, spark)
