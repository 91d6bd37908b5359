"""The form: which layer it holds, which model its words choose, what it says about axes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("napari")

from swin2sr_ops_napari.layers import LayerImage
from swin2sr_ops_napari.messages import in_words, sentence
from swin2sr_ops_napari.request import Request

from swin2sr_ops.errors import DownloadError, ModelError, OutputError, RequestError
from tests.conftest import write_model
from tests.napari_plugin.conftest import finish, prepare, spots


def listed(form: Any) -> list[str]:
    return [form.layer_box.itemText(i) for i in range(form.layer_box.count())]


def test_a_renamed_layer_stays_chosen(widget: Any, viewer: Any) -> None:
    first = viewer.add_image(spots(20, 20), name="image")
    widget.form.layer_box.setCurrentText("image")
    first.name = "renamed"
    assert widget.form.layer == first
    assert listed(widget.form) == ["renamed"]


def test_swapped_names_do_not_swap_images(widget: Any, viewer: Any, qtbot: Any) -> None:
    first = viewer.add_image(spots(20, 20), name="a")
    second = viewer.add_image(spots(30, 30), name="b")
    viewer.layers.selection.active = first
    assert widget.form.layer == first
    first.name, second.name = "tmp", "a"
    first.name = "b"
    assert finish(widget, qtbot).data.shape == (40, 40)


def test_only_images_are_listed_and_the_selection_is_followed(widget: Any, viewer: Any) -> None:
    image = viewer.add_image(spots(20, 20), name="image")
    viewer.add_labels(np.zeros((20, 20), int), name="cells")
    viewer.add_points(np.array([[5, 5]]), name="points")
    assert listed(widget.form) == ["image"]
    other = viewer.add_image(spots(20, 20), name="other")
    assert widget.form.layer == other  # it was just opened
    viewer.layers.selection.active = image
    assert widget.form.layer == image


def test_a_result_does_not_become_the_choice(widget: Any, viewer: Any, qtbot: Any) -> None:
    image = viewer.add_image(spots(20, 20), name="image")
    viewer.layers.selection.clear()
    finish(widget, qtbot)
    assert widget.form.layer == image


def test_all_selected_layers_are_restored(widget: Any, viewer: Any, qtbot: Any) -> None:
    first, second = (viewer.add_image(spots(20, 20), name=name) for name in ("DAPI", "GFP"))
    viewer.layers.selection = {first, second}
    prepare(widget)
    widget.restore()
    qtbot.waitUntil(lambda: widget.running is None and len(viewer.layers) == 4, timeout=60_000)
    assert {layer.name for layer in viewer.layers} == {"DAPI", "GFP", "DAPI x2", "GFP x2"}


def test_two_layers_and_one_folder_are_refused(widget: Any, viewer: Any, tmp_path: Any) -> None:
    viewer.layers.selection = {viewer.add_image(spots(20, 20), name=name) for name in ("DAPI", "GFP")}
    prepare(widget, "disk", path=tmp_path / "out.ome.zarr")
    widget.restore()
    assert widget.running is None
    assert "select one layer" in widget.status.text()


@pytest.mark.parametrize(
    ("task", "quality", "model", "ensemble"),
    [
        ("x2", "fast", "nano-x2-gray", 1), ("x2", "good", "small-x2-gray", 1), ("x2", "best", "small-x2-gray", 8),
        ("x4", "fast", "tiny-x4-gray", 1), ("x4", "good", "small-x4-gray", 1),
        ("x1", "fast", "tiny-x1-gray", 1), ("x1", "good", "small-x1-gray", 1),
    ],
)  # fmt: skip
def test_words_choose_the_model(widget: Any, viewer: Any, task: str, quality: str, model: str, ensemble: int) -> None:
    viewer.add_image(spots(20, 20))
    form = widget.form
    form.task_box.setCurrentIndex(form.task_box.findData(task))
    form.quality_box.setCurrentIndex(form.quality_box.findData(quality))
    request = form.request()
    assert (request.model, request.ensemble) == (model, ensemble)
    assert model in form.model_note.text()


def test_best_shows_the_pixels_of_the_ensemble(widget: Any, viewer: Any, qtbot: Any) -> None:
    import swin2sr_ops

    image = spots(40, 44)
    viewer.add_image(image)
    viewer.scene.camera.zoom = 8
    form = widget.form
    form.task_box.setCurrentIndex(form.task_box.findData("x4"))
    form.quality_box.setCurrentIndex(form.quality_box.findData("best"))
    widget.start_preview()
    qtbot.waitUntil(lambda: widget.preview.finished, timeout=120_000)
    expected = swin2sr_ops.restore(image, model="small-x4-gray", ensemble=8).compute()
    np.testing.assert_array_equal(widget.preview.layer.data, expected)


def test_unnamed_dimensions_are_said_and_changed_by_one_click(widget: Any, viewer: Any) -> None:
    viewer.add_image(spots(2, 3, 20, 22))
    form = widget.form
    assert not form.axes_row.isHidden()
    assert form.axes_note.text() == "Taken as time T = 2, depth Z = 3, Y = 20, X = 22."
    assert form.image().axes == "TZYX"
    form.axes_button.click()
    assert form.image().axes == "CZYX"
    assert "channel C = 2" in form.axes_note.text()
    viewer.add_image(spots(2, 20, 22), axis_labels=("c", "y", "x"))
    assert form.axes_row.isHidden()


def test_ranges_in_words(widget: Any, viewer: Any) -> None:
    viewer.add_image(spots(20, 20), contrast_limits=(5, 500))
    form = widget.form
    for text, expected in (
        ("whole range", "auto"), ("ignore the brightest 0.2 %", "p0,p99.8"), ("as displayed", "5,500"),
        ("0; 4095", "0,4095"), ("p1,p99", "p1,p99"),
    ):  # fmt: skip
        form.range_box.setCurrentText(text)
        assert form.request().range == expected
    form.range_box.setCurrentText("two numbers ...")
    assert form.range_box.currentText() == "5, 500"
    form.range_box.setCurrentText("4095,0")
    with pytest.raises(RequestError, match="'Intensity range'"):
        form.request()


def test_models_are_grouped_and_those_on_disk_come_first(widget: Any, viewer: Any) -> None:
    viewer.add_image(np.zeros((20, 20, 3), "uint8"), rgb=True)
    box = widget.form.model_box
    rows = [(box.itemText(i), box.itemData(i)) for i in range(box.count())]
    assert rows[0][0] == box.currentText() == "By the answers above"
    headings = [text for text, data in rows if data is None]
    assert headings[0] == "Enlarge"
    assert "Remove noise" in headings
    enlarge = [text for text, _ in rows[rows.index(("Enlarge", None)) + 1 :]]
    assert "(download)" not in enlarge[0]


def test_a_model_that_is_not_here_is_refused_with_the_button_s_name(
    widget: Any, viewer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.napari_plugin.test_widget import sentences

    told = sentences(monkeypatch)
    viewer.add_image(np.zeros((20, 20, 3), "uint8"), rgb=True)
    monkeypatch.setattr("swin2sr_ops_napari.orders.needs_download", lambda _spec: True)
    widget.restore()
    assert "press 'Download the model'" in told[0]


@pytest.mark.parametrize(
    "error",
    [
        OutputError("'a' exists already: choose another name, or allow to overwrite it (--overwrite)."),
        OutputError("'a' changed. Start anew with restart (--restart)."),
        ModelError(
            "The weights of m are not in the cache; run `swin2sr-ops models --download m` (60 MB) or pass"
            " download=True."
        ),
        RequestError("The spread needs an ensemble: give ensemble=8 with it (--ensemble 8)."),
        DownloadError(
            "The weights of m could not be fetched from https://github.com/a/b.pth: ProxyError: HTTPSConnectionPool("
            "host='github.com', port=443): Max retries exceeded. If this machine is offline, download that file"
            " elsewhere and save it as /home/me/b.pth."
        ),
        RequestError("engine='triton' runs on a CUDA GPU, not on cpu: give device='cuda', or another engine."),
        RequestError("x " * 400),
    ],
)  # fmt: skip
def test_sentences_use_the_window_s_words(error: Exception) -> None:

    told = sentence(error)
    assert told is not None
    assert not re.search(r"--\w|=True|=\d|='|Error|`|swin2sr-ops ", told.line)
    assert len(told.line) <= 230
    assert told.more or told.line == str(error)


def test_closing_the_dock_ends_run_and_preview(widget: Any, viewer: Any, qtbot: Any) -> None:
    source = viewer.add_image(spots(1100, 1100, dtype="uint8"), name="spots", blending="additive")
    prepare(widget)
    widget.start_preview()
    qtbot.waitUntil(lambda: widget.preview.layer is not None, timeout=60_000)
    widget.restore()
    qtbot.waitUntil(lambda: widget.bar.value() > 0, timeout=60_000)
    viewer.window.remove_dock_widget(widget)
    qtbot.waitUntil(lambda: widget.running is None, timeout=60_000)
    qtbot.waitUntil(lambda: not [la for la in viewer.layers if "growing" in la.name or "Preview" in la.name])
    assert source.visible


@pytest.mark.usefixtures("drawn")
def test_a_small_screen_holds_the_window_with_all_boxes_open(widget: Any, viewer: Any, qtbot: Any) -> None:
    """The form scrolls; the buttons stay in sight."""
    from swin2sr_ops_napari.viewport import main_window

    viewer.add_image(spots(20, 20))
    window = main_window(widget)
    window.setGeometry(0, 0, 1024, 700)
    qtbot.wait(300)
    form = widget.form
    closed = widget.restore_button.mapTo(window, widget.restore_button.rect().bottomLeft()).y()
    form.show_advanced(True)
    form.output_box.setCurrentIndex(form.output_box.findData("disk"))
    qtbot.wait(500)
    assert window.height() <= 700
    assert form.chunk_box.isVisible()
    for button in (widget.restore_button, widget.trust_button):
        bottom = button.mapTo(window, button.rect().bottomLeft()).y()
        assert closed < bottom < 700
    form.show_advanced(False)
    qtbot.wait(500)
    again = widget.restore_button.mapTo(window, widget.restore_button.rect().bottomLeft()).y()
    assert abs(again - closed) < 5  # nothing stays empty between form and buttons


def test_a_model_of_several_planes_asks_along_which_axis(widget: Any, viewer: Any, tmp_path: Path) -> None:
    """The box is there for such models only; what the core says of the keyword names the box."""
    spec = write_model(tmp_path / "three.safetensors", planes=3, scale=1, upsampler="")
    layer = viewer.add_image(spots(3, 4, 40, 40), axis_labels=("t", "z", "y", "x"))
    form = widget.form
    assert form.along_box.isHidden()
    form.add_model(spec.weights)
    assert not form.along_box.isHidden()
    with pytest.raises(RequestError) as error:
        form.request().restorer(form.image(layer))
    message = sentence(error.value)
    assert message is not None
    assert "choose Z or T in the box 'Neighbours along'" in message.line
    form.along_box.setCurrentIndex(form.along_box.findData("T"))
    assert form.request().restorer(form.image(layer)).placement.along == "T"
    form.add_model("nano-x2-gray")
    assert (form.along_box.isHidden(), form.request().along) == (True, None)


@pytest.mark.parametrize(
    ("shape", "axes", "along", "words"),
    [
        ((4, 40, 40), "ZYX", "T", "or Z in the box 'Neighbours along' under Advanced."),
        ((4, 40, 40), "TYX", "", "choose T in the box 'Neighbours along' under Advanced, or choose a model"),
    ],
)
def test_the_window_names_its_box_of_neighbours(
    tmp_path: Path, shape: tuple[int, ...], axes: str, along: str, words: str
) -> None:
    spec = write_model(tmp_path / "three.safetensors", planes=3, along="Z", scale=1, upsampler="")
    with pytest.raises(RequestError) as error:
        Request(spec.weights, along=along or None).restorer(LayerImage((np.zeros(shape, np.uint8),), axes))
    message = sentence(error.value)
    assert message is not None
    assert words in in_words(str(error.value))
    assert "along=" not in message.line
