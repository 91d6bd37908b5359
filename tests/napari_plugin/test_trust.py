"""The trust layer: the numbers of the core, at the place of the image, said in words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import swin2sr_ops
from swin2sr_ops.evaluate.fidelity import fidelity_map
from swin2sr_ops.pixels.intensity import IntensityMap
from swin2sr_ops.pixels.intervals import Calibration, Interval, contrast
from swin2sr_ops.spec import ModelSpec
from tests.napari_plugin.conftest import finish, prepare, spots
from tests.napari_plugin.test_widget import sentences


def click(widget: Any, qtbot: Any, output: str = "memory", model: str | None = None) -> Any:
    """Press the button, and wait for the new layer."""
    prepare(widget, output, model=model)
    return pressed(widget, qtbot)


def pressed(widget: Any, qtbot: Any) -> Any:
    widget.trust_button.click()
    qtbot.waitUntil(lambda: widget.running is None, timeout=60_000)
    return widget.viewer.layers[-1]


def calibration(path: Path, spec: ModelSpec, **more: Any) -> str:
    made = Calibration(
        model=spec.name, weights=spec.sha256, ensemble=1, consistent=None, gain=(0.5, 1.0) * 4, floor=0.01,
        scale={"50": 0.5, "90": 2.0, "95": 3.0}, patches=40, pixels=1000, data="cells",
    )  # fmt: skip
    Calibration.from_dict(made.to_dict() | more).write(path / "calibration.json")
    return str(path / "calibration.json")


def test_one_click_shows_where_the_result_contradicts(
    widget: Any, viewer: Any, qtbot: Any, gray_model: ModelSpec
) -> None:
    image = spots(300, 280)  # four tiles: seams would show
    source = viewer.add_image(
        image, name="spots", scale=(0.5, 0.25), translate=(10, 20), units=("um", "um"), rotate=20, blending="additive"
    )
    layer = click(widget, qtbot)
    expected = fidelity_map(swin2sr_ops.restore(image, model=gray_model).compute(), image, 2)
    np.testing.assert_allclose(layer.data, expected, atol=1e-3)
    assert layer.name == "spots x2: contradiction"
    for name in ("scale", "translate", "rotate"):
        np.testing.assert_allclose(getattr(layer, name), getattr(source, name))
    assert layer.units == source.units
    assert source.visible
    assert viewer.layers.selection.active == source
    assert widget.form.layer_box.count() == 1  # the map is no image to restore
    half = float(np.median(expected))
    assert f"at most {half:.3g}, in 99 %" in widget.status.text()
    assert "prove no details" in widget.status.text()
    width = np.ptp(source.contrast_limits)
    assert layer.contrast_limits[0] == 0
    assert layer.contrast_limits[1] >= 0.02 * width  # a difference that does not matter is not drawn bright
    assert f"{100 * np.percentile(expected, 99) / width:.2g} % of the displayed contrast" in widget.status.text()
    finish(widget, qtbot)
    assert "spots x2" in viewer.layers  # and it is still restored alone


def test_best_shows_how_much_the_views_differ(widget: Any, viewer: Any, qtbot: Any) -> None:
    image = spots(40, 44)
    viewer.add_image(image, name="spots", translate=(5, 5))
    form = widget.form
    form.answer("x4", "best")
    layer = pressed(widget, qtbot)
    _, spread = swin2sr_ops.restore(image, model="small-x4-gray", ensemble=8, spread=True)
    np.testing.assert_array_equal(layer.data, spread.compute())
    np.testing.assert_allclose(layer.scale, 0.25)
    np.testing.assert_allclose(layer.translate, 5 - 0.375)
    assert layer.name == "spots x4: views differ"
    assert "can still be wrong" in widget.status.text()


def test_a_calibration_gives_half_widths(
    widget: Any, viewer: Any, qtbot: Any, gray_model: ModelSpec, tmp_path: Path
) -> None:
    image = spots(280, 60)
    viewer.add_image(image, name="spots")
    widget.form.calibration_edit.setText(calibration(tmp_path, gray_model))
    layer = click(widget, qtbot)
    result = swin2sr_ops.restore(image, model=gray_model).compute()
    interval = Interval.of(Calibration.from_dict(_read(tmp_path)), 90)
    ends = IntensityMap(float(image.min()), float(image.max()))
    np.testing.assert_allclose(layer.data, interval.half_width(result, contrast(result, 2, 0, 1), ends), rtol=1e-6)
    assert layer.name == "spots x2: off by (90 %)"
    assert "in 90 % of the pixels" in widget.status.text()
    assert "like those of the calibration (cells)" in widget.status.text()
    assert layer.metadata["swin2sr_ops_trust"]["claim"] == interval.claim


def _read(folder: Path) -> Any:
    return json.loads((folder / "calibration.json").read_text())


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"weights": "0" * 64}, "was made for"),
        ({"ensemble": 8}, "eight views"),
        ({"consistent": "mean"}, "measured intensities kept"),
        ({"scale": {}}, "lacks coverages"),
        ({"kind": "shopping list"}, "is not a calibration"),
        (None, "is not a calibration"),
    ],
)
def test_a_calibration_that_does_not_fit_is_refused_before_anything_runs(
    widget: Any, viewer: Any, gray_model: ModelSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: Any,
    words: str,
) -> None:  # fmt: skip
    path = str(tmp_path / "missing.json")
    if more is not None:
        path = calibration(tmp_path, gray_model)
        (tmp_path / "calibration.json").write_text(json.dumps(_read(tmp_path) | more))
    viewer.add_image(spots(40, 40))
    prepare(widget)
    told = sentences(monkeypatch)
    widget.form.calibration_edit.setText(path)
    widget.trust_button.click()
    assert widget.running is None
    assert words in told[0]


@pytest.mark.parametrize("kind", ["RGB", "RGBA", "time", "channels", "columns first"])
def test_any_layer(
    widget: Any, viewer: Any, qtbot: Any, gray_model: ModelSpec, rgb_model: ModelSpec, kind: str
) -> None:
    colours = {"RGB": 3, "RGBA": 4}.get(kind, 0)
    planes = [spots(40, 50, dtype="uint8", seed=s) for s in range(colours or 2)]
    image = np.stack(planes, -1 if colours else 0)
    labels = {"time": ("t", "y", "x"), "channels": ("c", "y", "x"), "columns first": ("t", "x", "y")}.get(kind)
    viewer.add_image(image, rgb=bool(colours), axis_labels=labels)
    layer = click(widget, qtbot, model=(rgb_model if colours else gray_model).weights)
    assert not layer.rgb
    if colours:
        result = swin2sr_ops.restore(image, model=rgb_model, axes="YXS").compute()
        expected = fidelity_map(result[..., :3], image[..., :3], 2)
    else:
        axes = {"channels": "CYX", "columns first": "TXY"}.get(kind, "TYX")
        result = swin2sr_ops.restore(image, model=gray_model, axes=axes).compute()
        expected = np.stack([fidelity_map(r, i, 2) for r, i in zip(result, image, strict=True)])
    np.testing.assert_allclose(layer.data, expected, atol=1e-3)


def test_a_model_that_cleans_shows_what_it_removed(widget: Any, viewer: Any, qtbot: Any) -> None:
    image = spots(40, 50)
    image[20, 20] = 60_000
    viewer.add_image(image)
    layer = click(widget, qtbot, model="tiny-x1-gray")
    result = swin2sr_ops.restore(image, model="tiny-x1-gray").compute()
    np.testing.assert_array_equal(layer.data, np.abs(result.astype("f8") - image).astype("f4"))
    assert "what was removed" in widget.status.text()


def test_holes_stay_holes(widget: Any, viewer: Any, qtbot: Any) -> None:
    image = spots(40, 50, dtype="float32")
    image[10:20, 10:20] = np.nan
    viewer.add_image(image, contrast_limits=(0, 1))
    layer = click(widget, qtbot)
    assert np.isnan(layer.data[12:18, 12:18]).all()
    assert np.isfinite(layer.data[30:, 30:]).all()
    assert "nan" not in widget.status.text()


def test_cancel_makes_no_layer(widget: Any, viewer: Any, qtbot: Any) -> None:
    viewer.add_image(spots(1100, 1100, dtype="uint8"), name="spots")
    prepare(widget)
    widget.trust_button.click()
    assert not widget.trust_button.isEnabled()
    assert not widget.restore_button.isEnabled()
    qtbot.waitUntil(lambda: widget.bar.value() > 0, timeout=60_000)
    assert widget.bar.maximum() == 25
    widget.cancel_button.click()
    qtbot.waitUntil(lambda: widget.running is None, timeout=60_000)
    assert [layer.name for layer in viewer.layers] == ["spots"]
    assert widget.status.text() == "Cancelled. No trust layer was made."


def test_where_one_looks(widget: Any, viewer: Any, qtbot: Any, gray_model: ModelSpec) -> None:
    image = spots(600, 600)
    viewer.add_image(image, name="spots")
    viewer.reset_view()
    layer = click(widget, qtbot, "lazy")
    assert layer.multiscale
    assert layer.data[0].shape == (600, 600)
    expected = fidelity_map(swin2sr_ops.restore(image, model=gray_model).compute(), image, 2)
    np.testing.assert_allclose(np.asarray(layer.data[0][100:300, 100:300]), expected[100:300, 100:300], atol=1e-3)
    assert "Bright places contradict" in widget.status.text()


def test_a_map_that_does_not_fit_memory_names_the_lazy_layer(
    widget: Any, viewer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import psutil

    viewer.add_image(spots(200, 200))
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Free", (), {"available": 100_000}))
    prepare(widget)
    told = sentences(monkeypatch)
    widget.trust_button.click()
    assert "Lazy layer" in told[0]


def test_measured_intensities_are_kept(widget: Any, viewer: Any, qtbot: Any, gray_model: ModelSpec) -> None:
    image = spots(40, 50)
    viewer.add_image(image)
    form = widget.form
    prepare(widget)
    form.consistent_box.setChecked(True)
    result = finish(widget, qtbot)
    np.testing.assert_array_equal(
        result.data, swin2sr_ops.restore(image, model=gray_model, consistent="mean").compute()
    )
    blocks = result.data.astype(int).reshape(40, 2, 50, 2).sum((1, 3))
    np.testing.assert_array_equal(blocks, 4 * image.astype(int))
    assert "--consistent mean" in form.request().command("a.tif", "b.ome.zarr", form.image())
    form.answer("x1", "fast")  # makes one pixel of one: there is nothing to keep
    assert not form.consistent_box.isEnabled()
    assert form.request().consistent is None


def test_choose_for_me_answers_the_questions(widget: Any, viewer: Any, qtbot: Any) -> None:
    noisy = spots(300, 300, dtype="float32") * 200 + np.random.default_rng(0).normal(0, 20, (300, 300))
    viewer.add_image(noisy.clip(0, 255).astype("uint8"), name="noisy")
    form = widget.form
    form.choose_button.click()
    qtbot.waitUntil(lambda: widget.running is None, timeout=60_000)
    assert (form.task_box.currentData(), form.quality_box.currentData()) == ("x1", "good")
    assert widget.status.text().startswith("Chosen: Clean noise and compression, good. The noise is")
    assert "small-x1-gray" in widget._more
    assert not widget.more_button.isHidden()
    assert [layer.name for layer in viewer.layers] == ["noisy"]
    form.choose_model("nano-x2-gray")  # an earlier choice by name gives way
    form.choose_button.click()
    qtbot.waitUntil(lambda: widget.running is None, timeout=60_000)
    assert form.request().model == "small-x1-gray"


def test_choose_for_me_says_where_nothing_fits(widget: Any, viewer: Any, qtbot: Any) -> None:
    viewer.add_image(np.full((200, 200), 7, "uint8"), contrast_limits=(0, 255))
    before = widget.form.request().model
    widget.form.choose_button.click()
    qtbot.waitUntil(lambda: widget.running is None, timeout=60_000)
    assert widget.status.text().startswith("No model fits: All measured pixels have one value")
    assert widget.form.request().model == before


def test_choose_for_me_answers_for_the_image_that_it_measured(widget: Any, viewer: Any, qtbot: Any) -> None:
    noisy = spots(300, 300, dtype="float32") * 200 + np.random.default_rng(0).normal(0, 20, (300, 300))
    first = viewer.add_image(noisy.clip(0, 255).astype("uint8"), name="noisy")
    second = viewer.add_image(spots(60, 60), name="second")
    form = widget.form
    viewer.layers.selection.active = first
    before = form.request().model
    form.choose_button.click()
    viewer.layers.selection.active = second  # while the first is measured
    qtbot.waitUntil(lambda: widget.running is None, timeout=60_000)
    assert form.layer == second
    assert form.request().model == before
    assert widget.status.text().startswith("'noisy' was measured, and another image is chosen now")
