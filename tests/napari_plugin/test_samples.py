"""Samples and the writer, through napari's own lists."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest

pytest.importorskip("napari")

from swin2sr_ops_napari import samples
from swin2sr_ops_napari.writer import write_ome_zarr

import swin2sr_ops
from tests.napari_plugin.conftest import spots


def test_napari_opens_them(viewer: Any) -> None:
    (cells,) = viewer.open_sample("swin2sr-ops", "cells")
    (photo,) = viewer.open_sample("swin2sr-ops", "photo")
    (large,) = viewer.open_sample("swin2sr-ops", "large")
    assert (cells.data.dtype, cells.data.shape) == ("uint16", (256, 320))
    assert photo.rgb
    assert large.multiscale
    assert large.data[0].shape == (30_000, 30_000)
    assert large.data[0].dtype == "uint16"
    assert max(large.data[-1].shape) <= 512


def test_the_levels_of_the_large_one_show_one_image() -> None:
    ((levels, _, _),) = samples.large()
    for fine, coarse in itertools.pairwise(levels):
        part = np.asarray(fine[:256, 300:1012]).astype(float)
        means = (part[::2, ::2] + part[1::2, ::2] + part[::2, 1::2] + part[1::2, 1::2]) / 4
        if min(coarse.shape) > 700:
            np.testing.assert_allclose(np.asarray(coarse[:128, 150:506]), means, atol=0.51)


@pytest.mark.parametrize("lazy", [False, True])
def test_a_layer_is_written_as_ome_zarr(viewer: Any, tmp_path: Path, lazy: bool) -> None:
    image = spots(3, 700, 600)
    layer = viewer.add_image(
        da.from_array(image, chunks=(1, 256, 256)) if lazy else image, scale=(2, 0.5, 0.5), translate=(0, 1, 2),
        units=("um",) * 3, axis_labels=("z", "y", "x"), name="stack", contrast_limits=(0, 4000),
    )  # fmt: skip
    path = tmp_path / "stack.ome.zarr"
    assert layer.save(str(path), plugin="swin2sr-ops") == [str(path)]
    source = swin2sr_ops.open_source(path)
    np.testing.assert_array_equal(source.read(tuple(slice(0, n) for n in image.shape)), image)
    info = source.info
    assert (info.axes, info.levels) == ("ZYX", 2)
    assert info.pixel_size == {"Z": 2.0, "Y": 0.5, "X": 0.5}
    assert info.origin == {"Z": 0.0, "Y": 1.0, "X": 2.0}
    assert set(info.units.values()) == {"micrometer"}


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    path = str(tmp_path / "a.zarr")
    write_ome_zarr(path, spots(20, 20), {"name": "a"})
    with pytest.raises(swin2sr_ops.Swin2SROpsError, match="exists already"):
        write_ome_zarr(path, spots(20, 20), {"name": "a"})
    with pytest.raises(swin2sr_ops.Swin2SROpsError, match=r"\.ome\.zarr"):
        write_ome_zarr(str(tmp_path / "a.tif"), spots(20, 20), {"name": "a"})
