"""``range="like:OUTPUT"``: the intensity range of a finished run, as values that are part of the identity."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr

import swin2sr_ops
from swin2sr_ops.errors import RequestError
from swin2sr_ops.spec import ModelSpec
from tests import docs_files


def write(path: Path, image: np.ndarray, axes: str) -> Path:
    tifffile.imwrite(path, image, metadata={"axes": axes}, photometric="rgb" if axes[-1] == "S" else "minisblack")
    return path


def pixels(path: Path) -> np.ndarray:
    return np.asarray(zarr.open_group(path, mode="r")["0"][:])


@pytest.fixture
def finished(tmp_path: Path, gray_model: ModelSpec, rng: np.random.Generator) -> dict[str, Any]:
    """A finished run, and the values that its two channels have."""
    image = np.stack([rng.integers(100, 4000, (70, 90)), rng.integers(9, 500, (70, 90))]).astype("u2")
    path = write(tmp_path / "first.ome.tif", image, "CYX")
    swin2sr_ops.restore_image(path, tmp_path / "first_x2.ome.zarr", model=gray_model)
    values = [[float(c.min()), float(c.max())] for c in image]
    return {"path": path, "like": f"like:{tmp_path / 'first_x2.ome.zarr'}", "model": gray_model, "values": values}


@pytest.fixture
def darker(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Another image, whose own range is a part of the first one's."""
    image = np.stack([rng.integers(300, 2000, (60, 80)), rng.integers(50, 200, (60, 80))]).astype("u2")
    return write(tmp_path / "second.ome.tif", image, "CYX")


def test_the_range_of_a_finished_run(finished: dict[str, Any], darker: Path, tmp_path: Path) -> None:
    like, model = finished["like"], finished["model"]
    taken = swin2sr_ops.restore_image(darker, tmp_path / "a.ome.zarr", model=model, range=like)
    assert [[one["lo"], one["hi"]] for one in taken.settings["intensity"]] == finished["values"]
    text = ";".join(f"{low},{high}" for low, high in finished["values"])
    given = swin2sr_ops.restore_image(darker, tmp_path / "b.ome.zarr", model=model, range=text)
    assert given.fingerprint == taken.fingerprint  # the values decide, not where they come from
    np.testing.assert_array_equal(pixels(tmp_path / "a.ome.zarr"), pixels(tmp_path / "b.ome.zarr"))
    own = swin2sr_ops.restore_image(darker, tmp_path / "c.ome.zarr", model=model)
    assert own.fingerprint != taken.fingerprint
    assert (pixels(tmp_path / "c.ome.zarr") != pixels(tmp_path / "a.ome.zarr")).any()


def test_lazily_too(finished: dict[str, Any], darker: Path, tmp_path: Path) -> None:
    asked = {"model": finished["model"], "range": finished["like"]}
    swin2sr_ops.restore_image(darker, tmp_path / "a.ome.zarr", **asked)
    lazy = swin2sr_ops.restore(tifffile.imread(darker), axes="CYX", **asked)
    np.testing.assert_array_equal(lazy.compute(), pixels(tmp_path / "a.ome.zarr"))


def test_a_store_has_it_in_its_identity(finished: dict[str, Any], darker: Path, tmp_path: Path) -> None:
    asked = {"model": finished["model"], "range": finished["like"], "name": "a.ome.zarr"}
    with swin2sr_ops.restored_store(darker, **asked) as store, swin2sr_ops.restored_store(
        darker, **asked | {"range": "auto"}
    ) as own:  # fmt: skip
        assert store != own
        assert store.image.fingerprint != own.image.fingerprint
        found = np.asarray(zarr.open_array(store, path="0", mode="r")[:])
    swin2sr_ops.restore_image(darker, tmp_path / "a.ome.zarr", model=finished["model"], range=finished["like"])
    np.testing.assert_array_equal(found, pixels(tmp_path / "a.ome.zarr"))


def test_other_formats_and_8_bits(tmp_path: Path, gray_model: ModelSpec, rng: np.random.Generator) -> None:
    """Provenance is in every format; 8 bits have one range for all channels."""
    path = write(tmp_path / "image.tif", rng.integers(0, 200, (60, 80)).astype("u1"), "YX")
    for name in ("a.ome.tif", "a.png", "a.ome.zarr"):
        swin2sr_ops.restore_image(path, tmp_path / name, model=gray_model)
        report = swin2sr_ops.restore_image(
            path, tmp_path / f"of_{name}", model=gray_model, range=f"like:{tmp_path / name}"
        )
        assert report.settings["intensity"] == [{"lo": 0.0, "hi": 255.0}]


def test_an_archive(tmp_path: Path, gray_model: ModelSpec) -> None:
    """Each image takes the range of the one with its path."""
    plate = tmp_path / "plate.zarr"
    docs_files.plate(plate)
    swin2sr_ops.restore_batch([plate], tmp_path / "out", model=gray_model, range="p5,p95")
    (done,) = (tmp_path / "out").glob("*.zarr")
    swin2sr_ops.restore_batch([plate], tmp_path / "again", model=gray_model, range=f"like:{done}")
    (again,) = (tmp_path / "again").glob("*.zarr")
    first, second = (zarr.open_group(one, mode="r") for one in (done, again))
    paths = [path for path, node in first.members(max_depth=None) if isinstance(node, zarr.Array)]
    assert len(paths) > 1
    for path in paths:
        np.testing.assert_array_equal(first[path][:], second[path][:])


@pytest.mark.parametrize("what", ["none.ome.zarr", "first.ome.tif", ""])
def test_sentences(what: str, finished: dict[str, Any], darker: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="names no"):
        swin2sr_ops.restore_image(darker, tmp_path / "a.ome.zarr", range=f"like:{tmp_path / what if what else ''}")


def test_another_number_of_channels(finished: dict[str, Any], tmp_path: Path) -> None:
    image = write(tmp_path / "three.ome.tif", np.ones((3, 60, 80), "u2") * np.arange(80, dtype="u2"), "CYX")
    with pytest.raises(RequestError, match="2 pairs, but the image has 3 channels"):
        swin2sr_ops.restore_image(image, tmp_path / "a.ome.zarr", model=finished["model"], range=finished["like"])


def test_interfaces_without_files_refuse_it(finished: dict[str, Any]) -> None:
    import dask.array as da

    with pytest.raises(RequestError, match="cannot be read here"):
        swin2sr_ops.Restorer(finished["model"]).map_overlap_options(
            da.zeros((300, 300), "u2", chunks=300), range=finished["like"]
        )
