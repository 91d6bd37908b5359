"""`restored_store` has the keys, documents and pixels of a run, in any order and from many threads."""

from __future__ import annotations

import json
import pickle
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import given, settings, strategies as st
from zarr.abc.store import OffsetByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync

import swin2sr_ops
from swin2sr_ops.errors import RequestError, Swin2SROpsError
from swin2sr_ops.serve.codec import Unit
from swin2sr_ops.serve.layers import Cell
from swin2sr_ops.serve.store import RestoredStore
from swin2sr_ops.serve.tile_queue import TileQueue
from swin2sr_ops.spec import ModelSpec
from tests.conftest import write_model
from tests.run.test_trust import calibrated


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def values_of(store: RestoredStore) -> dict[str, bytes]:
    found = {key: sync(store.image.get(key)) for key in store.image.listing()}
    return {key: value for key, value in found.items() if value is not None}


def write(path: Path, image: np.ndarray, axes: str, **metadata: Any) -> Path:
    photometric = "rgb" if axes.endswith("S") else "minisblack"
    tifffile.imwrite(path, image, metadata={"axes": axes, **metadata}, tile=(64, 64), photometric=photometric)
    return path


@pytest.fixture
def stack(tmp_path: Path, rng: np.random.Generator) -> Path:
    image = rng.integers(100, 4000, (2, 270, 330)).astype("u2")
    return write(tmp_path / "stack.ome.tif", image, "CYX", Channel={"Name": ["DAPI", "GFP"]})


REQUESTS: dict[str, dict[str, Any]] = {
    "plain": {"chunks": 128},
    "v2": {"chunks": 128, "ngff": "0.4"},
    "shards": {"chunks": 64, "shards": 256},
    "odd chunks": {"chunks": (75, 131)},
    "no pyramid": {"pyramid": False, "chunks": 128},
    "a halo that is not exact": {"halo": 16, "tile": 96, "chunks": 64},
    "ensemble with its spread": {"ensemble": 8, "spread": True, "chunks": 256},
    "nodata and its context": {"nodata": 100, "context": True, "chunks": 128},
    "percentiles": {"range": "p1,p99", "chunks": 256},
    "given range": {"range": (0, 4095), "chunks": 256},
}


@pytest.mark.parametrize("name", REQUESTS)
def test_every_key_has_the_bytes_of_a_run(name: str, stack: Path, gray_model: ModelSpec, tmp_path: Path) -> None:
    asked = REQUESTS[name]
    swin2sr_ops.restore_image(stack, tmp_path / "x.ome.zarr", model=gray_model, **asked)
    with swin2sr_ops.restored_store(stack, name="x.ome.zarr", model=gray_model, **asked) as store:
        assert values_of(store) == files_of(tmp_path / "x.ome.zarr")


@pytest.mark.parametrize("more", [{}, {"ensemble": 8}, {"shards": 256}, {"ngff": "0.4"}], ids=str)
def test_intervals_are_those_of_a_run(more: dict[str, Any], stack: Path, gray_model: ModelSpec, tmp_path: Path) -> None:
    """Half widths and flags too are read as a run writes them, from a cache that a run finishes."""
    calibration = calibrated(gray_model, tmp_path / "cal.json", ensemble=more.get("ensemble", 1))
    asked = {"chunks": 128, "nodata": 100, "noise": 500, "interval": 90, "calibration": calibration}
    asked |= {"model": gray_model, **more}
    swin2sr_ops.restore_image(stack, tmp_path / "x.ome.zarr", **asked)
    expected = files_of(tmp_path / "x.ome.zarr")
    assert {"interval", "labels"} < {key.split("/")[0] for key in expected}
    with swin2sr_ops.restored_store(stack, cache=tmp_path / "y.ome.zarr", name="x.ome.zarr", **asked) as store:
        assert values_of(store) == expected
    report = swin2sr_ops.restore_image(stack, tmp_path / "y.ome.zarr", **asked)
    assert report.resumed == report.tiles
    found = files_of(tmp_path / "y.ome.zarr")
    assert {key for key in expected if found.get(key) != expected[key]} <= {"zarr.json", ".zattrs"}  # its name


