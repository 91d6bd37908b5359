"""Arrays for `restore`: anything that NumPy reads; other objects give an error message."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any, Unpack, get_overloads, get_type_hints

import dask.array as da
import numpy as np
import pytest

import swin2sr_ops
from swin2sr_ops import ModelSpec, RequestError
from swin2sr_ops.calls import keywords_of, suggest_keywords
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
