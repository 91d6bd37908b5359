"""Arrays as images to train on: the libraries they may come from, and arrays that are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
import tifffile
import torch

from swin2sr_ops.errors import RequestError
from swin2sr_ops.hooks.dispatch import open_source
from swin2sr_ops.io.base import ImageSource
from swin2sr_ops.training import train
from swin2sr_ops.training.arrays import image_of


def test_a_tensor_is_an_image() -> None:
    pixels = np.arange(600, dtype="f4").reshape(20, 30)
    image = image_of(torch.from_numpy(pixels))
    assert isinstance(image, ImageSource)
    assert (image.info.axes, image.info.dtype) == ("YX", np.float32)
    np.testing.assert_array_equal(image.read((slice(3, 5), slice(7, 9))), pixels[3:5, 7:9])


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (torch.zeros(20, 30, requires_grad=True), "The Tensor cannot be read as a NumPy array .*detach"),
        (torch.zeros(20, 30, dtype=torch.bfloat16), "The Tensor cannot be read as a NumPy array .*float"),
        (np.ma.masked_equal(np.zeros((20, 30)), 0), "Masked arrays are not supported"),
        (da.zeros((20, 30))[da.zeros(20) == 0], "is not known: call array.compute_chunk_sizes"),
        (np.zeros((20, 30), complex), "complex128"),
        ([[1.0, 2.0], [3.0]], "The list cannot be read as a NumPy array"),
    ],
)
def test_an_array_that_cannot_be_read_is_refused(array: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=message):
        train(noisy="blind", data=array, out=tmp_path / "run")


def test_axes_belong_to_an_array(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((20, 30), "u1"))
    for data, what in ((str(path), "the path"), (path, "the path"), (open_source(path), "a source")):
        with pytest.raises(RequestError, match=f"axes='QQQQQ' names the dimensions of an array, and data is {what}"):
            train(noisy="blind", data=data, axes="QQQQQ", out=tmp_path / "run")