def test_intervals_need_a_calibration(stack: Path, gray_model: ModelSpec) -> None:
    with pytest.raises(RequestError, match="need a coverage and a calibration"):
        swin2sr_ops.restored_store(stack, model=gray_model, interval=90)


@pytest.mark.parametrize("scale", [1, 3, 4])
@pytest.mark.parametrize("size", [(97, 141), (300, 211)])
def test_scales_that_do_not_divide_chunks(scale: int, size: tuple[int, int], tmp_path: Path) -> None:
    model = write_model(
        tmp_path / "model.safetensors", scale=scale, upsampler="pixelshuffledirect" if scale > 1 else ""
    )
    image = np.random.default_rng(1).integers(0, 255, size).astype("u1")
    path = write(tmp_path / "image.tif", image, "YX")
    swin2sr_ops.restore_image(path, tmp_path / "x.ome.zarr", model=model, chunks=100)
    with swin2sr_ops.restored_store(path, name="x.ome.zarr", model=model, chunks=100) as store:
        assert values_of(store) == files_of(tmp_path / "x.ome.zarr")


@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_colours_have_chunks_of_their_own(dtype: str, rgb_model: ModelSpec, tmp_path: Path) -> None:
    image = np.random.default_rng(2).integers(0, 255, (150, 290, 3)).astype(dtype)
    path = write(tmp_path / "image.tif", image, "YXS")
    swin2sr_ops.restore_image(path, tmp_path / "x.ome.zarr", model=rgb_model, chunks=128)
    with swin2sr_ops.restored_store(path, name="x.ome.zarr", model=rgb_model, chunks=128) as store:
        assert values_of(store) == files_of(tmp_path / "x.ome.zarr")
        assert store.image.queue.cells <= 3 * 5  # the three colours of a chunk come of one tile


def test_chunks_without_pixels_are_not_stored(gray_model: ModelSpec, tmp_path: Path) -> None:
    """As in a run, chunks of only the fill value are absent, and are not listed once that is known."""
    image = np.zeros((200, 400), "u1")
    image[:, 300:] = np.random.default_rng(3).integers(1, 255, (200, 100))
    path = write(tmp_path / "image.tif", image, "YX")
    asked = {"model": gray_model, "chunks": 100, "nodata": 0}
    swin2sr_ops.restore_image(path, tmp_path / "x.ome.zarr", **asked)
    with swin2sr_ops.restored_store(path, name="x.ome.zarr", **asked) as store:
        expected = files_of(tmp_path / "x.ome.zarr")
        assert values_of(store) == expected
        assert set(store.image.listing()) == set(expected)
        assert not sync(store.exists("0/c/0/0"))


def test_labels_are_carried_on_request(gray_model: ModelSpec, tmp_path: Path) -> None:
    source = tmp_path / "source.ome.zarr"
    image = np.random.default_rng(4).integers(0, 255, (150, 170)).astype("u1")
    group = zarr.create_group(source, zarr_format=3)
    axes = [{"name": a, "type": "space"} for a in "yx"]
    scales = [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1.0, 1.0]}]}]
    ome = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": scales}]}
    group.attrs["ome"] = ome
    group.create_array("0", data=image, chunks=(64, 64))
    labels = group.create_group("labels")
    labels.attrs["ome"] = {"version": "0.5", "labels": ["cells"]}
    cells = labels.create_group("cells")
    cells.attrs["ome"] = ome | {"image-label": {}}
    cells.create_array("0", data=(image > 99).astype("u2"), chunks=(64, 64))
    for asked in ({"labels": "carry"}, {"labels": "carry", "context": True, "ngff": "0.4"}):
        out = tmp_path / f"x{len(asked)}.ome.zarr"
        swin2sr_ops.restore_image(source, out, model=gray_model, chunks=128, **asked)
        with swin2sr_ops.restored_store(source, name=out.name, model=gray_model, chunks=128, **asked) as store:
            assert values_of(store) == files_of(out)
            for key in ("labels/../../outside", "labels//zarr.json", "labels/..", "labels/./zarr.json"):
                assert sync(store.get(key)) is None


