"""`restore_image` gives the pixels of `restore`, keeps pixel size and origin, and leaves no incomplete output."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr

import swin2sr_ops
from swin2sr_ops.errors import FormatError, OutputError, RequestError, Swin2SROpsError
from swin2sr_ops.events import Event
from swin2sr_ops.spec import ModelSpec


@pytest.fixture
def stack(tmp_path: Path, rng: np.random.Generator) -> tuple[Path, np.ndarray]:
    """A two-channel OME-TIFF with a pixel size."""
    image = rng.integers(100, 4000, (2, 150, 170)).astype("u2")
    path = tmp_path / "stack.ome.tif"
    metadata = {"axes": "CYX", "PhysicalSizeX": 0.2, "PhysicalSizeY": 0.4, "Channel": {"Name": ["DAPI", "GFP"]}}
    tifffile.imwrite(path, image, metadata=metadata, tile=(64, 64), compression="zlib")
    return path, image


def read(path: Path) -> np.ndarray:
    source = swin2sr_ops.open_source(path)
    return source.read(tuple(slice(0, n) for n in source.info.shape))


def test_file_equals_array(stack: tuple[Path, np.ndarray], gray_model: ModelSpec, tmp_path: Path) -> None:
    path, image = stack
    expected = swin2sr_ops.restore(image, model=gray_model, axes="CYX").compute()
    for tile in (40, 64, None, (150, 33)):
        report = swin2sr_ops.restore_image(
            path, tmp_path / "out.ome.zarr", model=gray_model, tile=tile, restart=True, overwrite=True
        )
        np.testing.assert_array_equal(zarr.open_group(tmp_path / "out.ome.zarr")["0"][:], expected)
        assert report.pixels == expected.size
        assert report.pixels_per_second > 0
    swin2sr_ops.restore_image(path, tmp_path / "out.ome.tif", model=gray_model)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "out.ome.tif"), expected)


def test_place_and_provenance(stack: tuple[Path, np.ndarray], gray_model: ModelSpec, tmp_path: Path) -> None:
    """Law 4: finer pixels, the same corner; the output contains the run's settings."""
    out = tmp_path / "out.ome.zarr"
    swin2sr_ops.restore_image(stack[0], out, model=gray_model)
    info = swin2sr_ops.open_source(out).info
    assert info.axes == "CYX"
    assert (info.pixel_size["Y"], info.pixel_size["X"]) == pytest.approx((0.2, 0.1))
    assert (info.origin["Y"], info.origin["X"]) == pytest.approx((-0.1, -0.05))
    assert {info.units[a].lower() for a in "YX"} <= {"micrometer", "µm"}
    assert [c["label"] for c in info.channels] == ["DAPI", "GFP"]
    attributes = dict(zarr.open_group(out).attrs)
    told = attributes["swin2sr_ops"]
    assert told["model"] == gray_model.name
    assert told["weights_sha256"] == gray_model.sha256
    assert told["settings"]["halo"] == "exact"
    assert len(told["settings"]["intensity"]) == 2
    json.dumps(told)


def test_validates_elsewhere(stack: tuple[Path, np.ndarray], gray_model: ModelSpec, tmp_path: Path) -> None:
    yaozarrs = pytest.importorskip("yaozarrs")
    swin2sr_ops.restore_image(stack[0], tmp_path / "out.ome.zarr", model=gray_model)
    yaozarrs.validate_zarr_store(str(tmp_path / "out.ome.zarr"))


