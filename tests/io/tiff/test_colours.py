"""Extra samples after the colours: opacity only if the file says so."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import tifffile

from swin2sr_ops import restore_image
from swin2sr_ops.io.tiff.source import TiffSource, open_source
from swin2sr_ops.run.job import prepare
from tests.conftest import write_model

RNG = np.random.default_rng(3)


def write(path: Path, samples: int, *extra: str, planar: bool = False) -> Path:
    shape = (samples, 40, 50) if planar else (40, 50, samples)
    kind = "separate" if planar else "contig"
    pixels = RNG.integers(1, 250, shape).astype("u1")
    tifffile.imwrite(path, pixels, photometric="rgb", planarconfig=kind, extrasamples=extra or None, metadata=None)
    return path


def opened(path: Path, **options: str) -> TiffSource:
    source = open_source(str(path), **options)
    assert source is not None
    return source


@pytest.mark.parametrize(("planar", "axes"), [(False, "YXC"), (True, "CYX")])
def test_an_unspecified_sample_is_data(planar: bool, axes: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", 4, "unspecified", planar=planar)
    with pytest.warns(UserWarning, match=f"a channel of its own. Give axes={axes.replace('C', 'S')} if it is op"):
        info = opened(path).info
    assert info.axes == axes
    assert [c.get("label") for c in info.channels] == ["red", "green", "blue", None]
    assert opened(path, axes=axes.replace("C", "S")).info.axes == axes.replace("C", "S")


@pytest.mark.parametrize("extra", ["unassalpha", "assocalpha"])
def test_opacity_that_is_called_so_stays_opacity(extra: str, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert opened(write(tmp_path / "a.tif", 4, extra)).info.axes == "YXS"


def test_colours_are_restored_together_and_the_rest_alone(tmp_path: Path) -> None:
    write(tmp_path / "a.tif", 5, "unspecified", "unspecified")
    job = prepare(tmp_path / "a.tif")
    assert [part.groups for part in job.parts] == [((0, 1, 2),), ((3,), (4,))]


def test_the_sample_is_restored_like_an_image_of_its_own(tmp_path: Path) -> None:
    write_model(tmp_path / "gray.safetensors", dim=4, depths=(1,), heads=(1,))
    write(tmp_path / "a.tif", 4, "unspecified")
    pixels = tifffile.imread(tmp_path / "a.tif")
    tifffile.imwrite(tmp_path / "fourth.tif", pixels[..., 3], photometric="minisblack")
    for name in ("a", "fourth"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            restore_image(tmp_path / f"{name}.tif", tmp_path / f"{name}.ome.tif", model=tmp_path / "gray.safetensors")
    both = tifffile.imread(tmp_path / "a.ome.tif"), tifffile.imread(tmp_path / "fourth.ome.tif")
    np.testing.assert_array_equal(both[0][3] if both[0].shape[0] == 4 else both[0][..., 3], both[1])
