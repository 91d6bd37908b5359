"""A run onto disk with the trust map: in the folder, and as a layer."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

import swin2sr_ops
from swin2sr_ops.evaluate.fidelity import fidelity_map
from swin2sr_ops.pixels import statistics
from swin2sr_ops.spec import ModelSpec
from tests.napari_plugin.conftest import prepare, spots
from tests.napari_plugin.test_trust import calibration

zarr = pytest.importorskip("zarr")


def run(widget: Any, qtbot: Any, path: Path) -> tuple[Any, Any]:
    """Restore onto disk with the box ticked; return the result's layer and the trust layer."""
    form = widget.form
    form.output_box.setCurrentIndex(form.output_box.findData("disk"))
    form.path_edit.setText(str(path))
    form.trust_box.setChecked(True)
    widget.restore_button.click()
    qtbot.waitUntil(lambda: widget.running is None, timeout=60_000)
    return tuple(widget.viewer.layers)[-2:]  # type: ignore[return-value]


def full(layer: Any) -> np.ndarray:
    return np.asarray(layer.data[0] if layer.multiscale else layer.data)


def test_best_stores_how_much_the_views_differ(
    widget: Any, viewer: Any, qtbot: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = spots(40, 44)
    viewer.add_image(image, name="spots", translate=(5, 5))
    widget.form.answer("x4", "best")
    result, trust = run(widget, qtbot, tmp_path / "a.ome.zarr")
    stored = zarr.open_array(tmp_path / "a.ome.zarr" / "spread" / "0", mode="r")[:]
    lazy, spread = swin2sr_ops.restore(image, model="small-x4-gray", ensemble=8, spread=True)
    np.testing.assert_array_equal(full(result), lazy.compute())
    np.testing.assert_array_equal(stored, spread.compute())
    np.testing.assert_array_equal(full(trust), stored)
    np.testing.assert_allclose(trust.scale, 0.25)
    np.testing.assert_allclose(trust.translate, 5 - 0.375)
    assert (result.name, trust.name) == ("spots x4", "spots x4: views differ")
    assert "In the folder, spread holds the trust map." in widget.status.text()
    assert widget.form.layer_box.count() == 2  # the map is no image to restore
    widget.restore_button.click()  # finished before: neither layer comes twice
    qtbot.waitUntil(lambda: widget.running is None, timeout=60_000)
    assert len(viewer.layers) == 3
    viewer.layers.remove(trust)
    monkeypatch.setattr(statistics.Statistics, "of", lambda *a, **k: pytest.fail("the pixels were read again"))
    again = run(widget, qtbot, tmp_path / "a.ome.zarr")[-1]
    np.testing.assert_array_equal(full(again), stored)


def test_a_calibration_stores_half_widths(
    widget: Any, viewer: Any, qtbot: Any, gray_model: ModelSpec, tmp_path: Path
) -> None:
    image = spots(280, 300)
    path = tmp_path / "in.tif"
    tifffile.imwrite(path, image)
    viewer.open(str(path), plugin="napari")
    prepare(widget)
    widget.form.calibration_edit.setText(calibration(tmp_path, gray_model))
    _, trust = run(widget, qtbot, tmp_path / "b.ome.zarr")
    stored = zarr.open_array(tmp_path / "b.ome.zarr" / "interval" / "0", mode="r")[:]
    assert trust.multiscale  # smaller levels are computed: reading the full size for them would take minutes
    np.testing.assert_array_equal(full(trust), stored)
    assert np.asarray(trust.data[-1]).shape == trust.data[-1].shape
    words = shlex.split(widget.command)
    assert words[words.index("--interval") + 1] == "90"
    assert words[words.index("--calibration") + 1] == str(tmp_path / "calibration.json")


def test_a_single_view_flags_contradictions(
    widget: Any, viewer: Any, qtbot: Any, gray_model: ModelSpec, tmp_path: Path
) -> None:
    image = spots(60, 70)
    viewer.add_image(image, name="spots", contrast_limits=(0, 1000))
    prepare(widget)
    _, trust = run(widget, qtbot, tmp_path / "c.ome.zarr")
    flags = zarr.open_array(tmp_path / "c.ome.zarr" / "labels" / "not_trusted" / "0", mode="r")[:]
    result = swin2sr_ops.restore(image, model=gray_model).compute()
    off = np.abs(result.reshape(60, 2, 70, 2).mean((1, 3)) - image) > 20
    np.testing.assert_array_equal(flags[::2, ::2] > 0, off)
    assert off.any()
    np.testing.assert_allclose(full(trust), fidelity_map(result, image, 2), atol=1e-3)
    assert "labels/not_trusted flags contradictions above 20." in widget.status.text()


def test_one_channel_of_a_file_shows_its_own_map(
    widget: Any, viewer: Any, qtbot: Any, gray_model: ModelSpec, tmp_path: Path
) -> None:
    image = np.stack([spots(40, 50), spots(40, 50, seed=3) // 4])
    path = tmp_path / "in.ome.tif"
    tifffile.imwrite(path, image, metadata={"axes": "CYX"})
    for n in range(2):
        viewer.add_image(image[n], name=f"c{n}", metadata={"swin2sr_ops": {"uri": str(path)}})
    prepare(widget)
    widget.form.calibration_edit.setText(calibration(tmp_path, gray_model))
    viewer.layers.selection.active = viewer.layers["c1"]
    _, trust = run(widget, qtbot, tmp_path / "d.ome.zarr")
    stored = zarr.open_array(tmp_path / "d.ome.zarr" / "interval" / "0", mode="r")[:]
    np.testing.assert_array_equal(full(trust), stored[1])
    assert trust.name.startswith("c1 x2")


@pytest.mark.parametrize("alpha", [0, 1])
def test_colours_show_the_largest(
    widget: Any, viewer: Any, qtbot: Any, rgb_model: ModelSpec, tmp_path: Path, alpha: int
) -> None:
    image = np.stack([spots(40, 50, dtype="uint8", seed=s) for s in range(3 + alpha)], -1)
    viewer.add_image(image, rgb=True, name="rgb")
    prepare(widget, model=rgb_model.weights)
    widget.form.calibration_edit.setText(calibration(tmp_path, rgb_model))
    _, trust = run(widget, qtbot, tmp_path / "e.ome.zarr")
    stored = zarr.open_array(tmp_path / "e.ome.zarr" / "interval" / "0", mode="r")[:]
    np.testing.assert_array_equal(full(trust), stored[:3].max(0))


def test_without_the_box_nothing_lies_beside(widget: Any, viewer: Any, qtbot: Any, tmp_path: Path) -> None:
    viewer.add_image(spots(40, 44), name="spots")
    prepare(widget, "disk", path=tmp_path / "f.ome.zarr")
    widget.restore_button.click()
    qtbot.waitUntil(lambda: widget.running is None, timeout=60_000)
    assert not (tmp_path / "f.ome.zarr" / "labels").exists()
    assert len(viewer.layers) == 2


def test_the_plan_counts_the_map(widget: Any, viewer: Any, tmp_path: Path) -> None:
    viewer.add_image(spots(1000, 1000), name="spots")
    form = widget.form
    form.answer("x2", "good")
    form.output_box.setCurrentIndex(form.output_box.findData("disk"))
    assert widget.plan.text().endswith(", 8.0 MB")
    form.trust_box.setChecked(True)
    assert widget.plan.text().endswith(", 12 MB")  # flags
    form.answer("x2", "best")
    assert widget.plan.text().endswith(", 24 MB")  # float32
    form.answer("x2", "good")
    form.calibration_edit.setText(str(tmp_path / "any.json"))
    assert widget.plan.text().endswith(", 24 MB")
    form.output_box.setCurrentIndex(form.output_box.findData("memory"))
    assert widget.plan.text().endswith(", 8.0 MB")
