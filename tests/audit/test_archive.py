"""Archives from which images were removed, or in which images were exchanged."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from swin2sr_ops.audit import audit
from swin2sr_ops.cli import main
from swin2sr_ops.errors import FormatError
from swin2sr_ops.request import RestoreRequest
from swin2sr_ops.run.archive import run_collection
from swin2sr_ops.spec import ModelSpec
from tests.run.test_archive import write_plate


@pytest.fixture
def tree(tmp_path: Path, gray_model: ModelSpec, rng: np.random.Generator) -> Path:
    group = zarr.open_group(tmp_path / "tree.zarr", mode="w")
    for name in ("A/1", "B/2"):
        group.create_array(name, data=rng.integers(0, 99, (20, 24)).astype("u1"))
    run_collection(tmp_path / "tree.zarr", tmp_path / "out.zarr", RestoreRequest(model=gray_model))
    return tmp_path / "out.zarr"


def attributes_of(out: Path) -> dict[str, Any]:
    own: dict[str, Any] = json.loads((out / "zarr.json").read_text())["attributes"]["swin2sr_ops"]
    return own


def forget_images(out: Path) -> None:
    """Write the root's provenance as earlier versions did."""
    document = json.loads((out / "zarr.json").read_text())
    del document["attributes"]["swin2sr_ops"]["images"]
    (out / "zarr.json").write_text(json.dumps(document))


@pytest.mark.parametrize("removed", ["B", "B/2"])
def test_an_image_of_a_tree_is_removed(
    tree: Path, removed: str, gray_model: ModelSpec, capsys: pytest.CaptureFixture[str]
) -> None:
    assert attributes_of(tree)["images"] == ["A/1", "B/2"]
    assert audit(tree, model=gray_model.weights).ok
    shutil.rmtree(tree / removed)
    found = audit(tree, model=gray_model.weights)
    assert found.missing == {"B/2": "the run wrote it, but the output lacks it."}
    assert found.statement == "1 of the images cannot be checked."
    assert main(["audit", str(tree), "--model", str(gray_model.weights)]) == 1
    assert "B/2: the run wrote it" in capsys.readouterr().out


def test_all_images_are_removed(tree: Path, gray_model: ModelSpec) -> None:
    shutil.rmtree(tree / "A")
    shutil.rmtree(tree / "B")
    found = audit(tree, model=gray_model.weights)
    assert (list(found.missing), found.checked) == (["A/1", "B/2"], 0)
    assert "model" not in str(found)


def test_a_tree_of_an_earlier_version(tree: Path, gray_model: ModelSpec) -> None:
    """Its provenance does not list the images: those of the source are expected, if it can be opened."""
    forget_images(tree)
    found = audit(tree, model=gray_model.weights)
    assert (found.ok, len(found.notes)) == (True, 1)
    assert "those of the source are expected" in found.notes[0]
    shutil.rmtree(tree / "B")
    assert list(audit(tree, model=gray_model.weights).missing) == ["B/2"]
    moved = tree.with_name("moved.zarr")
    shutil.move(tree.with_name("tree.zarr"), moved)
    assert list(audit(tree, source=moved, model=gray_model.weights).missing) == ["B/2"]
    with pytest.raises(FormatError, match=r"give the present location with --source \(source=\)"):
        audit(tree, model=gray_model.weights)


def test_images_that_the_run_left_out_are_not_missing(
    tmp_path: Path, gray_model: ModelSpec, rng: np.random.Generator
) -> None:
    group = zarr.open_group(tmp_path / "tree.zarr", mode="w")
    for name in ("a", "b"):
        group.create_array(name, data=rng.integers(0, 99, (20, 24)).astype("u1"))
    next(p for p in (tmp_path / "tree.zarr/b/c").rglob("*") if p.is_file()).write_bytes(b"torn")
    out = tmp_path / "out.zarr"
    run_collection(tmp_path / "tree.zarr", out, RestoreRequest(model=gray_model), allow_missing=True)
    for _ in range(2):
        found = audit(out, model=gray_model.weights)
        assert (found.ok, found.left_out) == (True, ["b"])
        forget_images(out) if "images" in attributes_of(out) else None


def test_exchanged_images_are_wrong(tree: Path, gray_model: ModelSpec) -> None:
    """Each is right by its own provenance, but at the place of the other."""
    shutil.move(tree / "A/1", tree / "kept")
    shutil.move(tree / "B/2", tree / "A/1")
    shutil.move(tree / "kept", tree / "B/2")
    found = audit(tree, model=gray_model.weights)
    assert {one.image for one in found.differences} == {"A/1", "B/2"}


@pytest.mark.parametrize("version", ["0.5", "0.4"])
def test_a_field_that_a_well_does_not_list_any_more(version: str, gray_model: ModelSpec, tmp_path: Path) -> None:
    write_plate(tmp_path / "plate.zarr", version)
    out = tmp_path / "out.zarr"
    run_collection(tmp_path / "plate.zarr", out, RestoreRequest(model=gray_model), ngff=version)
    well = zarr.open_group(out / "A/1", mode="r+")
    attributes = well.attrs.asdict()
    del attributes.get("ome", attributes)["well"]["images"][1:]
    well.attrs.put(attributes)
    assert list(audit(out, model=gray_model.weights).missing) == ["A/1/1"]
    shutil.rmtree(out / "B")
    assert list(audit(out, model=gray_model.weights).missing) == ["B/02", "A/1/1"]
