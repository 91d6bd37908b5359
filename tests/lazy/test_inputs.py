"""Arrays for `restore`: anything that NumPy reads; other objects give an error message."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any, Unpack, get_overloads, get_type_hints

import dask.array as da
import numpy as np
import pytest
from dask import delayed

import swin2sr_ops
from swin2sr_ops import ModelSpec, RequestError
from swin2sr_ops.calls import keywords_of, suggest_keywords
from swin2sr_ops.request import BatchOptions, OutputOptions
from swin2sr_ops.training.arrays import ArrayImage, image_of

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


class Layer:
    """Like napari's: a thing with pixels."""

    data = IMAGE


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (OnGpu(), "The OnGpu lies on a GPU: copy it to main memory"),
        (torch.zeros(20, 30, requires_grad=True), "The Tensor cannot be read as a NumPy array .*detach"),
        (torch.zeros(20, 30, dtype=torch.bfloat16), "The Tensor cannot be read as a NumPy array .*float"),
        ([[1.0, 2.0], [3.0]], "The list cannot be read as a NumPy array"),
        ("picture.png", "'picture.png' is a path, .*restore_image"),
        (Path("picture.png"), "'picture.png' is a path, .*restore_image"),
        (Layer(), "array is a Layer: give its pixels, `.data`"),
        (None, "cannot be restored"),
    ],
)
def test_the_rest_gets_a_sentence(given: Any, says: str) -> None:
    with pytest.raises(RequestError, match=says):
        swin2sr_ops.restore(given)


def test_map_overlap_wants_dask(gray_model: ModelSpec) -> None:
    with pytest.raises(RequestError, match="works on Dask arrays, not on an ndarray"):
        swin2sr_ops.Restorer(gray_model).map_overlap_options(IMAGE)


def complaint(restorer: swin2sr_ops.Restorer, image: da.Array) -> str:
    try:
        restorer.map_overlap_options(image)
    except RequestError as exc:
        return str(exc)
    return ""


