"""Layers that are drawn at once and restored where one looks: exact for everything but the drawing."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from dataclasses import dataclass, field
from typing import Any

import dask.array as da
import numpy as np
import pytest
from swin2sr_ops_napari.layers import LayerImage
from swin2sr_ops_napari.lazy import serve
from swin2sr_ops_napari.view import read_view

import swin2sr_ops
from swin2sr_ops.spec import ModelSpec
from tests.napari_plugin.conftest import finish, prepare, spots


@dataclass
class Doubled:
    """Repeats pixels; waits for ``go``; notes what it computed."""

    axes: str
    dtype: Any
    scale: int = 2
    go: threading.Event = field(default_factory=threading.Event)
    computed: list[Any] = field(default_factory=list)
    broken: bool = False

    def compute(self, view: Any, box: Any) -> Any:
        self.go.wait(20)
        self.computed.append((view.plane, box))
        if self.broken:
            raise ValueError("broken")
        block = read_view(view, box)
        return block.repeat(self.scale, view.order.y).repeat(self.scale, view.order.x)


def served(image: np.ndarray, axes: str, go: bool = True) -> tuple[Any, Doubled, np.ndarray]:
    found = Doubled(axes, image.dtype)
    if go:
        found.go.set()
    y, x = axes.index("Y"), axes.index("X")
    return serve(LayerImage((image,), axes), found), found, image.repeat(2, y).repeat(2, x)


def drawn(part: Any) -> np.ndarray:
    """Read as the viewer's drawing code does."""
    scope: dict[str, Any] = {"__name__": "napari.layers.somewhere", "np": np, "part": part}
    exec("found = np.asarray(part)", scope)
    return scope["found"]


def settle(server: Any) -> None:
    end = time.monotonic() + 20
    while server.busy and time.monotonic() < end:
        time.sleep(0.01)
    assert not server.busy


@pytest.mark.parametrize(
    "key",
    [
        (0, slice(10, 40), slice(5, 20)), (slice(None), 7, -1), (slice(1, 3),), 2, (Ellipsis, slice(3, 9)),
        (slice(None), slice(None, None, 3), slice(4, 90)), (slice(None), slice(-20, None), slice(0, 0)), (1, 2, 3),
        (np.int64(1), slice(200, 900), slice(None)),
    ],
)  # fmt: skip
def test_it_is_read_as_an_array(key: Any) -> None:
    server, _, whole = served(spots(3, 150, 140), "TYX")
    level = server.levels[0]
    assert (level.shape, level.ndim, level.size, level.dtype) == (whole.shape, 3, whole.size, whole.dtype)
    np.testing.assert_array_equal(np.asarray(level[key]), whole[key])
    np.testing.assert_array_equal(np.asarray(level[:, 10:200][:, 5:50, 3]), whole[:, 10:200][:, 5:50, 3])
    np.testing.assert_array_equal(da.from_array(level, chunks=(1, 64, 64)).compute(), whole)
    with pytest.raises(IndexError):
        level[5]


def test_a_slice_computes_nothing() -> None:
    server, found, _ = served(spots(300, 300), "YX")
    assert server.levels[0][5:100, 5:100].shape == (95, 95)
    assert not found.computed


def test_drawing_never_waits_and_gets_what_is_known() -> None:
    server, found, whole = served(spots(600, 600), "YX", go=False)
    level = server.levels[0]
    began = time.monotonic()
    first = drawn(level[0:600, 0:600])
    assert time.monotonic() - began < 2
    assert not first.any()
    rung = threading.Event()
    server.tell = lambda _error: rung.set()
    found.go.set()
    settle(server)
    assert rung.is_set()
    np.testing.assert_array_equal(drawn(level[0:600, 0:600]), whole[0:600, 0:600])
    assert not server.busy  # nothing was missing any more


def test_the_smallest_level_stands_for_what_is_missing() -> None:
    server, found, whole = served(spots(600, 600), "YX")
    server.begin(())
    found.go.clear()
    coarse = drawn(server.levels[0][100:500, 100:500])
    assert np.corrcoef(coarse.ravel(), whole[100:500, 100:500].ravel())[0, 1] > 0.9
    found.go.set()
    settle(server)


