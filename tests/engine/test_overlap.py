"""`dask.array.map_overlap` with a Restorer: right with its own array's options, refused with another's."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest

from swin2sr_ops import Restorer, restore
from swin2sr_ops.errors import RequestError
from swin2sr_ops.geometry.axes import AxisOrder
from swin2sr_ops.pixels.intensity import IntensityMap
from swin2sr_ops.spec import ModelSpec

MADE_FOR = [
    pytest.param((96, 80), ((48, 48), (40, 40)), id="smaller"),
    pytest.param((128, 160), ((72, 56), (90, 70)), id="same shape, other chunks"),
    pytest.param((128, 160), ((60, 68), (76, 84)), id="same shape, smaller first chunks"),
]


@pytest.fixture
def image(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 255, (128, 160)).astype("u1")


@pytest.mark.parametrize(("shape", "chunks"), MADE_FOR)
def test_options_of_another_array_are_refused(
    shape: tuple[int, int], chunks: tuple, image: np.ndarray, gray_model: ModelSpec
) -> None:
    """Each of them would silently give wrong pixels or a wrong shape.

    Where the numbers of chunks differ, Dask refuses.
    """
    restorer = Restorer(gray_model, halo=8)
    options = restorer.map_overlap_options(da.zeros(shape, chunks=chunks, dtype="u1"))
    array = da.from_array(image, chunks=(64, 80))
    with pytest.raises(RequestError, match=r"made for an array of .* call `map_overlap_options` with the array"):
        da.map_overlap(restorer, array, **options).compute()


def test_its_own_options_are_right(image: np.ndarray, gray_model: ModelSpec) -> None:
    restorer = Restorer(gray_model, halo=8)
    array = da.from_array(image, chunks=(64, 80))
    found = da.map_overlap(restorer, array, **restorer.map_overlap_options(array)).compute()
    assert np.array_equal(found, np.asarray(restore(array, model=gray_model, halo=8, tile=(64, 80))))


def test_planes_and_one_chunk_along_an_axis(rng: np.random.Generator, gray_model: ModelSpec) -> None:
    restorer = Restorer(gray_model, halo=8)
    array = da.from_array(rng.integers(0, 255, (3, 64, 128)).astype("u1"), chunks=(2, 64, 64))
    found = da.map_overlap(restorer, array, **restorer.map_overlap_options(array, axes="ZYX")).compute()
    assert np.array_equal(found, np.asarray(restore(array, axes="ZYX", model=gray_model, halo=8, tile=(64, 64))))


def test_a_region_is_that_of_the_whole_image(image: np.ndarray, gray_model: ModelSpec) -> None:
    restorer = Restorer(gray_model)
    order = AxisOrder.of(image.shape, "YX")
    whole = np.asarray(restore(image, model=gray_model, range=(0, 255)))
    scale = restorer.spec.scale
    for rows, columns in [((0, 128), (0, 160)), ((5, 40), (100, 160)), ((127, 128), (0, 1))]:
        found = restorer.restore_region(lambda region: image[region], order, rows, columns, [IntensityMap(0, 255)])
        expected = whole[rows[0] * scale : rows[1] * scale, columns[0] * scale : columns[1] * scale]
        assert np.array_equal(found, expected)
