"""`restore` on arrays: lazy, for any chunks, with the same pixels for any tiling."""

from __future__ import annotations

import itertools
import pickle
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis.strategies import data, integers, lists, sampled_from
from torch import Tensor
from torch.nn import functional as F

import swin2sr_ops
from swin2sr_ops.errors import ModelError, RequestError
from swin2sr_ops.spec import ModelSpec
from tests.conftest import NATIVE, write_model


def cut(size: int, draw: data) -> tuple[int, ...]:  # type: ignore[valid-type]
    """Chunks of any widths, slivers too, that add up to ``size``."""
    marks = sorted(set(draw.draw(lists(integers(1, size - 1), max_size=4)))) if size > 1 else []
    edges = [0, *marks, size]
    return tuple(b - a for a, b in itertools.pairwise(edges))


@settings(max_examples=25)
@given(draw=data(), height=integers(1, 90), width=integers(1, 90), dtype=sampled_from(["u1", "u2", "i2", "f4", "f8"]))
def test_chunks_and_tiles_do_not_matter(
    gray_model: ModelSpec, draw: data, height: int, width: int, dtype: str  # type: ignore[valid-type]
) -> None:  # fmt: skip
    rng = np.random.default_rng(height * 100 + width)
    image = (rng.random((height, width)) * 200).astype(dtype)
    chunked = da.from_array(image, chunks=(cut(height, draw), cut(width, draw)))
    tile = draw.draw(integers(8, 64)), draw.draw(integers(8, 64))
    whole = swin2sr_ops.restore(image, model=gray_model, tile=128).compute()
    assert whole.shape == (2 * height, 2 * width)
    assert whole.dtype == image.dtype
    np.testing.assert_array_equal(swin2sr_ops.restore(chunked, model=gray_model, tile=tile).compute(), whole)


def test_building_computes_nothing(gray_model: ModelSpec) -> None:
    def fail(*_: object, **__: object) -> np.ndarray:
        raise AssertionError("a pixel was asked for")

    array = da.from_array(np.zeros((4, 4), "u2"), chunks=4).map_blocks(fail, dtype="u2", meta=np.empty((0, 0), "u2"))
    array = da.block([[array] * 3] * 3)
    with dask.config.set(scheduler=fail):
        lazy = swin2sr_ops.restore(array, model=gray_model, tile=8)
    assert lazy.shape == (24, 24)
    assert lazy.chunks == ((16, 8), (16, 8))
    assert lazy.dtype == np.uint16
    assert isinstance(lazy._meta, np.ndarray)