def test_the_newest_view_counts_and_its_centre_comes_first() -> None:
    server, found, _ = served(spots(2000, 2000, dtype="uint8"), "YX", go=False)
    level = server.levels[0]
    drawn(level[0:800, 0:800])
    drawn(level[2600:3600, 2600:3600])
    found.go.set()
    settle(server)
    tiles = [box for plane, box in found.computed if plane[0] == 0]
    assert sum(box.y0 < 400 for box in tiles) <= 1  # the one that was at work
    later = [box for box in tiles if box.y0 >= 1200]
    assert later[0].distance((1550, 1550)) < 100


def test_an_error_is_told_and_not_tried_for_ever() -> None:
    server, found, _ = served(spots(300, 300), "YX")
    found.broken = True
    told: list[Any] = []
    server.tell = told.append
    drawn(server.levels[0][0:200, 0:200])
    settle(server)
    count = len(found.computed)
    assert any(isinstance(error, ValueError) for error in told)
    drawn(server.levels[0][0:200, 0:200])
    settle(server)
    assert len(found.computed) == count


def test_more_than_can_be_kept_is_not_computed_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    from swin2sr_ops_napari import served as module

    monkeypatch.setattr(module, "_BUDGET", 3 * 256 * 256 * 2)
    server, found, _ = served(spots(1000, 1000), "YX")
    for _ in range(4):
        drawn(server.levels[0][0:2000, 0:2000])
        settle(server)
    assert len(found.computed) <= 4


