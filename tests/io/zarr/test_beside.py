"""Groups beside images are not copied, and a note says so."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import zarr

from swin2sr_ops import restore_image
from swin2sr_ops.io.zarr.beside import beside_image
from swin2sr_ops.io.zarr.collection import open_collection
from swin2sr_ops.io.zarr.source import open_source
from swin2sr_ops.request import RestoreRequest
from swin2sr_ops.run.archive import run_collection
from tests.conftest import write_model

AXES = [{"name": "y", "type": "space"}, {"name": "x", "type": "space"}]


def image(path: Path, *beside: str, **attributes: object) -> Path:
    group = zarr.create_group(path, zarr_format=3)
    group.create_array("0", data=np.arange(1600, dtype="u2").reshape(40, 40))
    step = {"type": "scale", "scale": [1.0, 1.0]}
    datasets = [{"path": "0", "coordinateTransformations": [step]}]
    group.attrs.update({"ome": {"version": "0.5", "multiscales": [{"axes": AXES, "datasets": datasets}]}} | attributes)
    for name in beside:
        group.create_group(name)
    return path


@pytest.fixture
def model(tmp_path: Path) -> str:
    write_model(tmp_path / "model.safetensors", dim=4, depths=(1,), heads=(1,))
    return str(tmp_path / "model.safetensors")


def test_a_note_names_labels_and_tables(tmp_path: Path, model: str) -> None:
    path = image(tmp_path / "a.zarr", "labels", "tables", "rois")
    assert beside_image(str(path), "") == ("labels", "rois", "tables")
    with pytest.warns(UserWarning, match=r"lie labels, rois, tables, which the output will lack: labels='carry'"):
        restore_image(path, tmp_path / "out.zarr", model=model)
    with pytest.warns(UserWarning, match=r"lie rois, tables, which the output will lack\."):
        restore_image(path, tmp_path / "carried.zarr", model=model, labels="carry")


def test_an_image_alone_gets_no_note(tmp_path: Path, model: str) -> None:
    path = image(tmp_path / "a.zarr", "labels")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*output will lack")
        restore_image(path, tmp_path / "out.zarr", model=model, labels="carry")


def test_a_note_names_large_attributes(tmp_path: Path, model: str) -> None:
    path = image(tmp_path / "a.zarr", measurements=list(range(20_000)))
    with pytest.warns(UserWarning, match="The attributes measurements are too large to be carried"):
        restore_image(path, tmp_path / "out.zarr", model=model)


def test_a_note_names_groups_beside_the_images_of_a_tree(tmp_path: Path, model: str) -> None:
    """SpatialData has images, labels, tables, and shapes, which are not images."""
    root = zarr.create_group(tmp_path / "a.zarr", zarr_format=3)
    for name in ("images", "shapes", "tables"):
        root.create_group(name)
    image(tmp_path / "a.zarr" / "images" / "one")
    image(tmp_path / "a.zarr" / "images" / "two")
    found = open_collection(str(tmp_path / "a.zarr"))
    assert found is not None
    assert (found.images, found.left_out) == (("images/one", "images/two"), ("shapes", "tables"))
    with pytest.warns(UserWarning, match="Beside its images, .* contains shapes, tables: the output will lack them"):
        run_collection(tmp_path / "a.zarr", tmp_path / "out.zarr", RestoreRequest(model=model))


def test_a_note_names_groups_beside_a_lone_array(tmp_path: Path) -> None:
    root = zarr.create_group(tmp_path / "a.zarr", zarr_format=3)
    root.create_array("pixels", data=np.ones((40, 50), "u2"))
    root.create_group("other")
    with pytest.warns(UserWarning, match="the array 'pixels', which is used, and the groups 'other'"):
        assert open_source(str(tmp_path / "a.zarr")) is not None
