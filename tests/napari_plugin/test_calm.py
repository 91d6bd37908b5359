"""Full garbage collections leave out what existed before the work, and only while it runs."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest

pytest.importorskip("napari")

from swin2sr_ops_napari.calm import Calm

from tests.napari_plugin.conftest import spots


def frozen() -> int:
    return gc.get_freeze_count()


def test_objects_are_frozen_while_work_runs(viewer: Any, qtbot: Any) -> None:
    before, working = frozen(), [True]
    calm = Calm(viewer, lambda: working[0])
    calm.keep()
    assert frozen() > before + 10_000
    qtbot.wait(1700)  # two looks
    assert frozen() > before + 10_000
    working[0] = False
    qtbot.waitUntil(lambda: frozen() == 0, timeout=60_000)
    qtbot.wait(800)
    assert frozen() == 0


@pytest.mark.parametrize("known", [True, False])
def test_a_layer_that_is_removed_meanwhile_is_collected(viewer: Any, qtbot: Any, known: bool) -> None:
    """A new one without unfreezing: that is what makes its removal quick."""
    calm = Calm(viewer, lambda: True)
    if not known:
        calm.keep()
    pixels = np.zeros((64, 64), "uint16")
    layer, held = viewer.add_image(pixels, name="new"), weakref.ref(pixels)
    if known:
        calm.keep()
    del pixels
    viewer.layers.remove(layer)
    assert (frozen() == 0) is known
    del layer
    qtbot.waitUntil(lambda: gc.collect() >= 0 and held() is None, timeout=60_000)
    qtbot.waitUntil(lambda: frozen() > 0, timeout=60_000)
    calm.end()
    assert frozen() == 0


@pytest.mark.parametrize("kind", ["memory", "preview"])
def test_a_run_and_a_preview_keep_calm(widget: Any, viewer: Any, qtbot: Any, kind: str) -> None:
    viewer.add_image(spots(300, 300), name="spots")
    (widget.start_preview if kind == "preview" else widget.restore)()
    assert frozen() > 0
    if kind == "preview":
        qtbot.waitUntil(lambda: widget.preview.finished, timeout=60_000)
        assert frozen() > 0
        widget.stop_preview()
    qtbot.waitUntil(lambda: widget.running is None and frozen() == 0, timeout=60_000)


def test_closing_the_dock_ends_it(widget: Any, viewer: Any) -> None:
    viewer.add_image(spots(300, 300), name="spots")
    widget.start_preview()
    widget.leave()
    assert frozen() == 0
