"""Stores in folders, zip files and URLs: how they open, what they list, and how a change is noticed."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import zarr

from swin2sr_ops.errors import FormatError
from swin2sr_ops.io.zarr.documents import DOCUMENTS
from swin2sr_ops.io.zarr.store import (
    child_names,
    is_zarr,
    naming,
    open_node,
    read_key,
    store_files,
    store_identity,
    zarr_root as root_of,
)


@pytest.fixture(params=[2, 3])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=request.param)
    for name in ("10", "9", "x"):
        array = group.create_array(name, shape=(20, 30), chunks=(10, 30), dtype="u2")
        array[:] = np.arange(600).reshape(20, 30)
    return tmp_path / "a.zarr"


def zipped(folder: Path, inside: str = "") -> Path:
    path = folder.with_name("b.zarr.zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(p for p in folder.rglob("*") if p.is_file()):
            archive.write(file, f"{inside}{file.relative_to(folder)}")
    return path


@pytest.mark.parametrize("inside", ["", "b.zarr/"])
def test_a_zip_file_opens_as_its_folder(folder: Path, inside: str) -> None:
    path = zipped(folder, inside)
    assert is_zarr(str(path))
    for uri in (str(folder), str(path)):
        root = root_of(uri)
        assert child_names(root, "") == ["9", "10", "x"]  # in natural order, without documents
        np.testing.assert_array_equal(open_node(root, "9")[:], np.arange(600).reshape(20, 30))
        assert read_key(root, "9/nothing") is None


def test_a_zip_file_without_a_zarr_gets_a_sentence(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zarr.zip", "w") as archive:
        archive.writestr("read.me", "nothing")
    with pytest.raises(FormatError, match="contains no Zarr"):
        root_of(str(tmp_path / "a.zarr.zip"))


def test_what_counts_as_a_zarr(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.zarr").mkdir()
    assert is_zarr(str(folder))
    assert not is_zarr(str(tmp_path / "empty.zarr"))
    assert is_zarr("https://host/a.zarr")
    assert not is_zarr("https://host/a.tif")
    with pytest.raises(FormatError):
        is_zarr(str(tmp_path / "missing.zarr"))


def test_the_identity_follows_the_array(folder: Path, tmp_path: Path) -> None:
    before = store_identity(str(folder), "9", "")
    shutil.copytree(folder, tmp_path / "moved.zarr", copy_function=shutil.copy2)
    assert store_identity(str(tmp_path / "moved.zarr"), "9", "") == before  # the place does not count
    zarr.open_group(folder)["x"][:] = 0
    assert store_identity(str(folder), "9", "") == before  # nor does another array
    array = zarr.open_group(folder)["9"]
    array[:10] = 7
    changed = store_identity(str(folder), "9", "")
    assert changed != before
    assert changed["metadata"] == before["metadata"]
    array.attrs["note"] = "new"
    assert store_identity(str(folder), "9", "")["metadata"] != before["metadata"]


def test_files_are_those_of_the_array(folder: Path) -> None:
    names = [Path(name) for name in store_files(str(folder), "9", None)]
    assert all(name.is_file() for name in names)
    chunks = [name for name in names if name.name not in DOCUMENTS]
    assert len(chunks) == 2
    assert all(folder / "9" in name.parents for name in chunks)
    assert list(store_files(str(zipped(folder)), "9", None)) == [str(zipped(folder))]


def test_damage_is_named() -> None:
    says = r"'a\.zarr' cannot be read, its chunks are torn \(KeyError: 'x'\)"
    with pytest.raises(FormatError, match=says), naming("a.zarr", "its chunks are torn"):
        raise KeyError("x")
