"""Resumed runs: the same bytes, no tile computed twice, clear errors; and arrays beside an image."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr

import swin2sr_ops
from swin2sr_ops.errors import OutputError, RequestError
from swin2sr_ops.events import Event
from swin2sr_ops.spec import ModelSpec


class Stop(BaseException):
    """An error like Ctrl-C."""


def stop_after(tiles: int):
    def progress(event: Event) -> None:
        if event.kind == "tile" and event.done >= tiles:
            raise Stop

    return progress


def tree(path: Path) -> dict[str, bytes]:
    if path.is_file():
        return {"": path.read_bytes()}
    return {str(p.relative_to(path)): p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file()}


@pytest.fixture
def source(tmp_path: Path, rng: np.random.Generator) -> Path:
    path = tmp_path / "in.ome.tif"
    image = rng.integers(100, 4000, (2, 260, 200)).astype("u2")
    tifffile.imwrite(path, image, metadata={"axes": "CYX"}, tile=(64, 64))
    return path


@pytest.mark.parametrize("name", ["o.ome.zarr", "o.ome.tif"])
@pytest.mark.parametrize("tiles", [1, 7, 29])
def test_a_stopped_run_is_resumed(
    source: Path, gray_model: ModelSpec, tmp_path: Path, computed: list[str], name: str, tiles: int
) -> None:
    options: dict = {"model": gray_model, "tile": 64, "chunks": 128}
    swin2sr_ops.restore_image(source, tmp_path / f"whole_{name}", **options)
    total, out = len(computed), tmp_path / name
    computed.clear()
    with pytest.raises(Stop):
        swin2sr_ops.restore_image(source, out, **options, progress=stop_after(tiles))
    assert not out.exists()
    report = swin2sr_ops.restore_image(source, out, **options)
    assert report.tiles == total
    assert tiles <= report.resumed < total
    assert len(set(computed)) == len(computed) == total
    assert tree(out) == tree(tmp_path / f"whole_{name}")


def test_with_other_tiles_and_another_range_of_workers(
    source: Path, gray_model: ModelSpec, tmp_path: Path, computed: list[str]
) -> None:
    """The result does not depend on tiles, so a run may be resumed with others, if they cover whole chunks."""
    out = tmp_path / "o.ome.zarr"
    options: dict = {"model": gray_model, "chunks": 128, "range": "p1,p99.8"}
    swin2sr_ops.restore_image(source, tmp_path / "whole.ome.zarr", **options, tile=256)
    with pytest.raises(Stop):
        swin2sr_ops.restore_image(source, out, **options, tile=64, progress=stop_after(9))
    report = swin2sr_ops.restore_image(source, out, **options, tile=128)
    assert 0 < report.resumed < report.tiles
    assert tree(out) == tree(tmp_path / "whole.ome.zarr")


def test_the_intensity_map_is_decided_once(
    source: Path, gray_model: ModelSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from swin2sr_ops.run import ranges

    out = tmp_path / "o.zarr"
    with pytest.raises(Stop):
        swin2sr_ops.restore_image(source, out, model=gray_model, tile=64, progress=stop_after(3))
    monkeypatch.setattr(ranges, "intensity_maps", None)  # not asked again
    report = swin2sr_ops.restore_image(source, out, model=gray_model, tile=64)
    assert len(report.settings["intensity"]) == 2


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"halo": 8}, "halo was"),
        ({"range": "dtype"}, "range was .auto., now .dtype."),
        ({"nodata": 7.0}, "nodata was null, now 7"),
        ({"ngff": "0.4"}, "output ngff was null"),
        ({"pyramid": False}, "output pyramid"),
    ],
)
def test_other_settings_are_refused(
    source: Path, gray_model: ModelSpec, tmp_path: Path, changes: dict, told: str
) -> None:
    out = tmp_path / "o.zarr"
    options: dict = {"model": gray_model, "tile": 64}
    with pytest.raises(Stop):
        swin2sr_ops.restore_image(source, out, **options, progress=stop_after(3))
    before = tree(tmp_path / "o.zarr.partial")
    with pytest.raises(OutputError, match=f"{told}.*--restart"):
        swin2sr_ops.restore_image(source, out, **(options | changes))
    assert tree(tmp_path / "o.zarr.partial") == before
    report = swin2sr_ops.restore_image(source, out, **(options | changes), restart=True)
    assert report.resumed == 0


def test_every_region_is_written_once(
    gray_model: ModelSpec, tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run and the finishing sink write each region of each level once."""
    from swin2sr_ops.io.output.staging import Staging

    tifffile.imwrite(tmp_path / "in.tif", rng.integers(0, 99, (600, 560)).astype("u1"))
    written: list[tuple] = []
    write = Staging._write

    def logged(staging: Staging, name: str, region: tuple, blocks: object) -> None:
        written.append((name, str(region)))
        write(staging, name, region, blocks)  # type: ignore[arg-type]

    monkeypatch.setattr(Staging, "_write", logged)
    for suffix in ("zarr", "ome.tif"):
        written.clear()
        swin2sr_ops.restore_image(tmp_path / "in.tif", tmp_path / f"o.{suffix}", model=gray_model, halo=8)
        assert len(set(written)) == len(written)
        assert {name for name, _ in written} == {"0", "1", "2"}


