"""Cells are cut from planes and written back: singly and in groups, with the same result."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from swin2sr_ops.engine.cells import Cells, Grid, GroupGrid, grouped

WINDOW, SIDE = 4, 16
BORDERS = ((0, 40), (0, 36))
ORIGIN = (-8, -8)
PLACES = [(y, x) for y in (0, 16, 32) for x in (0, 16, 32)]


def plane() -> Tensor:
    """Values inside the image, zero outside, as planes are."""
    values = torch.zeros(64, 60, 3)
    values[8:48, 8:44] = torch.rand(40, 36, 3, generator=torch.Generator().manual_seed(0)) + 0.5
    return values


def both() -> list[tuple[Grid, int]]:
    return [(Grid(ORIGIN, WINDOW), 1), (GroupGrid(ORIGIN, WINDOW, 60, torch.device("cpu")), 4)]


def test_pixels_outside_the_image_are_masked() -> None:
    cells = Cells(((32, 32), (-4, 0), (0, 0)), SIDE, 3, BORDERS)
    assert cells.cuts == [(0, 8, 0, 12), (4, 0, 0, 0), (0, 0, 0, 0)]


def test_groups_are_always_of_one_size() -> None:
    groups = grouped(PLACES, SIDE, BORDERS, 3)
    assert {len(group.places) for group in groups} == {3}
    assert sorted(place for group in groups for place in group.places[: group.kept]) == PLACES
    for group in groups:  # cells that reach out of the image need masks: they form separate groups
        assert len({any(cuts) for cuts in group.cuts}) == 1


@pytest.mark.parametrize(("grid", "size"), both())
@pytest.mark.parametrize("reach", [0, 1])
def test_patches_are_the_planes_pixels(grid: Grid, size: int, reach: int) -> None:
    source = plane()
    for cells in grouped(PLACES, SIDE, BORDERS, size):
        patch = grid.patch(source, cells, reach)
        for data, (y, x) in zip(patch.data, patch.places, strict=True):
            top, left, length = y - ORIGIN[0], x - ORIGIN[1], SIDE + 2 * reach
            assert torch.equal(data, source[top : top + length, left : left + length].permute(2, 0, 1))


@pytest.mark.parametrize(("grid", "size"), both())
def test_windows_come_back_where_they_were(grid: Grid, size: int) -> None:
    source, target = plane(), torch.zeros(64, 60, 3)
    for cells in grouped(PLACES, SIDE, BORDERS, size):
        tokens = grid.windows(source, cells)
        assert tokens.shape == (16 * size, WINDOW**2, 3)
        first = tokens[0].view(WINDOW, WINDOW, 3)
        y, x = cells.places[0][0] - ORIGIN[0], cells.places[0][1] - ORIGIN[1]
        assert torch.equal(first, source[y : y + WINDOW, x : x + WINDOW])
        grid.put_windows(target, cells, tokens.clone())
    assert torch.equal(target, source)


@pytest.mark.parametrize(("grid", "size"), both())
@pytest.mark.parametrize("add", [False, True])
def test_values_stay_inside_the_image(grid: Grid, size: int, add: bool) -> None:
    target = plane()
    expected = target.clone()
    inside = torch.zeros(64, 60, 1)
    inside[8:48, 8:44] = 1
    expected = expected * add + inside
    for cells in grouped(PLACES, SIDE, BORDERS, size):
        grid.put(target, cells, torch.ones(size, SIDE, SIDE, 3), add=add)
    assert torch.equal(target, expected)
