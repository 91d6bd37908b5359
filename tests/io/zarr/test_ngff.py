"""Attributes of unusual images: transformations, axes, channels."""

import json
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from swin2sr_ops.errors import FormatError, RequestError
from swin2sr_ops.io.zarr.collection import sorted_wells
from swin2sr_ops.io.zarr.groups import _plate, _well
from swin2sr_ops.io.zarr.ngff import read_multiscale
from swin2sr_ops.io.zarr.omero import read_channels
from swin2sr_ops.io.zarr.source import open_source
from swin2sr_ops.io.zarr.transformations import place_of

AXES = [{"name": "c", "type": "channel"}, {"name": "y", "type": "space"}, {"name": "x", "type": "space"}]


def to(name: str, kind: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, "input": {"name": "cyx"}, "output": {"name": name}, **more}


def test_coordinate_systems_are_alternatives() -> None:
    steps = [to("global", "identity"), to("microns", "scale", scale=[1, 0.2, 0.2]), to("mm", "scale", scale=[1, 2, 2])]
    with pytest.warns(UserWarning, match="'microns' are kept, not those of 'mm'"):
        assert place_of(steps, 3, "a.zarr") == ([1, 0.2, 0.2], [0, 0, 0])


@pytest.mark.parametrize("kind", ["affine", "rotation", "mapAxis", "byDimension", "displacements"])
def test_a_note_names_transformations_that_are_lost(kind: str) -> None:
    steps = [to("global", "scale", scale=[1, 2, 2]), to("aligned", kind)]
    with pytest.warns(UserWarning, match=f"'aligned'.*{kind}"):
        assert place_of(steps, 3, "a.zarr")[0] == [1, 2, 2]


def test_steps_without_names_act_one_after_another() -> None:
    inner = [{"type": "scale", "scale": [1, 2, 2]}, {"type": "translation", "translation": [0, 10, 20]}]
    sequence = {"type": "sequence", "transformations": inner}
    assert place_of([sequence, {"type": "scale", "scale": [1, 3, 3]}], 3, "a.zarr") == ([1, 6, 6], [0, 30, 60])


def test_a_note_names_a_scale_that_is_stored_elsewhere() -> None:
    with pytest.warns(UserWarning, match="is stored elsewhere"):
        assert place_of([{"type": "scale", "path": "s"}], 2, "a.zarr") == ([1, 1], [0, 0])


def test_version_0_6_is_read() -> None:
    step = {"input": {"path": "0"}, "output": {"name": "own"}, "type": "scale", "scale": [1, 0.3, 0.4]}
    systems = [{"name": "other", "axes": AXES[1:]}, {"name": "own", "axes": AXES}]
    image = {"coordinateSystems": systems, "datasets": [{"path": "0", "coordinateTransformations": [step]}]}
    found = read_multiscale({"ome": {"version": "0.6", "multiscales": [image]}}, "a.zarr")
    assert found is not None
    assert (found.axes, found.levels[0].scale) == ("CYX", (1, 0.3, 0.4))


def test_images_without_axes_need_the_option() -> None:
    attributes = {"multiscales": [{"version": "0.4", "datasets": [{"path": "0"}]}]}
    with pytest.raises(FormatError, match="names no axes"):
        read_multiscale(attributes, "a.zarr")
    found = read_multiscale(attributes, "a.zarr", "CYX")
    assert found is not None
    assert found.axes == "CYX"


def test_axes_given_must_fit_the_array(tmp_path: Path) -> None:
    """Metadata may describe other axes than the array has: the letters that the error asks for are then used."""
    axes = [{"name": "t"}, {"name": "z"}, *AXES]
    step = {"type": "scale", "scale": [1, 1, 1, 0.5, 0.5]}
    group = zarr.create_group(tmp_path / "a.zarr", zarr_format=3)
    group.create_array("0", data=np.ones((3, 20, 30), "u2"))
    datasets = [{"path": "0", "coordinateTransformations": [step]}]
    group.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": datasets}]}
    uri = str(tmp_path / "a.zarr")
    with pytest.raises(FormatError, match="name these axes with axes="):
        open_source(uri)
    with pytest.warns(UserWarning, match="describes 5 axes, and axes='CYX' names 3: pixel size and origin are left"):
        source = open_source(uri, axes="CYX")
    assert source is not None
    assert (source.info.axes, source.info.pixel_size["X"]) == ("CYX", 1)
    with (
        pytest.warns(UserWarning, match="describes 5 axes"),
        pytest.raises(RequestError, match="names 2 dimensions, but the array has 3"),
    ):
        open_source(uri, axes="YX")


