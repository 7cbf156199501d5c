"""An installation of Tallyback for a sandbox world: folder, databases, configuration, environment of its runs."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

import yaml

from etl.core.embedded import EmbeddedPostgres
from etl.core.encryption import create_key_file
from etl.core.warehouse import migrate
from sandbox import clock, credentials, folder
from sandbox.world import build_world

SPAN = (date(2026, 9, 1), date(2026, 10, 1))
"""The month of the generated world."""

DEBTOR_IBAN = "DE89370400440532013000"
"""The specimen IBAN of the registry: no account of anybody's."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where one sandbox world and its installation live: everything under `root`, nothing elsewhere."""

    root: Path
    name: str
    server: EmbeddedPostgres | None = None

    @property
    def postgres(self) -> EmbeddedPostgres:
        """Return the PostgreSQL server: one of this root, shared by all its worlds, unless another was given."""
        return self.server or EmbeddedPostgres(self.root / "postgres")

    @property
    def home(self) -> Path:
        """Return the folder of this world's installation."""
        return self.root / self.name

    @property
    def world(self) -> Path:
        """Return the folder of the world itself: its servers' state, its truth."""
        return self.home / "world"


def prepare(place: Place, *, seed: int, size: str, orders: Path | None, rates: Path | None) -> str:
    """Make what is missing of the world and its installation, and return the warehouse's URL. The server must run."""
    server = place.postgres
    databases = {name: f"{name}_{place.name}" for name in ("tallyback", "airflow", "tracker")}
    if not (place.home / "built").exists():
        # A world that was interrupted while it was made is made again from nothing; and where a world is new, what was
        # known of another under its name would be wrong.
        shutil.rmtree(place.home, ignore_errors=True)
        for name in databases.values():
            server.drop_database(name)
        tracker = server.create_database(databases["tracker"]).replace("postgresql://", "postgresql+psycopg://", 1)
        folder.save(build_world(seed, size, *SPAN, orders_path=orders, rates_path=rates), place.world, tracker)
        (place.home / "built").touch()
    warehouse = server.create_database(databases["tallyback"])
    server.create_database(databases["airflow"])
    migrate(warehouse)
    tracker = server.url(f"tracker_{place.name}").replace("postgresql://", "postgresql+psycopg://", 1)
    credentials.relocate_tracker(place.world, tracker)
    keys = place.home / "keys"
    if not keys.exists():
        create_key_file(keys)
    _write_configuration(place.home / "config", place.world)
    return warehouse


def environment(place: Place, warehouse_url: str) -> dict[str, str]:
    """Return the settings and connections of this installation; the servers' addresses must have been written."""
    addresses = json.loads((place.world / "addresses.json").read_text(encoding="utf-8"))
    secrets = json.loads((place.world / "credentials.json").read_text(encoding="utf-8"))
    connections = {name: {**_flat(addresses.get(name, {})), **_flat(secrets[name])} for name in secrets}
    variables = {
        "TALLYBACK_WAREHOUSE_URL": warehouse_url,
        "TALLYBACK_LAKE": str(place.home / "lake"),
        "TALLYBACK_CONFIGURATION": str(place.home / "config"),
        "TALLYBACK_TEMPORARY": str(place.home / "temporary"),
        "TALLYBACK_REPORTS": str(place.home / "reports"),
        "TALLYBACK_KEY_FILE": str(place.home / "keys"),
        "TALLYBACK_REFERENCE": str(place.world),
        "TALLYBACK_RATES": str(place.world / folder.RATES_FILE),
        "TALLYBACK_REMITTANCES": str(place.home / "remittances"),
        "TALLYBACK_CLOCK": str(place.world / "clock.json"),
        "GX_ANALYTICS_ENABLED": "false",
    }
    for name, values in connections.items():
        variables[f"TALLYBACK_CONNECTION_{name.upper()}"] = json.dumps(values)
    return variables


def advance(place: Place, instant: str) -> None:
    """Move the simulated now forward to `instant` (ISO, UTC); a clock already later stays."""
    wanted = datetime.fromisoformat(instant).replace(tzinfo=None)
    if clock.now(place.world) < wanted:
        clock.move_to(place.world, wanted)
    _hand_over_statements(place, clock.now(place.world).date())


