"""OME-Zarr on disk: stopped and gone on with here or by the command line; layers of files and of arrays."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
import tifffile

import swin2sr_ops
from swin2sr_ops.cli import main
from swin2sr_ops.events import Event
from swin2sr_ops.spec import ModelSpec
from tests.napari_plugin.conftest import finish, prepare, spots

SIZE = (800, 1000)


def stopped(widget: Any, qtbot: Any, path: Path) -> None:
    """A run that is cancelled after its first tiles."""
    prepare(widget, "disk", path=path)
    widget.restore()
    widget.running.moved.connect(lambda _told, done, _total: done >= 2 and widget.cancel())
    qtbot.waitUntil(lambda: widget.running is None, timeout=60_000)
    assert "Restore resumes" in widget.status.text()
    assert not path.exists()
    assert path.with_name(path.name + ".partial").is_dir()


def opened(viewer: Any, path: Path) -> Any:
    """A layer of a file, as napari's own readers open it."""
    (layer,) = viewer.open(str(path), plugin="napari")
    return layer


@pytest.fixture
def file(tmp_path: Path) -> Path:
    tifffile.imwrite(tmp_path / "in.tif", spots(*SIZE), tile=(256, 256))
    return tmp_path / "in.tif"


def test_the_growing_layer_becomes_the_part(widget: Any, viewer: Any, qtbot: Any, file: Path, tmp_path: Path) -> None:
    """napari takes its time to remove a layer and to add one with the same pixels."""
    opened(viewer, file)
    inserted: list[str] = []
    viewer.layers.events.inserted.connect(lambda event: inserted.append(event.value.name))
    stopped(widget, qtbot, tmp_path / "out.ome.zarr")
    assert [layer.name for layer in viewer.layers] == ["in", "in x2 (part)"]
    assert len(inserted) == 1
    part = viewer.layers[-1].metadata["swin2sr_ops"]
    assert (part["unfinished"], part["path"]) == (True, str(tmp_path / "out.ome.zarr"))


def test_a_stopped_run_is_gone_on_with_here(
    widget: Any, viewer: Any, qtbot: Any, file: Path, tmp_path: Path, gray_model: ModelSpec
) -> None:
    opened(viewer, file)
    out = tmp_path / "out.ome.zarr"
    stopped(widget, qtbot, out)
    part = viewer.layers[-1]
    assert part.name.endswith("(part)")
    assert np.isnan(part.data).any()
    prepare(widget, "disk", path=out)
    widget.restore()
    seen: list[tuple[int, int]] = []
    widget.running.moved.connect(lambda _line, done, _total: seen.append((done, widget.bar.value())))
    qtbot.waitUntil(lambda: widget.running is None, timeout=60_000)
    result = viewer.layers[-1]
    assert seen[0][0] >= 2  # the bar begins with what the earlier run has done
    assert not [layer.name for layer in viewer.layers if layer.name.endswith("(part)")]
    assert "by an earlier run" in widget.status.text()
    assert out.is_dir()
    assert result.multiscale
    expected = swin2sr_ops.restore(spots(*SIZE), model=gray_model).compute()
    np.testing.assert_array_equal(np.asarray(result.data[0]), expected)
    assert result.metadata["swin2sr_ops"]["uri"] == str(out)
    np.testing.assert_allclose(result.scale, (0.5, 0.5))