@pytest.mark.parametrize("given", [None, "CYX"])
def test_a_note_names_an_unknown_unit(given: str | None) -> None:
    axes = [{**AXES[0], "unit": "counts"}, {**AXES[1], "unit": "furlong"}, {**AXES[2], "unit": "um"}]
    with pytest.warns(UserWarning, match="The unit 'furlong' of the pixel size along Y is unknown") as said:
        found = read_multiscale({"multiscales": [{"axes": axes, "datasets": [{"path": "0"}]}]}, "a.zarr", given)
    assert len(said) == 1
    assert found is not None
    assert found.units == {"Y": "furlong", "X": "micrometer"}


def test_a_note_names_further_images_of_a_group() -> None:
    image = {"axes": AXES, "datasets": [{"path": "0"}]}
    with pytest.warns(UserWarning, match=r"2 images in one group \(0 is 0, 1 is far\)"):
        read_multiscale({"multiscales": [image, {**image, "name": "far"}]}, "a.zarr")


@pytest.mark.parametrize(
    ("color", "read"),
    [("red", "FF0000"), ("#ff8000", "FF8000"), ("0F0", "00FF00"), ("FF0000FF", "FF0000"), (65280, "00FF00"),
     ([255, 0, 128], "FF0080"), ([1.0, 0.0, 0.0], "FF0000"), ("rgb(1, 2, 3)", "010203"), ("", None), (None, None),
     ("heat", None), (float("nan"), None), ({"r": 1}, None)],
)  # fmt: skip
def test_colours_are_read_or_dropped(color: Any, read: str | None) -> None:
    assert read_channels({"channels": [{"color": color}]})[0].get("color") == read


@pytest.mark.parametrize("omero", [None, 3, {}, {"channels": None}, {"channels": {}}])
def test_an_omero_block_may_be_nothing(omero: Any) -> None:
    assert read_channels(omero) == ()


def test_windows_hold_finite_numbers_in_order() -> None:
    nan, inf = float("nan"), float("inf")
    windows = [{"start": nan, "end": 4, "min": 0, "max": 1}, {"start": 5, "end": 2}, {"min": 0, "max": inf}, None, "x"]
    found = read_channels({"channels": [{"window": w, "label": None, "active": None} for w in windows] + [None]})
    assert [c.get("window") for c in found] == [{"min": 0, "max": 1}, *[None] * 5]
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize("ndim", [2, 3])
def test_chunks_without_their_names_are_refused(tmp_path: Path, ndim: int) -> None:
    shape = (1, 20, 20)[-ndim:]
    for separator, other in (("/", "."), (".", "/")):
        path = tmp_path / f"{'nested' if separator == '/' else 'flat'}.zarr"
        array = zarr.create_array(
            path, shape=shape, chunks=(1, 10, 10)[-ndim:], dtype="u1", zarr_format=2,
            chunk_key_encoding={"name": "v2", "separator": separator},
        )  # fmt: skip
        array[...] = np.ones(shape, "u1")
        assert open_source(str(path)) is not None
        document = json.loads((path / ".zarray").read_text())
        (path / ".zarray").write_text(json.dumps({**document, "dimension_separator": other}))
        with pytest.raises(FormatError, match="read as empty"):
            open_source(str(path))


def test_an_array_that_was_never_written_is_not_an_error(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "a.zarr", shape=(20, 20), chunks=(10, 10), dtype="u1", zarr_format=2, fill_value=7)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert open_source(str(tmp_path / "a.zarr")) is not None


def test_paths_that_end_in_a_slash_name_the_same_wells() -> None:
    plate = {"wells": [{"path": "A/1/", "rowIndex": 0, "columnIndex": 0}, {"path": "A/2/"}]}
    assert sorted_wells(plate) == ["A/1", "A/2"]
    assert [well["path"] for well in _plate(plate, ["A/1/0"], "0.4")["wells"]] == ["A/1"]
    assert _well({"images": [{"path": "0/"}, {"path": "1/"}]}, ["0"], "0.4")["images"] == [{"path": "0"}]


def test_a_zip_made_on_a_mac_is_read(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "a.zarr", data=np.ones((20, 20), "u1"), zarr_format=2)
    with zipfile.ZipFile(tmp_path / "a.zarr.zip", "w") as archive:
        archive.writestr("__MACOSX/._a.zarr", b"\0")
        archive.writestr("a.zarr/.DS_Store", b"\0")
        for file in (p for p in (tmp_path / "a.zarr").rglob("*") if p.is_file()):
            archive.write(file, file.relative_to(tmp_path))
    found = open_source(str(tmp_path / "a.zarr.zip"))
    assert found is not None
    assert found.info.shape == (20, 20)
