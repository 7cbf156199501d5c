"""A world is the same for the same seed, holds what it promises, and comes back from disk as it was."""

from __future__ import annotations

import json
import stat
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from stdnum import iban

from sandbox import folder, people
from sandbox.chance import stream
from sandbox.model import ACCOUNTS, Defect, FindingRule, Life, World
from sandbox.rates import Rates
from sandbox.sizes import DEFECT_SHARES
from sandbox.world import build_world
from tests.sandbox.places import FROM_ON, UNTIL_ON


def test_the_same_seed_builds_the_same_world(small: World) -> None:
    assert build_world(7, "small", FROM_ON, UNTIL_ON) == small


def test_another_seed_builds_another_world(small: World) -> None:
    other = build_world(8, "small", FROM_ON, UNTIL_ON)
    assert {click.click_id for click in other.clicks}.isdisjoint(click.click_id for click in small.clicks)


def test_the_same_seed_writes_the_same_bytes(small: World, tmp_path: Path) -> None:
    for name in ("one", "two"):
        folder.save(small, tmp_path / name)
    names = sorted(path.name for path in (tmp_path / "one").iterdir() if path.is_file())
    compared = [name for name in names if name not in ("credentials.json", "tracker.sqlite")]
    assert len(compared) >= 10
    for name in compared:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_kind_of_defect_that_has_a_share_is_planted(seed: int) -> None:
    world = build_world(seed, "small", FROM_ON, UNTIL_ON)
    planted = Counter(defect for sale in world.sales for defect in sale.defects.split(",") if defect)
    planted[Defect.MISSING_AT_PARTNER] = len(world.missing)
    wanted = {defect for defect, share in DEFECT_SHARES.items() if share > 0}
    assert len(wanted) == 20
    assert {defect for defect in planted if planted[defect]} == wanted


def test_every_life_is_lived_and_every_rule_is_needed(small: World) -> None:
    assert {sale.life for sale in small.sales} == set(Life)
    month = build_world(3, "month", FROM_ON, UNTIL_ON)
    assert {sale.finding_rule for sale in month.sales} == set(FindingRule)


def test_defects_are_a_few_per_cent(small: World) -> None:
    month = build_world(1, "month", FROM_ON, UNTIL_ON)
    assert 0.02 < sum(bool(sale.defects) for sale in month.sales) / len(month.sales) < 0.08


def test_a_plausible_foreign_click_is_planted_only_on_demand_and_nobody_could_find_the_true_one() -> None:
    shares = {Defect.FOREIGN_CLICK_PLAUSIBLE: 0.01}
    world = build_world(5, "small", FROM_ON, UNTIL_ON, defect_shares=shares)
    wrong = [sale for sale in world.sales if Defect.FOREIGN_CLICK_PLAUSIBLE in sale.defects]
    clicks = {click.click_id: click for click in world.clicks}
    assert len(wrong) == 5
    for sale in wrong:
        assert sale.click_ref is not None
        assert clicks[sale.click_ref].member_id != sale.true_member_id
        assert clicks[sale.click_ref].program_id == sale.program_id
        assert sale.finding_rule is FindingRule.NONE


def test_a_reference_that_is_whole_and_not_foreign_is_the_true_click(small: World) -> None:
    told = [sale for sale in small.sales if sale.finding_rule is FindingRule.CLICK_REF]
    assert len(told) > 400
    assert all(sale.click_ref == sale.true_click_id for sale in told)


def test_a_click_comes_before_its_sale_and_within_the_window_unless_that_is_the_defect(small: World) -> None:
    clicks = {click.click_id: click for click in small.clicks}
    programs = {program.program_id: program for program in small.programs}
    outside = set()
    for sale in small.sales:
        if sale.true_click_id is None:
            continue
        click = clicks[sale.true_click_id]
        assert click.program_id == sale.program_id
        assert click.member_id == sale.true_member_id
        age = sale.occurred_at - click.clicked_at
        assert age > timedelta(0)
        if age > timedelta(days=programs[sale.program_id].lookback_days):
            outside.add(sale.defects)
    assert outside == {Defect.OUTSIDE_WINDOW}


