"""What is narrowed to touched sales is what looking at all of them says, whatever comes in whatever order.

TALLYBACK_EXAMPLES=500 tries as many worlds by hand.
"""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chain.house import House
from tests.chain.test_chain import PROPERTY, decided, live, live_in_pieces
from tests.chain.worlds import Pick, World, picks, worlds


@pytest.fixture
def house(warehouse_url: str, tmp_path: Path) -> House:
    return House(warehouse_url, tmp_path)


@PROPERTY
@given(worlds(), st.lists(picks, max_size=5), st.integers(0, 2**32))
def test_a_world_in_pieces_narrowed_is_the_world_looked_at_whole(
    house: House, world: World, picked: list[Pick], chance: int
) -> None:
    house.narrow_from = None
    live(house, world)
    world = replace(world, decisions=decided(house, world, picked))
    house.narrow_from = 1
    live_in_pieces(house, world, random.Random(chance), pieces=5, referred=True)
    house.proved(world.day)