def test_the_command_goes_on_with_what_napari_began(
    widget: Any, viewer: Any, qtbot: Any, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    opened(viewer, file)
    out, whole = tmp_path / "out.ome.zarr", tmp_path / "whole.ome.zarr"
    stopped(widget, qtbot, out)
    assert not widget.command_button.isHidden()
    command = shlex.split(widget.command)
    assert command[:2] == ["swin2sr-ops", "restore"]
    assert main(command[1:]) == 0
    assert "by an earlier run" in "".join(capsys.readouterr())
    # ... and with the same bytes as one uninterrupted run.
    swin2sr_ops.restore_image(file, whole, model=widget.model)
    ours = {p.relative_to(out): p.read_bytes() for p in out.rglob("*") if p.is_file()}
    theirs = {p.relative_to(whole): p.read_bytes() for p in whole.rglob("*") if p.is_file()}
    assert ours.keys() == theirs.keys()
    assert [k for k in ours if ours[k] != theirs[k] and k.name != "zarr.json"] == []


def test_napari_goes_on_with_what_the_command_began(
    widget: Any, viewer: Any, qtbot: Any, file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.ome.zarr"

    def interrupt(event: Event) -> None:
        if event.kind == "tile" and event.done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        swin2sr_ops.restore_image(file, out, model=widget.model, tile=256, progress=interrupt)
    opened(viewer, file)
    finish(widget, qtbot, "disk", path=out)
    assert "by an earlier run" in widget.status.text()


def test_an_array_in_memory_is_recognised(widget: Any, viewer: Any, qtbot: Any, tmp_path: Path) -> None:
    image = spots(*SIZE)
    viewer.add_image(image, scale=(0.5, 0.5), units=("um", "um"))
    out = tmp_path / "out.ome.zarr"
    stopped(widget, qtbot, out)
    finish(widget, qtbot, "disk", path=out)
    assert "by an earlier run" in widget.status.text()
    info = swin2sr_ops.open_source(out).info
    assert info.pixel_size == {"Y": 0.25, "X": 0.25}
    assert info.units == {"Y": "micrometer", "X": "micrometer"}


def test_a_lazy_array_begins_again_and_says_so(widget: Any, viewer: Any, qtbot: Any, tmp_path: Path) -> None:
    viewer.add_image(da.from_array(spots(*SIZE), chunks=256), contrast_limits=(0, 4000))
    out = tmp_path / "out.ome.zarr"
    prepare(widget, "disk", path=out)
    widget.restore()
    widget.running.moved.connect(lambda _told, done, _total: done >= 2 and widget.cancel())
    qtbot.waitUntil(lambda: widget.running is None, timeout=60_000)
    assert "begins again" in widget.status.text()
    finish(widget, qtbot, "disk", path=out)
    assert "Finished" in widget.status.text()
    assert out.is_dir()


def test_all_channels_of_a_file_are_restored_where_readers_split_them(
    widget: Any, viewer: Any, qtbot: Any, tmp_path: Path, gray_model: ModelSpec
) -> None:
    image = spots(2, 300, 310)
    path = tmp_path / "in.ome.tif"
    tifffile.imwrite(path, image, metadata={"axes": "CYX"})
    for layer, colour in zip(viewer.open(str(path), plugin="napari", channel_axis=0), ("red", "green"), strict=True):
        layer.colormap = colour
    widget.form.layer_box.setCurrentText(viewer.layers[1].name)
    finish(widget, qtbot, "disk", path=tmp_path / "out.ome.zarr")
    expected = swin2sr_ops.restore(image, model=gray_model, axes="CYX").compute()
    results = [layer for layer in viewer.layers if layer.name.endswith("x2")]
    found = {la.colormap.name: la.data[0] if la.multiscale else la.data for la in results}
    np.testing.assert_array_equal(np.asarray(found["red"]), expected[0])
    np.testing.assert_array_equal(np.asarray(found["green"]), expected[1])


def test_data_that_were_changed_are_not_taken_for_the_file(
    widget: Any, viewer: Any, qtbot: Any, file: Path, tmp_path: Path, gray_model: ModelSpec
) -> None:
    layer = opened(viewer, file)
    layer.data = 4000 - layer.data
    result = finish(widget, qtbot, "disk", path=tmp_path / "out.ome.zarr")
    expected = swin2sr_ops.restore(4000 - spots(*SIZE), model=gray_model).compute()
    np.testing.assert_array_equal(np.asarray(result.data[0]), expected)
    assert widget.command is None


def test_colour_comes_back_as_colour(
    widget: Any, viewer: Any, qtbot: Any, tmp_path: Path, rgb_model: ModelSpec
) -> None:
    image = np.stack([spots(60, 70, dtype="uint8", seed=s) for s in range(3)], -1)
    viewer.add_image(image, rgb=True)
    result = finish(widget, qtbot, "disk", model=rgb_model.weights, path=tmp_path / "out.ome.zarr")
    assert result.rgb
    np.testing.assert_array_equal(
        np.asarray(result.data), swin2sr_ops.restore(image, model=rgb_model, axes="YXS").compute()
    )


def test_what_is_there_is_replaced_only_on_request(
    widget: Any, viewer: Any, qtbot: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.napari_plugin.test_widget import sentences

    out = tmp_path / "out.ome.zarr"
    swin2sr_ops.restore_image("sample:cells", out, model=widget.model)
    viewer.add_image(spots(40, 40))
    told = sentences(monkeypatch)
    finish(widget, qtbot, "disk", path=out)
    assert "exists already" in told[0]
    widget.form.replace.setChecked(True)
    finish(widget, qtbot, "disk", path=out)
    assert swin2sr_ops.open_source(out).info.shape == (80, 80)


def test_a_finished_run_is_not_added_twice(widget: Any, viewer: Any, qtbot: Any, tmp_path: Path) -> None:
    viewer.add_image(spots(60, 70), name="spots")
    finish(widget, qtbot, "disk", path=tmp_path / "out.ome.zarr")
    before = len(viewer.layers)
    finish(widget, qtbot, "disk", path=tmp_path / "out.ome.zarr")
    assert len(viewer.layers) == before
    assert widget.status.text().startswith("This was finished before")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("out/x.tif", "not the name of an OME-Zarr"),
        ("/nonexistent/dir/x.ome.zarr", "does not exist"),
        ("no/relative.ome.zarr", "does not exist"),
        ("", "'Folder' is empty"),
    ],
)
def test_a_path_that_cannot_be_is_refused_before_anything_runs(
    widget: Any, viewer: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, path: str, words: str
) -> None:
    from tests.napari_plugin.test_widget import sentences

    monkeypatch.chdir(tmp_path)
    viewer.add_image(spots(40, 40))
    told = sentences(monkeypatch)
    prepare(widget, "disk", path=path)
    widget.restore()
    assert widget.running is None
    assert words in told[0]
    assert not list(tmp_path.iterdir())


def test_the_proposed_path_lies_beside_the_file(widget: Any, viewer: Any, file: Path) -> None:
    opened(viewer, file)
    prepare(widget, "disk")
    assert Path(widget.form.path()).parent == file.parent
