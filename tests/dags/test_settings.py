"""What the DAG files read when they are parsed: file names, times, pools."""

from pathlib import Path

import pytest
import tallyback_settings


def test_names_come_from_file_names_in_order(configuration: Path) -> None:
    settings = tallyback_settings.load({"TALLYBACK_CONFIGURATION": str(configuration)})
    assert settings.accounts == ("awin_main", "awin_second", "rakuten_us")
    assert (settings.click_sources, settings.banks) == (("tracker",), ("house_bank",))
    assert set(settings.pools.values()) == {"default_pool"}


def test_a_schedule_can_be_changed_alone_and_all_be_switched_off() -> None:
    assert tallyback_settings.load({}).schedule("VERIFY") == "0 2 * * *"
    assert tallyback_settings.load({}).schedule("PAYOUT") is None
    off = tallyback_settings.load({"TALLYBACK_SCHEDULES": "off", "TALLYBACK_SCHEDULE_REPORT": "0 8 1 * *"})
    assert {name: off.schedule(name) for name in off.schedules if off.schedule(name)} == {"REPORT": "0 8 1 * *"}


def test_a_number_that_is_none_is_an_error_and_no_default() -> None:
    with pytest.raises(ValueError, match="many"):
        tallyback_settings.load({"TALLYBACK_RETRIES": "many"})