def test_a_changed_source_is_noticed(source: Path, gray_model: ModelSpec, tmp_path: Path) -> None:
    out = tmp_path / "o.zarr"
    options: dict = {"model": gray_model, "tile": 64}
    with pytest.raises(Stop):
        swin2sr_ops.restore_image(source, out, **options, progress=stop_after(3))
    os.utime(source, ns=(1, 1))
    with pytest.raises(OutputError, match="source image files was"):
        swin2sr_ops.restore_image(source, out, **options)

    def touch(event: Event) -> None:
        if event.kind == "tile" and event.done == 3:
            os.utime(source, ns=(2, 2))

    with pytest.raises(OutputError, match="changed during the run"):
        swin2sr_ops.restore_image(source, out, **options, restart=True, progress=touch)
    assert not out.exists()


def test_finished_is_left_alone(source: Path, gray_model: ModelSpec, tmp_path: Path, computed: list[str]) -> None:
    for name in ("o.ome.zarr", "o.ome.tif", "o.tif"):
        out = tmp_path / name
        swin2sr_ops.restore_image(source, out, model=gray_model)
        before, seen = tree(out), len(computed)
        report = swin2sr_ops.restore_image(source, out, model=gray_model, overwrite=True)
        assert (report.state, len(computed), tree(out)) == ("already", seen, before)
        assert "already finished" in str(report)
        assert swin2sr_ops.restore_image(source, out, model=gray_model, overwrite=True, restart=True).state == "done"
        assert tree(out) == before


def test_outputs_are_the_same_to_the_byte(source: Path, gray_model: ModelSpec, tmp_path: Path) -> None:
    """An output does not depend on its time, speed or tiles."""
    for suffix in ("zarr", "ome.tif", "tif"):
        for i, tile in enumerate((64, 128)):
            out = tmp_path / f"{i}" / f"o.{suffix}"
            out.parent.mkdir(exist_ok=True)
            swin2sr_ops.restore_image(source, out, model=gray_model, tile=tile, chunks=128)
        assert tree(tmp_path / "0" / f"o.{suffix}") == tree(tmp_path / "1" / f"o.{suffix}")


# --- beside the image -------------------------------------------------------------------------------


def test_context_flags(gray_model: ModelSpec, tmp_path: Path, rng: np.random.Generator) -> None:
    """A label image: 2 at nodata, 1 if filled pixels were within reach, else 0."""
    yaozarrs = pytest.importorskip("yaozarrs")
    image = rng.integers(1, 999, (200, 220)).astype("u2")
    image[20:40, 30:50] = 9999
    tifffile.imwrite(tmp_path / "in.tif", image)
    for ngff in ("0.5", "0.4"):
        out = tmp_path / f"o{ngff}.zarr"
        swin2sr_ops.restore_image(
            tmp_path / "in.tif", out, model=gray_model, nodata=9999, tile=64, context=True, ngff=ngff
        )
        yaozarrs.validate_zarr_store(str(out))
        flags = zarr.open_array(out / "labels" / "nodata_context" / "0")[:]
        np.testing.assert_array_equal(flags == 2, (image == 9999).repeat(2, 0).repeat(2, 1))
        assert (flags == 1).any()
        assert (flags[300:, 300:] == 0).all()
        other = image.copy()
        other[20:40, 30:50] = 500  # whatever had been there, pixels that saw no hole are the same
        whole = swin2sr_ops.restore(other, model=gray_model, range=(1, 998)).compute()
        made = swin2sr_ops.restore(image, model=gray_model, range=(1, 998), nodata=9999).compute()
        np.testing.assert_array_equal(made[flags == 0], whole[flags == 0])
        assert (made[flags == 1] != whole[flags == 1]).any()