def test_bands_that_are_restored_together(tmp_path: Path) -> None:
    """Red, green and blue bands of a raster enter one network, other bands another, opacity none."""
    rasterio = pytest.importorskip("rasterio")
    from rasterio.enums import ColorInterp

    path = tmp_path / "scene.tif"
    bands = np.random.default_rng(5).integers(1, 200, (5, 150, 170)).astype("u1")
    with rasterio.open(
        path, "w", driver="GTiff", width=170, height=150, count=5, dtype="uint8", crs="EPSG:32632",
        transform=rasterio.Affine(10, 0, 5e5, 0, -10, 5e6),
    ) as dst:  # fmt: skip
        dst.write(bands)
        dst.colorinterp = [ColorInterp[name] for name in ("gray", "red", "green", "blue", "alpha")]
    asked = {"model": "nano-x2-rgb,nano-x2-gray", "chunks": 128}
    swin2sr_ops.restore_image(path, tmp_path / "x.ome.zarr", **asked)
    with swin2sr_ops.restored_store(path, name="x.ome.zarr", **asked) as store:
        assert values_of(store) == files_of(tmp_path / "x.ome.zarr")


def test_a_mask(stack: Path, gray_model: ModelSpec, tmp_path: Path) -> None:
    mask = np.zeros((270, 330), "u1")
    mask[40:200, 100:] = 255
    tifffile.imwrite(tmp_path / "mask.tif", mask)
    asked = {"model": gray_model, "chunks": 128, "mask": tmp_path / "mask.tif"}
    swin2sr_ops.restore_image(stack, tmp_path / "x.ome.zarr", **asked)
    with swin2sr_ops.restored_store(stack, name="x.ome.zarr", **asked) as store:
        assert values_of(store) == files_of(tmp_path / "x.ome.zarr")


@settings(max_examples=8)
@given(data=st.data(), threads=st.integers(1, 6), limit=st.sampled_from([1, 60_000, 1 << 30]))
def test_any_order_from_many_threads(data: st.DataObject, threads: int, limit: int, whole: dict[str, Any]) -> None:
    """Many clients read chunks in any order, with a small cache or a large one: the pixels of a run."""
    keys = data.draw(st.lists(st.sampled_from(sorted(whole["chunks"])), min_size=1, max_size=25))
    with swin2sr_ops.restored_store(whole["path"], name="x.ome.zarr", limit=limit, **whole["asked"]) as store:
        with ThreadPoolExecutor(threads) as pool:
            found = list(pool.map(lambda key: sync(store.image.get(key)), keys))
        assert found == [whole["chunks"][key] for key in keys]
        assert store.image.queue.waiting == 0


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, gray_model: ModelSpec) -> dict[str, Any]:
    """Return an image, its request, and a run's output."""
    folder = tmp_path_factory.mktemp("whole")
    image = np.random.default_rng(6).integers(100, 4000, (2, 270, 330)).astype("u2")
    path, asked = write(folder / "stack.ome.tif", image, "ZYX"), {"model": gray_model, "chunks": 100}
    swin2sr_ops.restore_image(path, folder / "x.ome.zarr", **asked)
    files = files_of(folder / "x.ome.zarr")
    return {"path": path, "asked": asked, "chunks": {k: v for k, v in files.items() if "/c/" in k}, "files": files}


def test_one_tile_serves_neighbours(whole: dict[str, Any]) -> None:
    with swin2sr_ops.restored_store(whole["path"], **whole["asked"]) as store:
        hold, queue = held(store)
        keys = [f"0/c/0/{y}/{x}" for y in range(6) for x in range(7)]
        with ThreadPoolExecutor(len(keys) + 1) as pool:
            pool.submit(lambda: sync(store.image.get("0/c/1/0/0")))
            wait_for(lambda: queue._working)
            found = [pool.submit(lambda key=key: sync(store.image.get(key))) for key in keys]
            wait_for(lambda: queue.waiting == len(keys))
            hold.set()
            assert [f.result() for f in found] == [whole["chunks"][key] for key in keys]
        assert queue.cells == len(keys) + 1
        assert queue.tiles <= 3