def test_click_ids_are_opaque_unique_and_of_mixed_case(small: World) -> None:
    ids = [click.click_id for click in small.clicks]
    assert len(set(ids)) == len(ids)
    assert all(24 <= len(click_id) <= 32 and click_id not in (click_id.lower(), click_id.upper()) for click_id in ids)


def test_two_shops_may_use_the_same_order_number(small: World) -> None:
    shop = {program.program_id: program.merchant_id for program in small.programs}
    shops_by_number: dict[str, set[str]] = {}
    for sale in small.sales:
        if sale.order_ref is not None:
            shops_by_number.setdefault(sale.order_ref, set()).add(shop[sale.program_id])
    assert any(len(shops) > 1 for shops in shops_by_number.values())


def test_transaction_ids_are_unique_at_a_partner(small: World) -> None:
    assert {row.partner for row in small.rows} == set(ACCOUNTS)
    assert len({(row.partner, row.transaction_id) for row in small.rows}) == len(small.rows)


def test_account_numbers_are_valid_in_their_countries() -> None:
    chance = stream(1, "account numbers")
    numbers = [people.iban(chance) for _ in range(400)]
    assert {number[:2] for number in numbers} == {"AT", "BE", "DE", "ES", "FR", "IE", "LU", "NL", "PT"}
    assert [number for number in numbers if not iban.is_valid(number)] == []


def test_a_rule_changes_in_the_middle_of_the_month_without_gap_or_overlap(small: World) -> None:
    changing = {rule.program_id for rule in small.rules if rule.valid_until is not None}
    assert len(changing) == 4
    for program_id in changing:
        first, second = [rule for rule in small.rules if rule.program_id == program_id]
        assert first.valid_until == second.valid_from
        assert (first.basis, first.value) != (second.basis, second.value)


def test_a_world_comes_back_from_its_folder_as_it_was(small: World, small_folder: Path) -> None:
    loaded = folder.load(small_folder)
    # Rows come back partner by partner; their order among partners means nothing.
    by_partner = tuple(row for partner in ACCOUNTS for row in small.rows if row.partner == partner)
    assert loaded == replace(small, rows=by_partner)


def test_secrets_are_readable_by_their_owner_alone_and_in_no_other_file(small_folder: Path) -> None:
    secret = small_folder / "credentials.json"
    keys = [path for path in (small_folder / "keys").iterdir() if path.suffix != ".pub"]
    assert len(keys) == 2
    for path in (secret, *keys):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    token = json.loads(secret.read_text())["awin"]["token"]
    others = [path for path in small_folder.rglob("*") if path.is_file() and path != secret]
    assert len(others) > 10
    assert not [path for path in others if token.encode() in path.read_bytes()]


def test_a_folder_that_holds_something_is_refused(small: World, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(FileExistsError, match="not empty"):
        folder.save(small, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_the_rates_file_speaks_the_ecb_dialect(small: World) -> None:
    header, *lines = small.rates_text.splitlines()
    assert header.startswith("Date,USD,JPY,") and header.endswith("ZAR,")
    assert all(line.endswith(",") and line.count(",") == header.count(",") for line in lines)
    days = [line.partition(",")[0] for line in lines]
    assert days == sorted(days, reverse=True)
    assert "N/A" in lines[0]
    assert not {"2026-09-05", "2026-09-06", "2026-12-25", "2027-03-26", "2027-03-29"} & set(days)
    assert {"2026-09-04", "2026-12-24", "2027-03-25"} <= set(days)


def test_a_day_without_a_rate_has_the_rate_of_the_day_before(small: World) -> None:
    rates = Rates(small.rates_text)
    friday, sunday = FROM_ON.replace(day=4), FROM_ON.replace(day=6)
    assert rates.per_euro("GBP", sunday) == rates.per_euro("GBP", friday) > 0
    assert rates.per_euro("EUR", sunday) == 1
    with pytest.raises(LookupError, match="HRK"):
        rates.per_euro("HRK", sunday)