def test_context_flags_are_resumed(gray_model: ModelSpec, tmp_path: Path, rng: np.random.Generator) -> None:
    image = rng.integers(0, 9, (200, 220)).astype("u2")
    tifffile.imwrite(tmp_path / "in.tif", image)
    options: dict = {"model": gray_model, "nodata": 0, "tile": 64, "context": True}
    swin2sr_ops.restore_image(tmp_path / "in.tif", tmp_path / "whole.zarr", **options)
    with pytest.raises(Stop):
        swin2sr_ops.restore_image(tmp_path / "in.tif", tmp_path / "o.zarr", **options, progress=stop_after(5))
    swin2sr_ops.restore_image(tmp_path / "in.tif", tmp_path / "o.zarr", **options)
    assert tree(tmp_path / "o.zarr") == tree(tmp_path / "whole.zarr")


def test_a_mask_hides_what_was_not_scanned(gray_model: ModelSpec, tmp_path: Path, rng: np.random.Generator) -> None:
    image = rng.integers(1, 999, (256, 128)).astype("u2")
    mask = np.ones((32, 16), "u1")  # one flag for 8 x 8 pixels
    mask[16:] = 0
    tifffile.imwrite(tmp_path / "in.tif", image)
    tifffile.imwrite(tmp_path / "mask.tif", mask)
    out = tmp_path / "o.zarr"
    report = swin2sr_ops.restore_image(tmp_path / "in.tif", out, model=gray_model, mask=tmp_path / "mask.tif", tile=64)
    pixels = zarr.open_group(out)["0"][:]
    np.testing.assert_array_equal(pixels[256:], image[128:].repeat(2, 0).repeat(2, 1))
    assert not np.array_equal(pixels[:256], image[:128].repeat(2, 0).repeat(2, 1))
    assert report.skipped == 4  # 4 of 8 tiles: the network did not run there
    tifffile.imwrite(tmp_path / "odd.tif", np.ones((100, 37), "u1"))
    with pytest.raises(RequestError, match="mask"):
        swin2sr_ops.restore_image(tmp_path / "in.tif", tmp_path / "p.zarr", model=gray_model, mask=tmp_path / "odd.tif")


def test_labels_are_carried_on_request(gray_model: ModelSpec, tmp_path: Path, rng: np.random.Generator) -> None:
    yaozarrs = pytest.importorskip("yaozarrs")
    image = rng.integers(1, 999, (64, 80)).astype("u2")
    tifffile.imwrite(tmp_path / "in.tif", image)
    first = tmp_path / "first.zarr"
    swin2sr_ops.restore_image(tmp_path / "in.tif", first, model=gray_model, nodata=5, context=True)
    swin2sr_ops.restore_image(first, tmp_path / "left.zarr", model=gray_model)
    assert "labels" not in zarr.open_group(tmp_path / "left.zarr")
    out = tmp_path / "carried.zarr"
    swin2sr_ops.restore_image(first, out, model=gray_model, labels="carry")
    yaozarrs.validate_zarr_store(str(out))
    before = zarr.open_array(first / "labels/nodata_context/0")[:]
    after = zarr.open_array(out / "labels/nodata_context/0")[:]
    np.testing.assert_array_equal(after, before.repeat(2, 0).repeat(2, 1))
    with pytest.raises(RequestError, match="needs an OME-Zarr image"):
        swin2sr_ops.restore_image(tmp_path / "in.tif", tmp_path / "p.zarr", model=gray_model, labels="carry")