@pytest.mark.parametrize("chunks", [((13, 27), (20, 28)), ((50, 70, 44), (33, 60, 7)), (8, 130), ((97, 3), (1, 99))])
def test_the_sentence_about_chunks_names_a_call_that_helps(chunks: Any, gray_model: ModelSpec) -> None:
    restorer = swin2sr_ops.Restorer(gray_model, halo=16)
    size = (164, 100) if isinstance(chunks[0], int) else tuple(map(sum, chunks))
    image = da.from_array(np.resize(IMAGE, size), chunks=chunks)
    while text := complaint(restorer, image):
        found = re.search(r"do not all have the depth of .*array\.rechunk\((\{\d: \d+\})\)", text)
        assert found is not None
        before, image = image.chunks, image.rechunk(ast.literal_eval(found[1]))
        assert image.chunks != before
    options = restorer.map_overlap_options(image)
    result = da.map_overlap(restorer, image, **options)
    assert result.compute().shape == (2 * size[0], 2 * size[1])


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (da.ma.masked_equal(da.zeros((20, 30)), 0), "Masked arrays are not supported"),
        (da.zeros((20, 30))[da.zeros(20) == 0], "is not known: call array.compute_chunk_sizes"),
    ],
)
def test_map_overlap_refuses_what_restore_refuses(array: Any, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        swin2sr_ops.Restorer("nano-x2-gray").map_overlap_options(array)


@pytest.mark.parametrize(
    ("chunk", "says"),
    [
        (np.ma.masked_less(IMAGE, 9), "Masked arrays are not supported: give .*ma.filled"),
        (np.ma.masked_array(IMAGE), "Masked arrays are not supported"),  # a mask without a pixel
        (IMAGE.astype("f4"), "declares uint8 pixels, but one of its chunks has float32: declare the type"),
        (IMAGE.astype("u2"), "declares uint8 pixels, but one of its chunks has uint16"),
        (IMAGE.astype("i8"), "Pixels of type int64 cannot be restored"),
        (OnGpu(), "The OnGpu lies on a GPU"),
        (IMAGE[:1], r"A chunk of the array has the shape \(1, 30\), which is smaller than the array declares"),
    ],
)
def test_chunks_that_are_not_what_the_array_declares(chunk: Any, says: str, gray_model: ModelSpec) -> None:
    """Found when they are computed, in the tiles, in the range, and in `map_overlap`."""
    array = da.from_delayed(delayed(lambda: chunk)(), IMAGE.shape, meta=np.empty((0, 0), "u1"))
    smaller = getattr(chunk, "shape", ()) == (1, 30)
    for value_range in ("dtype", "p1,p99"):
        if not (smaller and value_range != "dtype"):
            with pytest.raises(RequestError, match=says):
                swin2sr_ops.restore(array, model=gray_model, range=value_range).compute(scheduler="sync")
    restorer = swin2sr_ops.Restorer(gray_model)
    with pytest.raises(RequestError, match="made for an array" if smaller else says):
        da.map_overlap(restorer, array, **restorer.map_overlap_options(array)).compute(scheduler="sync")
    if isinstance(chunk, np.ndarray) and not smaller:
        source = image_of(array)
        assert isinstance(source, ArrayImage)
        with pytest.raises(RequestError, match=says):
            source.read((slice(0, 4), slice(0, 4)))


def test_chunks_in_another_byte_order_are_the_same_pixels(gray_model: ModelSpec) -> None:
    chunk = IMAGE.astype(">u2")
    array = da.from_delayed(delayed(lambda: chunk)(), IMAGE.shape, meta=np.empty((0, 0), "u2"))
    found = swin2sr_ops.restore(array, model=gray_model).compute()
    assert found.dtype == np.dtype("u2").newbyteorder("=")
    np.testing.assert_array_equal(found, swin2sr_ops.restore(IMAGE.astype("u2"), model=gray_model))


@pytest.mark.parametrize("call", [swin2sr_ops.restore, swin2sr_ops.Restorer, swin2sr_ops.restored_store])
def test_a_misspelt_keyword_gets_the_nearest(call: Any) -> None:
    with pytest.raises(RequestError, match=r"'hallo' is not a keyword of .*: did you mean 'halo'"):
        call("sample:cells", hallo=16)


@pytest.mark.parametrize(
    ("call", "given", "meant"),
    [
        (swin2sr_ops.Restorer, {"modle": "fast"}, "model"),
        (swin2sr_ops.restore, {"arr": IMAGE}, "array"),
        (swin2sr_ops.restored_store, {"src": "sample:cells", "cahce": "x.ome.zarr"}, "cache"),
        (swin2sr_ops.restore_image, {"src": "sample:cells", "dst": "x.ome.zarr", "sorce": "y"}, "src"),
    ],
)
def test_every_parameter_is_suggested(call: Any, given: dict[str, Any], meant: str) -> None:
    with pytest.raises(RequestError, match=f"is not a keyword of .*: did you mean '{meant}'"):
        call(**given)


def test_the_name_of_further_keywords_is_none() -> None:
    @suggest_keywords
    def call(one: int, *several: int, two: int = 2, **more: int) -> int:
        return one + two

    assert keywords_of(call) == ["one", "two"]
    assert call(one=1, two=3) == 4
    for name in ("several", "more"):
        with pytest.raises(RequestError, match=f"'{name}' is not a keyword of"):
            call(1, **{name: 3})


def test_arrays_where_paths_belong(tmp_path: Path) -> None:
    for call in (
        lambda: swin2sr_ops.restore_image(IMAGE, tmp_path / "x.tif"),  # type: ignore[arg-type]
        lambda: swin2sr_ops.restored_store(IMAGE),  # type: ignore[arg-type]
        lambda: swin2sr_ops.open_source(IMAGE),  # type: ignore[arg-type]
    ):
        with pytest.raises(RequestError, match=r"is an ndarray: give a path or a URL.*swin2sr_ops\.restore\."):
            call()
    with pytest.raises(RequestError, match="dst is an ndarray"):
        swin2sr_ops.restore_image("sample:cells", IMAGE)  # type: ignore[arg-type]
    with pytest.raises(RequestError, match="One of sources is an ndarray"):
        swin2sr_ops.restore_batch([IMAGE], tmp_path)  # type: ignore[list-item]
    with pytest.raises(RequestError, match="sources is an int"):
        swin2sr_ops.restore_batch(3, tmp_path)  # type: ignore[arg-type]
    with pytest.raises(swin2sr_ops.ModelError, match="model is an ndarray"):
        swin2sr_ops.Restorer(IMAGE)  # type: ignore[arg-type]


def test_types_of_spread_and_options() -> None:
    """Type checkers find misspelt keywords, and know that `spread` returns a pair, and `interval` several arrays."""
    given = [get_type_hints(overload)["return"] for overload in get_overloads(swin2sr_ops.restore)]
    assert given == [da.Array, tuple[da.Array, da.Array], tuple[da.Array, ...]]
    assert get_type_hints(swin2sr_ops.restore_image)["output"] == Unpack[OutputOptions]
    assert get_type_hints(swin2sr_ops.restore_batch)["output"] == Unpack[BatchOptions]
