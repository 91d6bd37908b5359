"""A viewer under a virtual display, and the widget in it; skipped with a reason where neither can be had."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

from swin2sr_ops.spec import ModelSpec

with suppress(ImportError):
    # Other tests import it in the same process: after a window that Mesa draws, that is a segmentation fault, for both
    # bring an LLVM. Before it, they get on.
    import triton  # noqa: F401


def missing() -> str:
    """What keeps a viewer from being shown here; empty where nothing does."""
    for name, package in (("napari", "napari"), ("qtpy", "napari"), ("pytestqt", "pytest-qt")):
        if find_spec(name) is None:
            return f"{package} is not installed"
    if not sys.platform.startswith("linux") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        return ""
    if shutil.which("Xvfb") is None:
        return "there is no display and no Xvfb"
    return "" if find_spec("pytest_xvfb") else "there is no display and pytest-xvfb is not installed"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Qt without a display ends the process: such tests are not even begun."""
    reason = missing()
    for item in items:
        if "napari_plugin" in str(item.path) and "make_napari_viewer_proxy" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.skipif(bool(reason), reason=reason or "-"))


if missing():

    @pytest.fixture
    def make_napari_viewer_proxy() -> None:
        """Stands for napari's own where that is not installed; tests that ask for it are skipped."""


@pytest.fixture
def viewer(make_napari_viewer_proxy: Callable[..., Any], request: pytest.FixtureRequest) -> Any:
    """What plugins are given: private attributes cannot be reached. Shown for tests that ask for `drawn`."""
    return make_napari_viewer_proxy(show="drawn" in request.fixturenames)


@pytest.fixture
def drawn() -> None:
    """Asks for a viewer that is shown."""


@pytest.fixture
def widget(viewer: Any, gray_model: ModelSpec, qtbot: Any) -> Iterator[Any]:
    """The dock widget, opened as napari does, with a model that takes milliseconds."""
    _, found = viewer.window.add_plugin_dock_widget("swin2sr-ops", "Restore")
    found.model = gray_model.weights
    yield found
    if getattr(found, "closed", False):
        return
    found.stop_preview()
    if found.running is not None:
        found.cancel()
        qtbot.waitUntil(lambda: found.running is None, timeout=60_000)


def spots(*shape: int, dtype: str = "uint16", seed: int = 0) -> np.ndarray:
    """Smooth spots of light."""
    y, x = np.mgrid[: shape[-2], : shape[-1]] / 9.0
    phases = np.random.default_rng(seed).uniform(0, 6, (*shape[:-2], 1, 1))
    top = 250 if dtype == "uint8" else 1 if dtype.startswith("float") else 4000
    return (top * (0.05 + 0.22 * (2 + np.sin(y + phases) + np.cos(1.3 * x - phases)))).astype(dtype)


def finish(widget: Any, qtbot: Any, output: str = "memory", **chosen: Any) -> Any:
    """Choose, restore, wait, and return the layer that is new, or the top one where there is none."""
    prepare(widget, output, **chosen)
    before = list(widget.viewer.layers)
    widget.restore()
    qtbot.waitUntil(lambda: widget.running is None, timeout=60_000)
    return next((layer for layer in widget.viewer.layers if layer not in before), widget.viewer.layers[-1])


def prepare(widget: Any, output: str = "memory", *, model: str | None = None, path: Any = None) -> None:
    """Make choices as a person does."""
    form, wanted = widget.form, model or widget.model
    if form.model_box.findData(wanted) < 0:
        form.add_model(wanted)
    form.choose_model(wanted)
    form.output_box.setCurrentIndex(form.output_box.findData(output))
    if path is not None:
        form.path_edit.setText(str(path))