def _hand_over_statements(place: Place, today: date) -> None:
    """Put the partners' statements of all days until `today` where the installation looks for them."""
    for day in sorted((place.world / "remittances").glob("*-*-*")):
        for file in sorted(day.glob("*/*.csv")) if day.name <= today.isoformat() else ():
            target = place.home / "remittances" / file.parent.name / file.name
            if not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, target)


def _flat(values: dict[str, object]) -> dict[str, str]:
    return {key: ",".join(map(str, value)) if isinstance(value, list) else str(value) for key, value in values.items()}


def _write_configuration(config: Path, world: Path) -> None:
    facts = json.loads((world / "world.json").read_text(encoding="utf-8"))
    start_on = str(facts["from_on"])[:10]
    days = (date.fromisoformat(facts["until_on"]) - date.fromisoformat(facts["from_on"])).days
    # The sandbox's Awin counts no calls; two years at the documented twenty a minute would be mostly waiting.
    calls_per_minute = 20 if days <= 2 * 31 else 6_000
    account = {"cashback_payable_on": "approval"}
    programs = folder.load_programs(world)
    # A network that is asked for and never publishes a file is a fault, so only those the programs are in.
    networks = sorted({str(program.network) for program in programs if program.network is not None})
    contents: dict[str, dict[str, object]] = {
        "entity": {"name": "main", "base_currency": "EUR", "books_zone": "Europe/Berlin"},
        "partners/awin_main": {
            **account,
            "name": "awin_main",
            "partner": "awin",
            "connection": "awin",
            "zone": "Europe/London",
            "options": {"start_on": start_on, "calls_per_minute": calls_per_minute},
        },
        "partners/tradetracker_main": {
            **account,
            "name": "tradetracker_main",
            "partner": "tradetracker",
            "connection": "tradetracker",
            "zone": "Europe/Amsterdam",
            "options": {"start_on": start_on, "site_ids": ["30101", "30102"], "page_rows": 500},
        },
        "partners/rakuten_main": {
            **account,
            "name": "rakuten_main",
            "partner": "rakuten",
            "connection": "rakuten",
            "zone": "UTC",
            "options": {"start_on": start_on, "networks": networks},
        },
        "clicks/tracker": {
            "name": "tracker",
            "connection": "tracker",
            "overlap_minutes": 360,
            "clicks": {
                "table": "outbound_clicks",
                "columns": {
                    "click_id": "uid",
                    "partner": "network",
                    "program_id": "shop_program",
                    "member_id": "user_ref",
                    "clicked_at": "created",
                },
                "watermark": "created",
            },
            "conversions": {
                "table": "pixel_orders",
                "columns": {
                    "conversion_id": "id",
                    "click_id": "click_uid",
                    "order_ref": "order_no",
                    "occurred_at": "seen_at",
                    "amount": "total",
                    "currency": "currency",
                },
                "watermark": "seen_at",
            },
            "payees": {
                "table": "users",
                "columns": {
                    "member_id": "user_ref",
                    "name": "full_name",
                    "iban": "iban",
                    "changed_at": "changed_at",
                    "changed_by": "changed_by",
                },
                "watermark": "changed_at",
            },
        },
        "banks/house_bank": {
            "name": "house_bank",
            "rail": "sepa",
            "connection": "bank",
            "inbox": "/inbox",
            "currency": "EUR",
            "debtor_name": "Tallyback Sandbox GmbH",
            "debtor_iban": DEBTOR_IBAN,
            "threshold_minor": 500,
            "maturity_days": 0,
        },
    }
    partners = {program.partner for program in programs}
    for name, content in contents.items():
        if content.get("partner", "awin") not in partners:
            continue
        place = config / f"{name}.yaml"
        place.parent.mkdir(parents=True, exist_ok=True)
        temporary = place.with_suffix(f".{os.getpid()}.part")
        temporary.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
        temporary.rename(place)