def held(store: RestoredStore) -> tuple[threading.Event, TileQueue]:
    """The store's queue, whose tiles wait for an event."""
    hold, queue = threading.Event(), store.image.queue
    compute = queue._compute
    queue._compute = lambda box: (hold.wait(60), compute(box))[1]
    return hold, queue


def wait_for(condition: Callable[[], Any]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_abandoned_requests_are_not_computed(whole: dict[str, Any]) -> None:
    with swin2sr_ops.restored_store(whole["path"], **whole["asked"]) as store:
        hold, queue = held(store)
        layer = store.image.restorer.layer(0)
        cells = [next(iter(layer.cells_of(store.image.codec.region(Unit(0, (0, y, 0)))))) for y in range(5)]
        first = queue.ask(cells[0], lambda: None)
        wait_for(lambda: queue._working)
        others = [queue.ask(cell, lambda: None) for cell in cells[1:]]
        for future in others[:3]:
            future.cancel()
        hold.set()
        assert first.result()
        assert others[3].result()
        assert (queue.cells, queue.dropped) == (2, 3)


def test_an_urgent_cell_comes_before_prefetching(whole: dict[str, Any]) -> None:
    with swin2sr_ops.restored_store(whole["path"], **whole["asked"]) as store:
        hold, queue = held(store)
        order: list[Cell] = []
        compute = queue._compute
        queue._choose = lambda first, _: store.image.restorer.layer(0).best_box(first, [])
        queue._compute = lambda box: (order.append(next(box.cells())), compute(box))[1]  # type: ignore[func-returns-value]
        layer = store.image.restorer.layer(0)
        cells = [next(iter(layer.cells_of(store.image.codec.region(Unit(0, (0, y, 0)))))) for y in range(4)]
        futures = [queue.ask(cell, lambda: None, urgent=i == 3) for i, cell in enumerate(cells)]
        hold.set()
        for future in futures:
            future.result()
        assert order.index(cells[3]) <= 1  # the first may have begun


def test_levels_that_would_cost_too_much(tmp_path: Path) -> None:
    """They are restored from a smaller copy of the source, and the metadata say so; other levels equal the run's."""
    y, x = np.mgrid[:701, :999]
    image = (2000 + 1500 * np.sin(y / 40) * np.cos(x / 60)).astype("u2")
    path = write(tmp_path / "image.tif", image, "YX")
    asked = {"model": "nano-x2-gray", "chunks": 128, "range": (0, 4095)}
    swin2sr_ops.restore_image(path, tmp_path / "x.ome.zarr", **asked)
    expected = files_of(tmp_path / "x.ome.zarr")
    with swin2sr_ops.restored_store(path, name="x.ome.zarr", affordable=20_000, **asked) as store:
        found = values_of(store)
        assert set(found) == set(expected)
        own = json.loads(found["zarr.json"])["attributes"]["swin2sr_ops"]
        assert own["virtual"]["levels_restored_from_smaller_source"] == ["2"]
        differ = {key for key in found if found[key] != expected[key]}
        assert {key.split("/")[0] for key in differ} == {"2", "zarr.json"}
        levels = zarr.open_group(store, mode="r")
        real = zarr.open_group(tmp_path / "x.ome.zarr", mode="r")
        assert levels["2"].shape == real["2"].shape
        assert np.corrcoef(levels["2"][:].ravel(), real["2"][:].ravel())[0, 1] > 0.9
        assert store.image.queue.cells <= len([k for k in expected if k.startswith(("0/c", "2/c"))])


def test_smaller_levels_come_from_the_source_pyramid(tmp_path: Path, gray_model: ModelSpec) -> None:
    """If the source has levels that fit, only these are read and restored."""
    source = tmp_path / "source.ome.zarr"
    full = np.random.default_rng(8).integers(1, 255, (800, 640)).astype("u1")
    group = zarr.create_group(source, zarr_format=3)
    places = [
        {"path": str(k), "coordinateTransformations": [{"type": "scale", "scale": [2.0**k] * 2}]} for k in range(3)
    ]
    axes = [{"name": a, "type": "space"} for a in "yx"]
    group.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": places}]}
    for k in range(3):
        group.create_array(str(k), data=np.ascontiguousarray(full[:: 2**k, :: 2**k]), chunks=(64, 64))
    with swin2sr_ops.restored_store(source, model=gray_model, chunks=128, affordable=1) as store:
        found = zarr.open_group(store, mode="r")["2"][:]
        assert store.image.source_levels.is_stored(2)
    expected = swin2sr_ops.restore(full[::4, ::4], model=gray_model, range="dtype").compute()
    np.testing.assert_array_equal(found, expected)


def test_parts_of_values(whole: dict[str, Any]) -> None:
    key, value = next(iter(whole["chunks"].items()))
    prototype = default_buffer_prototype()
    ranges = {
        RangeByteRequest(3, 20): value[3:20],
        OffsetByteRequest(5): value[5:],
        SuffixByteRequest(7): value[-7:],
        None: value,
    }
    with swin2sr_ops.restored_store(whole["path"], **whole["asked"]) as store:
        found = sync(store.get_partial_values(prototype, [(key, part) for part in ranges]))
        assert [f.to_bytes() for f in found if f is not None] == list(ranges.values())


def test_missing_keys(whole: dict[str, Any]) -> None:
    with swin2sr_ops.restored_store(whole["path"], **whole["asked"]) as store:
        for key in ("0/c/0/0/99", "0/c/0/0", "7/zarr.json", "0/c/00/0/0", "../x", "labels/zarr.json", "0/c/-1/0/0", ""):
            assert sync(store.get(key)) is None, key
            assert not sync(store.exists(key)), key
        assert set(dict.fromkeys(sync(_listed(store.list_dir("0"))))) == {"c", "zarr.json"}
        with pytest.raises(ValueError, match="read-only"):
            zarr.open_group(store, mode="a").create_group("more")


async def _listed(names: Any) -> list[str]:
    return [name async for name in names]


def test_dask_and_pickle(whole: dict[str, Any]) -> None:
    import dask.array as da

    with swin2sr_ops.restored_store(whole["path"], name="x.ome.zarr", **whole["asked"]) as store:
        image = da.from_zarr(zarr.open_array(store, path="0", mode="r"))
        part = image[1, 100:330, 50:400].compute()
        with pickle.loads(pickle.dumps(store)) as twin:
            assert twin == store
            np.testing.assert_array_equal(zarr.open_array(twin, path="0", mode="r")[1, 100:330, 50:400], part)
            assert sync(twin.image.get("zarr.json")) == whole["files"]["zarr.json"]


def test_sentences(stack: Path, gray_model: ModelSpec, tmp_path: Path) -> None:
    with pytest.raises(Swin2SROpsError, match="no file or folder"):
        swin2sr_ops.restored_store(tmp_path / "none.tif")
    with pytest.raises(RequestError, match="ngff"):
        swin2sr_ops.restored_store(stack, model=gray_model, ngff="0.9")
    with pytest.raises(RequestError, match="labels"):
        swin2sr_ops.restored_store(stack, model=gray_model, labels="carry")


def test_a_changed_source_is_reported(stack: Path, gray_model: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swin2sr_ops.serve.source_guard._STILL", 0.0)
    with swin2sr_ops.restored_store(stack, model=gray_model, chunks=128) as store:
        image = zarr.open_array(store, path="0", mode="r")
        assert image[0, :10, :10].any()
        write(stack, np.zeros((2, 270, 330), "u2"), "CYX")
        with pytest.raises(Swin2SROpsError, match="changed while it was served"):
            image[1, :10, :10]
        assert image[0, :10, :10].any()  # earlier chunks still show the old image


def test_a_failed_tile_does_not_end_the_store(
    whole: dict[str, Any], gray_model: ModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    with swin2sr_ops.restored_store(whole["path"], **whole["asked"]) as store:
        compute, fails = store.image.queue._compute, [True]

        def sometimes(box: Any) -> Any:
            if fails:
                fails.clear()
                raise OSError("the disk is gone for a moment")
            return compute(box)

        store.image.queue._compute = sometimes
        key = "0/c/0/0/0"
        with pytest.raises(OSError, match="for a moment"):
            sync(store.image.get(key))
        assert sync(store.image.get(key)) == whole["chunks"][key]
