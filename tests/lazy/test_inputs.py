"""Arrays for `restore`: anything that NumPy reads; other objects give an error message."""

from __future__ import annotations

from typing import Any, Unpack, get_overloads, get_type_hints

import dask.array as da
import numpy as np
import pytest

import swin2sr_ops
from swin2sr_ops import ModelSpec, RequestError
from swin2sr_ops.request import BatchOptions, OutputOptions

torch = pytest.importorskip("torch")
IMAGE = np.random.default_rng(1).integers(0, 255, (20, 30)).astype("u1")


@pytest.mark.parametrize("make", [torch.from_numpy, memoryview, np.ndarray.tolist])
def test_anything_that_numpy_reads_is_restored(make: Any, gray_model: ModelSpec) -> None:
    image = IMAGE.astype("f8") if make is np.ndarray.tolist else IMAGE
    found = swin2sr_ops.restore(make(image), model=gray_model, range=(0, 255))
    np.testing.assert_array_equal(found, swin2sr_ops.restore(image, model=gray_model, range=(0, 255)))


class OnGpu:
    """An array like CuPy's and torch's on a GPU."""

    shape, dtype = (20, 30), np.dtype("u1")

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {"shape": self.shape}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (OnGpu(), "The OnGpu lies on a GPU: copy it to main memory"),
        (torch.zeros(20, 30, requires_grad=True), "The Tensor cannot be read as a NumPy array .*detach"),
        (torch.zeros(20, 30, dtype=torch.bfloat16), "The Tensor cannot be read as a NumPy array .*float"),
        ([[1.0, 2.0], [3.0]], "The list cannot be read as a NumPy array"),
        ("picture.png", "Pixels of type str.* cannot be restored"),
        (None, "cannot be restored"),
    ],
)
def test_the_rest_gets_a_sentence(given: Any, says: str) -> None:
    with pytest.raises(RequestError, match=says):
        swin2sr_ops.restore(given)


def test_map_overlap_wants_dask(gray_model: ModelSpec) -> None:
    with pytest.raises(RequestError, match="works on Dask arrays, not on a ndarray"):
        swin2sr_ops.Restorer(gray_model).map_overlap_options(IMAGE)


def test_types_of_spread_and_options() -> None:
    """Type checkers find misspelt keywords, and know that `spread` returns a pair, and `interval` several arrays."""
    given = [get_type_hints(overload)["return"] for overload in get_overloads(swin2sr_ops.restore)]
    assert given == [da.Array, tuple[da.Array, da.Array], tuple[da.Array, ...]]
    assert get_type_hints(swin2sr_ops.restore_image)["output"] == Unpack[OutputOptions]
    assert get_type_hints(swin2sr_ops.restore_batch)["output"] == Unpack[BatchOptions]