def test_the_window_does_not_wait(
    widget: Any, viewer: Any, qtbot: Any, gray_model: ModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The layer is added and drawn while its tiles cannot be computed; then they come."""
    from swin2sr_ops_napari import lazy

    image = spots(700, 700)
    viewer.add_image(image, name="spots")
    viewer.scene.camera.zoom, viewer.scene.camera.center = 2.0, (0, 350, 350)
    go, real = threading.Event(), lazy.compute

    def slow(view: Any, *given: Any) -> Any:
        if view.level == 0:
            go.wait(30)
        return real(view, *given)

    monkeypatch.setattr(lazy, "compute", slow)
    layer = finish(widget, qtbot, "lazy")
    server = layer.data[0].server
    assert layer.name == "spots x2"
    assert not go.is_set()  # and the test came here
    began = time.monotonic()
    viewer.scene.camera.center = (0, 400, 400)
    layer.refresh()
    assert time.monotonic() - began < 2
    go.set()
    qtbot.waitUntil(lambda: not server.busy, timeout=60_000)
    qtbot.wait(400)
    expected = swin2sr_ops.restore(image, model=gray_model).compute()
    level, value = layer.get_value((350.0, 350.0), world=True)
    if level == 0:
        assert value == expected[700, 700]
    np.testing.assert_array_equal(np.asarray(layer.data[0][600:800, 600:800]), expected[600:800, 600:800])


def test_time_is_followed(widget: Any, viewer: Any, qtbot: Any, gray_model: ModelSpec) -> None:
    stack = spots(3, 100, 100)
    viewer.add_image(stack, axis_labels=("t", "y", "x"), contrast_limits=(0, 4000))
    viewer.dims.set_current_step(0, 2)
    layer = finish(widget, qtbot, "lazy")
    expected = swin2sr_ops.restore(stack, model=gray_model, axes="TYX").compute()
    server = (layer.data[0] if layer.multiscale else layer.data).server
    for step in (2, 0):
        viewer.dims.set_current_step(0, step)
        qtbot.waitUntil(lambda: not server.busy, timeout=60_000)
        qtbot.wait(400)
        value = layer.get_value((float(step), 50.0, 50.0), world=True)
        value = value[1] if isinstance(value, tuple) else value
        assert value == expected[step, 100, 100]


def test_a_layer_that_was_removed_rests(widget: Any, viewer: Any, qtbot: Any) -> None:
    viewer.add_image(spots(500, 500), name="spots")
    layer = finish(widget, qtbot, "lazy")
    server = layer.data[0].server
    viewer.layers.remove(layer)
    qtbot.waitUntil(lambda: not server.busy, timeout=60_000)
    qtbot.wait(400)
    assert not server.busy


def test_a_duplicate_shares_the_tiles(widget: Any, viewer: Any, qtbot: Any, gray_model: ModelSpec) -> None:
    from copy import deepcopy

    from napari.layers import Layer

    image = spots(300, 300)
    viewer.add_image(image, name="spots")
    layer = finish(widget, qtbot, "lazy")
    data, state, kind = layer.as_layer_data_tuple()
    twin = viewer.add_layer(Layer.create(deepcopy(data), state | {"name": "twin"}, kind))
    server = layer.data[0].server
    assert twin.data[0].server is server
    viewer.layers.remove(layer)
    viewer.scene.camera.zoom = 3.0
    qtbot.wait(500)
    qtbot.waitUntil(lambda: not server.busy, timeout=60_000)
    qtbot.wait(400)
    expected = swin2sr_ops.restore(image, model=gray_model).compute()
    level, value = twin.get_value((150.0, 150.0), world=True)
    assert level == 0
    assert value == expected[300, 300]


def test_coarser_values_are_looked_up_once_for_all_missing_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """The window's thread does this at each drawing."""
    server, found, _ = served(np.zeros((16_000, 16_000), "uint16"), "YX")
    server.begin(())
    found.go.clear()
    asked: list[Any] = []
    real = server._kept.get
    monkeypatch.setattr(server._kept, "get", lambda *tile: asked.append(tile) or real(*tile))
    drawn(server.levels[0][10_000:11_600, 10_000:12_500])
    count = len(asked)
    server.rest()
    found.go.set()
    settle(server)
    tiles = sum(view.level == 0 for view, _ in asked[:count])
    assert tiles >= 60
    assert count < 2 * tiles


def test_colours_count_in_what_can_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    from swin2sr_ops_napari import served as module

    monkeypatch.setattr(module, "_BUDGET", 3 * 256 * 256 * 3)
    image = np.stack([spots(1000, 1000, dtype="uint8")] * 3, -1)
    server, found, _ = served(image, "YXS")
    for _ in range(4):
        drawn(server.levels[0][0:2000, 0:2000])
        settle(server)
    assert len(found.computed) <= 4


@pytest.mark.parametrize("trust", [False, True])
def test_a_removed_layer_leaves_no_pixels_in_memory(
    widget: Any, viewer: Any, qtbot: Any, gray_model: ModelSpec, trust: bool
) -> None:
    """The window stays open: it must not hold the tiles, or the source's pixels."""
    viewer.add_image(spots(600, 600), name="spots")
    prepare(widget, "lazy")
    (widget.trust if trust else widget.restore)()
    qtbot.waitUntil(lambda: widget.running is None, timeout=60_000)
    layer = viewer.layers[-1]
    server = weakref.ref(layer.data[0].server)
    qtbot.waitUntil(lambda: not server().busy, timeout=60_000)
    assert server()._kept._size > 0
    kept = weakref.ref(server()._kept)
    viewer.layers.remove(layer)
    assert kept() is None or kept()._size == 0
    del layer
    viewer.layers.clear()
    qtbot.waitUntil(lambda: gc.collect() >= 0 and server() is None, timeout=60_000)


def test_a_layer_that_is_added_again_is_drawn_again(widget: Any, viewer: Any, qtbot: Any) -> None:
    viewer.add_image(spots(600, 600), name="spots")
    layer = finish(widget, qtbot, "lazy")
    server = layer.data[0].server
    viewer.layers.remove(layer)
    assert server._kept._size == 0
    told: list[Any] = []
    viewer.layers.append(layer)
    layer.events.set_data.connect(lambda _event: told.append(1))
    layer.refresh()
    qtbot.waitUntil(lambda: server._kept._size > 0 and not server.busy, timeout=60_000)
    before = len(told)
    qtbot.waitUntil(lambda: len(told) > before, timeout=60_000)