def test_building_loads_no_network() -> None:
    """Neither torch nor weights: a graph is built in milliseconds, on a client that may have no GPU."""
    code = (
        "import sys, dask.array as da, swin2sr_ops\n"
        "lazy = swin2sr_ops.restore(da.zeros((3, 500, 500), chunks=100, dtype='u2'), axes='ZYX', range='p1,p99')\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_one_task_per_tile(gray_model: ModelSpec) -> None:
    array = da.zeros((3, 64, 96), chunks=(1, 16, 16), dtype="u1")
    lazy = swin2sr_ops.restore(array, model=gray_model, axes="ZYX", tile=32)
    shared = 2  # the request and the intensity map: one small task each, for all tiles
    assert len(lazy.dask) - len(array.dask) == 3 * 2 * 3 + shared
    assert len(pickle.dumps(lazy.dask[(lazy.name, 0, 0, 0)])) < 1500


def test_axes_up_to_five(gray_model: ModelSpec, rng: np.random.Generator) -> None:
    """Planes are restored one by one: a stack is its planes, in every order of axes."""
    stack = rng.integers(0, 255, (2, 2, 2, 20, 24), dtype="u1")
    whole = swin2sr_ops.restore(stack, model=gray_model, axes="TCZYX").compute()
    assert whole.shape == (2, 2, 2, 40, 48)
    plane = swin2sr_ops.restore(stack[1, 0, 1], model=gray_model).compute()
    np.testing.assert_array_equal(whole[1, 0, 1], plane)
    moved = swin2sr_ops.restore(stack.transpose(3, 0, 4, 1, 2), model=gray_model, axes="YTXCZ").compute()
    np.testing.assert_array_equal(moved.transpose(1, 3, 4, 0, 2), whole)


def test_channels_have_their_own_range(gray_model: ModelSpec, rng: np.random.Generator) -> None:
    image = np.stack([rng.integers(0, 100, (30, 30)), rng.integers(5000, 9000, (30, 30))]).astype("u2")
    both = swin2sr_ops.restore(da.from_array(image, chunks=(1, 13, 30)), model=gray_model, axes="CYX").compute()
    for i in range(2):
        alone = swin2sr_ops.restore(image[i], model=gray_model).compute()
        np.testing.assert_array_equal(both[i], alone)


def test_colour(rgb_model: ModelSpec, gray_model: ModelSpec, rng: np.random.Generator) -> None:
    image = rng.integers(1, 255, (26, 30, 4), dtype="u1")
    rgba = swin2sr_ops.restore(image, model=rgb_model).compute()
    rgb = swin2sr_ops.restore(image[..., :3], model=rgb_model).compute()
    np.testing.assert_array_equal(rgba[..., :3], rgb)
    first = swin2sr_ops.restore(image.transpose(2, 0, 1), axes="SYX", model=rgb_model).compute()
    np.testing.assert_array_equal(first.transpose(1, 2, 0), rgba)
    # A one-channel model takes each colour apart; a colour model takes a gray image three times.
    apart = swin2sr_ops.restore(image, model=gray_model).compute()
    np.testing.assert_array_equal(apart[..., 1], swin2sr_ops.restore(image[..., 1], model=gray_model).compute())
    lone = swin2sr_ops.restore(image[..., 0], model=rgb_model).compute()
    assert lone.shape == (52, 60)


@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_colours_under_opacity_zero_count_for_nothing(
    rgb_model: ModelSpec, rng: np.random.Generator, dtype: str
) -> None:
    image = rng.integers(50, 200, (26, 30, 4)).astype(dtype)
    image[:, :9, 3] = 0
    other = image.copy()
    other[:, :9, :3] = np.iinfo(dtype).max
    found = [swin2sr_ops.restore(pixels, model=rgb_model, tile=16).compute() for pixels in (image, other)]
    np.testing.assert_array_equal(found[0][:, 18:], found[1][:, 18:])
    np.testing.assert_array_equal(found[1][:, :18], other[:, :9].repeat(2, 0).repeat(2, 1))


@pytest.mark.parametrize("value_range", ["auto", "p5,p95", (0, 1)])
def test_nan_stays_where_it_was(gray_model: ModelSpec, rng: np.random.Generator, value_range: object) -> None:
    image = rng.random((70, 64)).astype("f4")
    image[20:24, 10:30] = np.nan
    image[0, 0] = np.inf
    image[69, 63] = -np.inf
    options = {"model": gray_model, "range": value_range}
    whole = swin2sr_ops.restore(image, tile=128, **options).compute()
    tiled = swin2sr_ops.restore(da.from_array(image, chunks=(9, 64)), tile=(16, 40), **options).compute()
    np.testing.assert_array_equal(tiled, whole)
    np.testing.assert_array_equal(np.isnan(whole), np.isnan(image).repeat(2, 0).repeat(2, 1))
    assert np.isposinf(whole[:2, :2]).all()
    assert np.isneginf(whole[-2:, -2:]).all()
    assert np.isfinite(whole).sum() == 4 * np.isfinite(image).sum()


def test_nodata_stays_and_no_other_pixel_becomes_nodata(gray_model: ModelSpec, rng: np.random.Generator) -> None:
    image = rng.integers(0, 3, (40, 40)).astype("u2")  # restored values will hit 0 unless they are kept from it
    out = swin2sr_ops.restore(image, model=gray_model, nodata=0, range=(0, 3)).compute()
    np.testing.assert_array_equal(out == 0, (image == 0).repeat(2, 0).repeat(2, 1))


def test_constant_image_stays_constant(gray_model: ModelSpec) -> None:
    for dtype, value in (("u2", 700), ("f4", 1e-7), ("i2", -5)):
        image = np.full((33, 21), value, dtype)
        out = swin2sr_ops.restore(image, model=gray_model).compute()
        assert (out == image[0, 0]).all()
        assert out.dtype == image.dtype


def test_values_are_not_clipped_to_the_range(gray_model: ModelSpec) -> None:
    image = np.tile(np.linspace(0, 60000, 64), (64, 1)).astype("u2")
    out = swin2sr_ops.restore(image, model=gray_model, range=(20000, 40000)).compute()
    assert out.min() < 20000
    assert out.max() > 40000


def test_a_part_computes_only_its_tiles(gray_model: ModelSpec) -> None:
    read: list[int] = []

    def note(block: np.ndarray, block_info: dict) -> np.ndarray:
        read.append(block_info[None]["chunk-location"])
        return block

    array = da.zeros((400, 400), chunks=40, dtype="u1").map_blocks(note, dtype="u1", meta=np.empty((0, 0), "u1"))
    swin2sr_ops.restore(array, model=gray_model, tile=40)[:10, :10].compute(scheduler="sync")
    assert 0 < len(read) < 16


def test_travels_to_processes(gray_model: ModelSpec, rng: np.random.Generator) -> None:
    image = rng.integers(0, 4000, (60, 60)).astype("u2")
    lazy = swin2sr_ops.restore(da.from_array(image, chunks=25), model=gray_model, tile=32)
    with dask.config.set({"multiprocessing.context": "spawn"}):
        apart = lazy.compute(scheduler="processes", num_workers=2)
    np.testing.assert_array_equal(apart, lazy.compute(scheduler="sync"))


def test_keys_depend_on_the_request(gray_model: ModelSpec) -> None:
    """Equal requests have equal keys and others do not: Dask's caches rely on it."""
    array = da.zeros((40, 40), chunks=20, dtype="u1")
    names = {swin2sr_ops.restore(array, model=gray_model, tile=t, halo=h).name for t in (16, 32) for h in ("exact", 8)}
    assert len(names) == 4
    assert swin2sr_ops.restore(array, model=gray_model, tile=16).name in names


def test_alpha_is_kept(rgb_model: ModelSpec, rng: np.random.Generator) -> None:
    """Opacity is not a picture: neither the network nor the colours' range includes it."""
    image = rng.integers(0, 900, (30, 40, 4)).astype("u2")
    image[..., 3] = 65535
    image[:9, :9, 3] = 7
    for array in (image, da.from_array(image, chunks=(11, 40, 1))):
        out = swin2sr_ops.restore(array, model=rgb_model, axes="YXS", tile=16).compute()
        np.testing.assert_array_equal(out[..., 3], image[..., 3].repeat(2, 0).repeat(2, 1))
        alone = swin2sr_ops.restore(image[..., :3], model=rgb_model, axes="YXS").compute()
        np.testing.assert_array_equal(out[..., :3], alone)


def test_storage_types_keep_their_precision(gray_model: ModelSpec, rng: np.random.Generator) -> None:
    small = rng.random((40, 40))
    far = swin2sr_ops.restore(small + 1e9, model=gray_model).compute()  # float64: float32 cannot tell these apart
    assert len(np.unique(far)) > 6000
    half = (small * 131008 - 65504).astype("f2")
    assert np.isfinite(swin2sr_ops.restore(half, model=gray_model).compute()).all()
    big = (small * 60000).astype(">u2")
    expected = swin2sr_ops.restore(big.astype("u2"), model=gray_model).compute()
    np.testing.assert_array_equal(swin2sr_ops.restore(big, model=gray_model).compute(), expected)


@pytest.mark.parametrize("scale", [1, 2])
def test_bfloat16_is_near(tmp_path: Path, rng: np.random.Generator, scale: int) -> None:
    """The stated bound holds: at most 2 % of full range on random weights, and no posterised values."""
    spec = write_model(tmp_path / "m.safetensors", scale=scale, upsampler="" if scale == 1 else "pixelshuffledirect")
    image = rng.integers(0, 60000, (64, 64)).astype("u2")
    full = swin2sr_ops.restore(image, model=spec, precision="float32").compute().astype(int)
    fast = swin2sr_ops.restore(image, model=spec, precision="bfloat16").compute().astype(int)
    assert np.abs(full - fast).max() < 0.02 * 65535
    if scale == 1:  # the network adds to its input, which must pass unrounded
        assert len(np.unique(fast)) > 0.9 * len(np.unique(full))


@pytest.mark.parametrize("around", ["float32", "tf32"])
def test_bfloat16_on_a_photograph(around: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a shipped model's weights the error is far below a step of 8 bits: more than 65 dB.

    NVIDIA's GPUs compute the convolutions before and after the stages in TF32: float32 cut to 10 bits.
    """
    source = swin2sr_ops.open_source("sample:photo")
    image = source.read((slice(0, 64), slice(0, 64), slice(None))).astype("f4") / 255
    full = swin2sr_ops.restore(image, axes="YXS", range=(0, 1)).compute()
    kinds: list[torch.dtype] = []
    if around == "tf32":
        conv2d = F.conv2d

        def shortened(x: Tensor, weight: Tensor, *given: Any) -> Tensor:
            kinds.append(x.dtype)
            return conv2d(tf32(x), tf32(weight), *given)

        monkeypatch.setattr(F, "conv2d", shortened)
    half = swin2sr_ops.restore(image, axes="YXS", range=(0, 1), precision="bfloat16").compute()
    assert (torch.float32 in kinds) == (around == "tf32")
    assert -10 * np.log10(np.mean((full - half) ** 2)) > 65


def tf32(x: Tensor) -> Tensor:
    """float32 rounded to 10 bits of mantissa, as tensor cores read it."""
    if x.dtype != torch.float32:
        return x
    return ((x.contiguous().view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32)


def test_channels_cut_in_threes_are_not_colours(rgb_model: ModelSpec, rng: np.random.Generator) -> None:
    """Six channels stay six channels in ``map_overlap``, though each block has three."""
    image = rng.integers(0, 255, (70, 60, 6), dtype="u1")
    array = da.from_array(image, chunks=(70, 60, 3))
    restorer = swin2sr_ops.Restorer(rgb_model)
    lazy = da.map_overlap(restorer, array, **restorer.map_overlap_options(array, axes="YXC"))
    whole = swin2sr_ops.restore(image, model=rgb_model, axes="YXC").compute()
    np.testing.assert_array_equal(lazy.compute(), whole)


# --- dask.array.map_overlap -------------------------------------------------------------------


@settings(max_examples=8)
@given(rows=integers(2, 3), first=integers(60, 75), last=integers(60, 75), colour=sampled_from([True, False]))
def test_map_overlap_equals_restore(
    rgb_model: ModelSpec, gray_model: ModelSpec, rows: int, first: int, last: int, colour: bool
) -> None:
    model = rgb_model if colour else gray_model
    chunks_y = (first, *(61,) * (rows - 2), last)
    shape = (sum(chunks_y), 70, 3) if colour else (2, sum(chunks_y), 70)
    image = np.random.default_rng(first).integers(0, 255, shape, dtype="u1")
    axes = "YXC" if colour else "ZYX"
    array = da.from_array(image, chunks=(chunks_y, 70, 3) if colour else (1, chunks_y, 70))
    restorer = swin2sr_ops.Restorer(model)
    lazy = da.map_overlap(restorer, array, **restorer.map_overlap_options(array, axes=axes))
    whole = swin2sr_ops.restore(image, model=model, axes=axes).compute()
    assert lazy.shape == whole.shape
    np.testing.assert_array_equal(lazy.compute(), whole)


def test_map_overlap_refuses_what_it_cannot_do(gray_model: ModelSpec) -> None:
    restorer = swin2sr_ops.Restorer(gray_model)
    with pytest.raises(RequestError, match=r"call array\.rechunk\("):
        restorer.map_overlap_options(da.zeros((100, 100), chunks=10, dtype="u1"))
    with pytest.raises(RequestError, match="depends on all pixels"):
        restorer.map_overlap_options(da.zeros((100, 100), chunks=100, dtype="u2"), range="auto")


def test_restorer_pickles_small(gray_model: ModelSpec, rng: np.random.Generator) -> None:
    restorer = swin2sr_ops.Restorer(gray_model)
    image = da.from_array(rng.integers(0, 255, (80, 70), dtype="u1"), chunks=40)
    options = restorer.map_overlap_options(image.rechunk(-1))
    lazy, twin = (
        da.map_overlap(r, image.rechunk(-1), **options) for r in (restorer, pickle.loads(pickle.dumps(restorer)))
    )
    assert len(pickle.dumps(restorer)) < 4000
    np.testing.assert_array_equal(lazy.compute(), twin.compute())


def test_a_block_without_its_place_is_refused(gray_model: ModelSpec) -> None:
    """``map_overlap(restorer, array)`` without the options would restore every block as an image of its own."""
    restorer = swin2sr_ops.Restorer(gray_model)
    with pytest.raises(RequestError, match="map_overlap_options"):
        restorer(np.zeros((20, 20), "u1"))
    array = da.zeros((80, 80), chunks=40, dtype="u1")
    with pytest.raises(RequestError, match="map_overlap_options"):
        da.map_overlap(restorer, array, depth=0, boundary="none", meta=np.empty((0, 0), "u1")).compute()


# --- bad input ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("array", "options", "says"),
    [
        (np.zeros((2,) * 7, "u1"), {}, "7 dimensions"),
        (np.zeros((8, 8), "c8"), {}, "complex64 cannot be restored"),
        (np.zeros((8, 8), bool), {}, "bool cannot be restored"),
        (np.zeros((8, 8), "i8"), {}, "int64 cannot be restored"),
        (np.zeros((0, 8), "u1"), {}, "empty"),
        (np.zeros((8, 8), "u1"), {"axes": "TCZYX"}, "does not fit"),
        (np.zeros((8, 8), "u1"), {"range": "3,1"}, "is not understood"),
        (np.zeros((8, 8), "u1"), {"precision": "float16"}, "float16 is not offered"),
        (np.zeros((8, 8), "u1"), {"halo": 3}, "multiple of its window"),
        (np.zeros((8, 8), "u1"), {"tile": 0}, "at least one row"),
    ],
)
def test_bad_requests_get_a_sentence(gray_model: ModelSpec, array: np.ndarray, options: dict, says: str) -> None:
    with pytest.raises(swin2sr_ops.Swin2SROpsError, match=says):
        swin2sr_ops.restore(array, model=gray_model, **options)


@pytest.mark.parametrize("tile", [64.0, (64,), "64", (1, 2, 3)])
def test_bad_tiles_get_a_sentence(gray_model: ModelSpec, tile: object) -> None:
    with pytest.raises(swin2sr_ops.PlanError, match="give one whole number, or two"):
        swin2sr_ops.restore(np.zeros((8, 8), "u1"), model=gray_model, tile=tile)  # type: ignore[arg-type]


def test_masked_arrays_get_a_sentence(gray_model: ModelSpec) -> None:
    masked = np.ma.masked_less(np.arange(100, dtype="u2").reshape(10, 10), 50)
    for array in (masked, da.from_array(masked, chunks=5)):
        with pytest.raises(RequestError, match="filled"):
            swin2sr_ops.restore(array, model=gray_model)


def test_bad_models_get_a_sentence(gray_model: ModelSpec) -> None:
    image = np.zeros((8, 8), "u1")
    with pytest.raises(ModelError, match="swin2sr-clasical-x2"):
        swin2sr_ops.restore(image, model="swin2sr-clasical-x2")
    with pytest.raises(ModelError, match="scale"):
        swin2sr_ops.restore(image, model=gray_model, scale=4)
    for device in ("cuda:99", "meta", "mps" if not torch.backends.mps.is_available() else "xpu", "gpu"):
        with pytest.raises(RequestError, match="cannot be used here") as told:
            swin2sr_ops.restore(image, model=gray_model, device=device).compute()
        assert len(str(told.value)) < 400


def test_all_nan_gets_a_sentence(gray_model: ModelSpec) -> None:
    with pytest.raises(RequestError, match="no valid pixel"):
        swin2sr_ops.restore(np.full((20, 20), np.nan, "f4"), model=gray_model).compute()


def test_unknown_chunks_get_a_sentence(gray_model: ModelSpec) -> None:
    array = da.ones((20, 20), chunks=10)
    with pytest.raises(RequestError, match="compute_chunk_sizes"):
        swin2sr_ops.restore(array[array.sum(1) > 0], model=gray_model)


@pytest.mark.parametrize("engine", ["torch", pytest.param("native", marks=NATIVE)])
def test_out_of_memory_halves_the_tile(
    engine: str, gray_model: ModelSpec, rng, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    """A device without memory gets half tiles, with the same pixels; if that never suffices, an error says so."""
    from swin2sr_ops.engine.native.engine import NativeEngine
    from swin2sr_ops.engine.tile_engine import TileEngine

    kind: Any = NativeEngine if engine == "native" else TileEngine
    error = MemoryError("no room") if engine == "native" else torch.OutOfMemoryError("CUDA out of memory")
    image = rng.integers(0, 255, (100, 90), dtype="u1")
    whole = swin2sr_ops.restore(image, model=gray_model, engine=engine).compute()
    run, sizes, limit, alive = kind.run, [], 60 * 60, []

    def short(self: Any, x: Any, tile: Any) -> object:
        sizes.append(tile.shape)
        if tile.shape[0] * tile.shape[1] > limit:
            held = torch.empty(10)  # of the failed attempt
            alive.append(weakref.ref(held))
            assert sum(ref() is not None for ref in alive) == 1, "an earlier attempt still holds its memory"
            raise type(error)(*error.args)
        return run(self, x, tile)

    monkeypatch.setattr(kind, "run", short)
    np.testing.assert_array_equal(swin2sr_ops.restore(image, model=gray_model, engine=engine).compute(), whole)
    assert sizes[0] == (100, 90)
    assert len(sizes) > 3
    limit = 0
    with pytest.raises(swin2sr_ops.TileError, match="Not even a tile"):
        swin2sr_ops.restore(image, model=gray_model, engine=engine).compute()