@pytest.mark.parametrize("value_range", ["auto", "p1,p99", "0,4095"])
def test_range_is_that_of_the_array(
    stack: tuple[Path, np.ndarray],
    gray_model: ModelSpec,
    tmp_path: Path,
    value_range: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from swin2sr_ops.run import ranges as intensity

    monkeypatch.setattr(intensity, "BAND_BYTES", 10_000)  # several bands
    path, image = stack
    swin2sr_ops.restore_image(path, tmp_path / "o.zarr", model=gray_model, range=value_range)
    expected = swin2sr_ops.restore(image, model=gray_model, axes="CYX", range=value_range).compute()
    np.testing.assert_array_equal(read(tmp_path / "o.zarr"), expected)


def test_pictures(rgb_model: ModelSpec, tmp_path: Path) -> None:
    swin2sr_ops.restore_image("sample:photo", tmp_path / "photo.png", model=rgb_model, tile=100)
    from swin2sr_ops.io.samples import sample_path

    photo = read(sample_path("sample:photo"))
    np.testing.assert_array_equal(read(tmp_path / "photo.png"), swin2sr_ops.restore(photo, model=rgb_model).compute())


def test_shipped_models_restore_the_samples(tmp_path: Path) -> None:
    for name in ("cells", "photo"):
        report = swin2sr_ops.restore_image(f"sample:{name}", tmp_path / f"{name}.ome.zarr")
        assert report.model == {"cells": "small-x2-gray", "photo": "small-x2-rgb"}[name]


def test_progress_and_observers(
    stack: tuple[Path, np.ndarray], gray_model: ModelSpec, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from swin2sr_ops.hooks.dispatch import manager

    class Observer:
        @swin2sr_ops.hookimpl
        def swin2sr_ops_progress(self, event: Event) -> None:
            raise ValueError("an observer's own mistake")

    observer = Observer()
    manager().register(observer)
    events: list[Any] = []
    try:
        with caplog.at_level(logging.ERROR):
            swin2sr_ops.restore_image(
                stack[0], tmp_path / "o.zarr", model=gray_model, tile=(75, 170), progress=events.append
            )
    finally:
        manager().unregister(observer)
    assert [e.total for e in events if e.kind == "range"] == [2, 2]  # one band per channel
    events = [e for e in events if e.kind != "range"]
    assert [e.kind for e in events] == ["start", *["tile"] * 4, "end"]
    assert events[-2].done == events[-2].total == 4
    assert sum(e.pixels for e in events if e.kind == "tile") == events[0].pixels
    assert "own mistake" in caplog.text


def test_nodata_is_stored_in_the_output(gray_model: ModelSpec, tmp_path: Path, rng: np.random.Generator) -> None:
    image = rng.integers(0, 9, (40, 40)).astype("u2")
    tifffile.imwrite(tmp_path / "in.tif", image)
    swin2sr_ops.restore_image(tmp_path / "in.tif", tmp_path / "o.zarr", model=gray_model, nodata=0, range=(0, 9))
    expected = swin2sr_ops.restore(image, model=gray_model, nodata=0, range=(0, 9)).compute()
    np.testing.assert_array_equal(read(tmp_path / "o.zarr"), expected)
    np.testing.assert_array_equal(expected == 0, (image == 0).repeat(2, 0).repeat(2, 1))


# --- failures: a clear error, and no output that looks finished -------------------------------------


def left(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir()}


@pytest.mark.parametrize("suffix", ["zarr", "ome.tif"])
def test_a_failure_leaves_nothing(
    stack: tuple[Path, np.ndarray], gray_model: ModelSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    from swin2sr_ops.engine.runner import Network

    real, calls, allowed = Network.engine, [], [0]

    def failing(self: Network) -> object:
        engine = real(self)

        class Failing:
            def run(self, *args: object, **more: object) -> object:
                calls.append(1)
                if len(calls) > allowed[0]:
                    raise RuntimeError("a kernel failed")
                return engine.run(*args, **more)  # type: ignore[arg-type]

        return Failing()

    monkeypatch.setattr(Network, "engine", failing)
    before = left(tmp_path)
    with pytest.raises(swin2sr_ops.TileError, match=r"failed at y=\d+:\d+ x=.*a kernel failed.*stack.ome.tif"):
        swin2sr_ops.restore_image(stack[0], tmp_path / f"o.{suffix}", model=gray_model, tile=50)
    assert left(tmp_path) == before
    allowed[0] = 9
    with pytest.raises(swin2sr_ops.TileError, match="the same command resumes the run"):
        swin2sr_ops.restore_image(stack[0], tmp_path / f"o.{suffix}", model=gray_model, tile=50)
    assert left(tmp_path) - before == {f"o.{suffix}.partial"}


def test_an_existing_output_stays(stack: tuple[Path, np.ndarray], gray_model: ModelSpec, tmp_path: Path) -> None:
    out = tmp_path / "o.zarr"
    swin2sr_ops.restore_image(stack[0], out, model=gray_model)
    first = read(out)
    assert swin2sr_ops.restore_image(stack[0], out, model=gray_model).state == "already"
    with pytest.raises(OutputError, match="exists"):
        swin2sr_ops.restore_image(stack[0], out, model=gray_model, halo=8)
    with pytest.raises(Swin2SROpsError):
        swin2sr_ops.restore_image(stack[0], out, model=gray_model, overwrite=True, device="cuda:77")
    np.testing.assert_array_equal(read(out), first)


def test_output_and_input_do_not_mix(gray_model: ModelSpec, tmp_path: Path) -> None:
    source = tmp_path / "in.zarr"
    zarr.create_array(source, data=np.zeros((32, 32), "u1"))
    for dst in (source, source / "out.zarr"):
        with pytest.raises(OutputError):
            swin2sr_ops.restore_image(source, dst, model=gray_model, overwrite=True)
    assert read(source).shape == (32, 32)


def test_disk_full(stack: tuple[Path, np.ndarray], gray_model: ModelSpec, tmp_path: Path) -> None:
    """A real full disk: a small tmpfs."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    if os.name != "posix" or mount is None or subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], capture_output=True
    ).returncode:  # fmt: skip
        pytest.skip("a tmpfs cannot be mounted here (needs root)")
    try:
        with pytest.raises(OutputError, match="full"):
            swin2sr_ops.restore_image(stack[0], disk / "o.zarr", model=gray_model)
        assert left(disk) == set()
    finally:
        subprocess.run(["umount", disk], check=True)


def test_bad_sources(gray_model: ModelSpec, tmp_path: Path, rng: np.random.Generator) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.tif").write_text("this is no image")
    good = tmp_path / "good.tif"
    tifffile.imwrite(good, rng.integers(0, 9, (200, 200)).astype("u2"))
    (tmp_path / "cut.tif").write_bytes(good.read_bytes()[:20_000])
    tifffile.imwrite(tmp_path / "complex.tif", np.zeros((9, 9), "c8"))
    tifffile.imwrite(tmp_path / "nan.tif", np.full((9, 9), np.nan, "f4"))
    zarr.create_array(tmp_path / "seven.zarr", data=np.zeros((2,) * 7, "u1"))
    zarr.create_array(tmp_path / "empty.zarr", shape=(0, 5), dtype="u1", chunks=(1, 1))
    cases = {
        "missing.tif": (FormatError, "no file or folder"),
        "folder": (FormatError, "[Zz]arr"),
        "text.tif": (FormatError, "text.tif"),
        "cut.tif": (FormatError, "truncated"),
        "complex.tif": (RequestError, "complex64 cannot be restored"),
        "nan.tif": (RequestError, "no valid pixel"),
        "seven.zarr": (Swin2SROpsError, "7"),
        "empty.zarr": (Swin2SROpsError, "empty|no pixels"),
    }
    for name, (kind, says) in cases.items():
        with pytest.raises(kind, match=says):
            swin2sr_ops.restore_image(tmp_path / name, tmp_path / "out.zarr", model=gray_model)
        assert not (tmp_path / "out.zarr").exists()
    with pytest.raises(RequestError, match="does not say a format"):
        swin2sr_ops.restore_image(good, tmp_path / "out.xyz", model=gray_model)
