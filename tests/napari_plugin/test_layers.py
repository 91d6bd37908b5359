"""Axes, places and views: numbers only, no window."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("napari")

from napari.layers import Image
from swin2sr_ops_napari.canvas import Overview
from swin2sr_ops_napari.choices import advice
from swin2sr_ops_napari.layers import LayerImage, axes_of, describe, place, whole_place
from swin2sr_ops_napari.memory_io import Pyramid
from swin2sr_ops_napari.pace import Pace, span
from swin2sr_ops_napari.ranges import exact_maps, quick_maps
from swin2sr_ops_napari.request import Request
from swin2sr_ops_napari.sheet import Memory, Sheet
from swin2sr_ops_napari.trust import Trust
from swin2sr_ops_napari.view import Box, boxes, compute, level_for, visible

import swin2sr_ops
from swin2sr_ops.errors import RequestError
from swin2sr_ops.io.output.pyramid import halve
from swin2sr_ops.spec import ModelSpec
from tests.conftest import write_model
from tests.napari_plugin.conftest import spots


@pytest.mark.parametrize(
    ("labels", "ndim", "rgb", "axes"),
    [
        (("", ""), 2, False, "YX"),
        (("axis -3", "axis -2", "axis -1"), 3, False, "ZYX"),
        (("c", "y", "x"), 3, False, "CYX"),
        (("time", "Y", "X"), 3, True, "TYXS"),
        (("q", "y", "x"), 3, False, "ZYX"),
        (("t", "c", "z", "y", "x"), 5, False, "TCZYX"),
        (("z", "x", "y"), 3, False, "ZXY"),
    ],
)
def test_axes(labels: tuple[str, ...], ndim: int, rgb: bool, axes: str) -> None:
    assert axes_of(labels, ndim, rgb=rgb) == axes


def test_axes_that_a_person_names() -> None:
    layer = Image(spots(3, 20, 20))
    assert describe(layer, "cyx").axes == "CYX"
    with pytest.raises(RequestError, match="does not fit"):
        describe(layer, "YX")


_TURNED = {"affine": [[0.9, -0.3, 4], [0.4, 1.1, -2], [0, 0, 1]]}


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"scale": (0.5, 2.0), "translate": (7, -3)},
        {"scale": (0.5, 2.0), "rotate": 33},
        {"scale": (2, 2), "shear": [0.4], "translate": (1, 5)},
        {"scale": (0.5, 2.0), "rotate": 20, "translate": (3, 9), **_TURNED},
    ],
    ids=["plain", "scale", "rotate", "shear", "affine"],
)
@pytest.mark.parametrize("factor", [1, 2, 3])
def test_corners_and_centre_lie_on_those_of_the_source(more: dict[str, Any], factor: int) -> None:
    source = Image(np.zeros((30, 41)), **more)
    result = Image(np.zeros((30 * factor, 41 * factor)), **whole_place(source, "YX", factor))
    for share in ((0, 0), (0, 1), (1, 0), (1, 1), (0.5, 0.5), (0.25, 0.8)):
        here = np.array([30, 41]) * share - 0.5  # edges of pixels, not centres
        there = np.array([30, 41]) * factor * share - 0.5
        np.testing.assert_allclose(result.data_to_world(there), source.data_to_world(here), atol=1e-9)


def test_a_piece_of_a_level_lies_on_its_source() -> None:
    source = Image(np.zeros((5, 64, 64)), scale=(3, 0.5, 0.5), translate=(0, 1, 2), rotate=[0, 15, 0])
    # Level 2 is 4 times coarser, restored 2 times finer: 2 source pixels per pixel; rows 8.., columns 12.. of level 2.
    piece = Image(np.zeros((1, 8, 8)), **place(source, [1, 2, 2], [3, 16, 24]))
    np.testing.assert_allclose(piece.data_to_world((0, -0.5, -0.5)), source.data_to_world((3, 31.5, 47.5)))


def _view(image: LayerImage, corners: Any, zoom: float = 1.0, level: int = 0) -> Any:
    return visible(image, level, np.array(corners, float), [0.0] * len(image.axes), zoom)


def test_tiles_go_outwards_from_the_centre_and_cover_what_is_visible() -> None:
    view = _view(LayerImage((np.zeros((900, 900), "uint8"),), "YX"), [(100, 200), (500, 700)])
    assert (view.window.y0, view.window.y1, view.window.x0, view.window.x1) == (100, 501, 200, 701)
    order = boxes(view, 8)
    assert order[0].holds(view.centre)
    assert order[0].y1 - order[0].y0 == 64
    distances = [box.distance(view.centre) for box in order[1:]]
    assert distances == sorted(distances)
    covered = np.zeros((900, 900), int)
    for box in order:
        covered[box.y0 : box.y1, box.x0 : box.x1] += 1
    assert covered.max() == 1  # none twice
    assert covered[100:501, 200:701].all()


def test_nothing_is_visible_beside_the_image() -> None:
    image = LayerImage((np.zeros((90, 90), "uint8"),), "YX")
    assert _view(image, [(200, 200), (300, 300)]) is None
    assert visible(LayerImage((np.zeros((2, 90, 90), "uint8"),), "ZYX"), 0, np.zeros((1, 2)), [7, 0, 0], 1.0) is None


def test_zoomed_out_of_one_level_means_are_restored(gray_model: ModelSpec) -> None:
    pixels = spots(203, 180)
    image = LayerImage((pixels,), "YX")
    request = Request(gray_model.weights)
    view = _view(image, [(0, 0), (202, 179)], zoom=0.3)
    assert view.step == 2
    maps = exact_maps(image, request)
    ends = (maps.of(0).lo, maps.of(0).hi)
    expected = swin2sr_ops.restore(halve(pixels, "YX"), model=gray_model, range=ends).compute()
    box = Box(32, 102, 0, 64)
    np.testing.assert_array_equal(compute(view, box, request.restorer(image), maps), expected[64:204, :128])


def test_a_quick_look_says_that_it_is_one(gray_model: ModelSpec) -> None:
    import dask.array as da

    fine = da.tile(da.from_array(spots(512, 512), chunks=512), (16, 16))
    image = LayerImage((fine, fine[::32, ::32]), "YX")
    maps = quick_maps(image, Request(gray_model.weights))
    assert not maps.exact
    assert maps.of(0).width > 1000
    assert quick_maps(LayerImage((spots(50, 50),), "YX"), Request(gray_model.weights)).exact


def test_a_sheet_is_transparent_until_it_is_painted() -> None:
    image = LayerImage((np.zeros((3, 200, 200, 3), "uint8"),), "ZYXS")
    view = visible(image, 0, np.array([(0.0, 0.0), (199, 199)]), [2.0, 0, 0, 0], 1.0)
    sheet = Sheet(view, [Box(0, 32, 64, 96), Box(32, 64, 96, 128)], 2, "uint8")
    assert sheet.array.shape == (1, 128, 128, 4)
    sheet.put(Box(32, 64, 96, 128), np.full((1, 64, 64, 3), 9, "uint8"))
    assert (sheet.array[0, 64:, 64:] == (9, 9, 9, 255)).all()
    assert (sheet.array[0, :64, :, 3] == 0).all()
    assert sheet.place == ([1.0, 0.5, 0.5], [2.0, 0.0, 128.0])


def test_boxes_are_forgotten_when_there_are_many() -> None:
    view = _view(LayerImage((np.zeros((900, 900), "uint8"),), "YX"), [(0, 0), (500, 700)])
    memory = Memory(budget=1000)
    memory.put(view, Box(0, 1, 0, 1), np.zeros(600, "uint8"))
    memory.put(view, Box(1, 2, 0, 1), np.zeros(600, "uint8"))
    assert memory.get(view, Box(0, 1, 0, 1)) is None
    assert memory.get(view, Box(1, 2, 0, 1)) is not None


def test_a_growing_picture_keeps_the_place_of_tiles() -> None:
    overview = Overview((2, 5000, 3000), "ZYX", "uint16")
    assert overview.step == 4
    overview.put((slice(1, 2), slice(512, 1024), slice(0, 512)), np.full((1, 512, 512), 7, "uint16"))
    assert (overview.array[1, 128:256, :128] == 7).all()
    assert np.isnan(overview.array).sum() == overview.array.size - 128 * 128


def test_levels_in_memory_are_those_of_a_file() -> None:
    pixels = spots(2200, 700)
    target = Pyramid(pixels.shape, "YX", pixels.dtype)
    for y in range(0, 2200, 512):
        target.put((slice(y, min(y + 512, 2200)), slice(0, 700)), pixels[y : y + 512])
    np.testing.assert_array_equal(target.levels[1], halve(pixels, "YX"))
    np.testing.assert_array_equal(target.levels[2], halve(halve(pixels, "YX"), "YX"))


def test_pace() -> None:
    now = [0.0]
    pace = Pace(10, 30, lambda: now[0])
    assert str(pace) == "10 of 30 tiles (10 by an earlier run)"
    now[0] = 20.0
    pace.step(15, 40_000_000)
    assert pace.left == 60.0  # 4 s per tile of this run, 15 to go
    assert str(pace) == "15 of 30 tiles (10 by an earlier run), 2.00 Mpx/s, 60 s left"
    assert (span(5400), span(36_060)) == ("90 min", "10 h 01 min")


def test_a_preview_of_a_volume_sees_the_neighbours(tmp_path: Path) -> None:
    """A model of several planes: the shown plane is that of the whole volume, and so is its map of trust."""
    spec = write_model(tmp_path / "three.safetensors", planes=3, along="Z", scale=1, upsampler="")
    volume = np.stack([spots(100, 90) // (z + 1) for z in range(4)])
    image, request = LayerImage((volume,), "ZYX"), Request(spec.weights)
    views = Request(spec.weights, ensemble=8)
    maps = exact_maps(image, request)
    expected = swin2sr_ops.restore(volume, model=spec, axes="ZYX").compute()
    for z in (0, 2):
        view = visible(image, 0, np.array([(0, 0), (99, 89)], float), [float(z), 0.0, 0.0], 1.0)
        found = compute(view, Box(8, 70, 0, 64), request.restorer(image), maps)
        np.testing.assert_array_equal(found[0], expected[z, 8:70, :64])
        assert Trust(image, views.restorer(image), maps).compute(view, Box(8, 70, 0, 64)).shape == (1, 62, 64)
    with pytest.raises(RequestError, match="without several planes along Z"):
        request.restorer(LayerImage((volume[0],), "YX"))
    assert "with 2 neighbouring planes along Z" in advice(spec, 1)


def test_a_volume_is_restored_at_levels_with_all_planes(tmp_path: Path) -> None:
    """At a level with fewer planes neighbours lie further apart, and the last one has none."""
    spec = write_model(tmp_path / "three.safetensors", planes=3, along="Z", scale=1, upsampler="")
    levels = tuple(np.zeros(shape, np.uint8) for shape in ((8, 80, 64), (8, 40, 32), (4, 20, 16), (1, 10, 8)))
    image = LayerImage(levels, "ZYX")
    assert [level_for(image, 1 / 8), level_for(image, 1 / 8, all_planes=True)] == [3, 1]
    assert Request(spec.weights).seen(image).levels == levels[:2]
    assert Request("nano-x2-gray").seen(image).levels == levels
