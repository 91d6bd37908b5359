"""Audits of real outputs: clean ones pass, one changed chunk anywhere is found and named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr

import swin2sr_ops
from swin2sr_ops.audit import audit, image
from swin2sr_ops.cli import main
from swin2sr_ops.errors import FormatError, ModelError, RequestError
from swin2sr_ops.hooks.dispatch import open_source
from swin2sr_ops.request import RestoreRequest
from swin2sr_ops.run.archive import run_collection
from swin2sr_ops.spec import ModelSpec
from tests.conftest import write_model
from tests.run.test_archive import write_plate


@pytest.fixture(autouse=True)
def _small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image, "_SIDE", 16)


@pytest.fixture
def stack(tmp_path: Path, rng: np.random.Generator) -> Path:
    path = tmp_path / "stack.tif"
    pixels = rng.integers(0, 4000, (2, 3, 70, 90)).astype("u2")
    tifffile.imwrite(path, pixels, imagej=True, metadata={"axes": "ZCYX"})
    return path


def change(path: Path, *index: Any) -> None:
    """Add 1 to some pixels of a Zarr array."""
    array = zarr.open_array(path, mode="r+")
    array[index] = array[index] + 1


def test_clean_and_one_changed_chunk(stack: Path, gray_model: ModelSpec, tmp_path: Path) -> None:
    out = tmp_path / "out.ome.zarr"
    swin2sr_ops.restore_image(stack, out, model=gray_model, tile=32, chunks=64)
    clean = audit(out, model=gray_model.weights, sample=None)
    assert clean.ok
    assert (clean.agreement, clean.weights, clean.source_identity) == ("bit for bit", "verified by SHA-256", "same")
    assert clean.checked == clean.total == 2 * 3 * 3 * 3
    assert clean.statement == "All tiles were recomputed: none is wrong."
    change(out / "0", 2, 1, slice(100, 101), slice(70, 73))  # stored as CZYX
    found = audit(out, model=gray_model.weights, sample=None)
    assert (found.ok, found.wrong) == (False, 1)
    assert [str(one) for one in found.differences] == ["z=1 c=2 y=64:128 x=64:128: 3 values differ, by up to 1"]
    seen = [audit(out, model=gray_model.weights, sample=18, seed=seed).wrong for seed in range(12)]
    assert set(seen) == {0, 1}  # a third of the tiles each time


def test_damage_of_every_kind(stack: Path, gray_model: ModelSpec, tmp_path: Path) -> None:
    out = tmp_path / "out.ome.zarr"
    swin2sr_ops.restore_image(stack, out, model=gray_model, tile=32, chunks=64)
    (out / "0" / "c" / "0" / "0" / "0" / "0").unlink()  # reads as zeros
    torn = out / "0" / "c" / "1" / "1" / "1" / "0"
    torn.write_bytes(torn.read_bytes()[:40])
    found = audit(out, model=gray_model.weights, sample=None)
    assert found.wrong == 2
    assert {one.place for one in found.differences} == {"z=0 c=0 y=0:64 x=0:64", "z=1 c=1 y=64:128 x=0:64"}
    assert any("cannot be read" in str(one) for one in found.differences)


def test_a_changed_level_is_found(gray_model: ModelSpec, tmp_path: Path, rng: np.random.Generator) -> None:
    src, out = tmp_path / "in.tif", tmp_path / "out.ome.zarr"
    tifffile.imwrite(src, rng.integers(0, 255, (90, 300)).astype("u1"))
    swin2sr_ops.restore_image(src, out, model=gray_model, tile=64, chunks=128)
    assert audit(out, model=gray_model.weights, sample=None).ok
    change(out / "1", slice(80, 81), slice(260, 262))
    found = audit(out, model=gray_model.weights, sample=None)
    assert [one.place for one in found.differences] == ["y=64:90 x=256:300 of level 1"]
    assert found.wrong == 1


@pytest.mark.parametrize("suffix", [".ome.tif", ".ome.zarr", ".png"])
def test_colours(suffix: str, rgb_model: ModelSpec, tmp_path: Path, rng: np.random.Generator) -> None:
    from PIL import Image

    src, out = tmp_path / "in.png", tmp_path / f"out{suffix}"
    Image.fromarray(rng.integers(0, 255, (60, 70, 4)).astype("u1")).save(src)
    swin2sr_ops.restore_image(src, out, model=rgb_model)
    found = audit(out, model=rgb_model.weights, sample=None)
    assert found.ok, str(found)
    assert found.checked == found.total


def test_all_options_of_a_run(tmp_path: Path, rng: np.random.Generator) -> None:
    """Nodata with flags, an ensemble with its spread, a mask, an approximate halo, floats, levels and series."""
    near = write_model(tmp_path / "near.safetensors", depths=(1,), heads=(2,))
    pixels = rng.random((60, 70)).astype("f4")
    pixels[10:14, 20:30] = np.nan
    pixels[40:, 60:] = -9999
    tifffile.imwrite(tmp_path / "in.tif", pixels)
    tifffile.imwrite(tmp_path / "mask.tif", (rng.random((60, 70)) > 0.1).astype("u1"))
    asked: list[dict[str, Any]] = [
        {"nodata": -9999, "context": True},
        {"ensemble": 8, "spread": True},
        {"mask": tmp_path / "mask.tif"},
        {"halo": 8, "tile": 32},
        {"precision": "float64"},
        {"range": "p1,p99"},
    ]
    for i, options in enumerate(asked):
        out = tmp_path / f"out{i}.ome.zarr"
        swin2sr_ops.restore_image(tmp_path / "in.tif", out, model=near, chunks=64, **options)
        found = audit(out, model=near.weights, sample=None)
        assert found.ok, (options, str(found))
    change(tmp_path / "out0.ome.zarr" / "labels" / "nodata_context" / "0", 0, 0)
    change(tmp_path / "out1.ome.zarr" / "spread" / "0", 0, 0)
    for i, name in enumerate(("context", "spread")):
        (one,) = audit(tmp_path / f"out{i}.ome.zarr", model=near.weights, sample=None).differences
        assert one.place == f"y=0:64 x=0:64 of {name}"


def test_reading_options_are_remembered(gray_model: ModelSpec, tmp_path: Path, rng: np.random.Generator) -> None:
    """The audit reads the level, series and axes that the run was given."""
    with tifffile.TiffWriter(tmp_path / "in.tif") as file:
        for shape in ((40, 44), (5, 40, 50)):
            file.write(rng.integers(0, 255, shape).astype("u1"), metadata=None, photometric="minisblack")
    swin2sr_ops.restore_image(tmp_path / "in.tif", tmp_path / "s.ome.zarr", model=gray_model, series=1, axes="TYX")
    assert audit(tmp_path / "s.ome.zarr", model=gray_model.weights).ok
    write_plate(tmp_path / "plate.zarr", "0.5")
    swin2sr_ops.restore_image(tmp_path / "plate.zarr", tmp_path / "a.ome.zarr", model=gray_model, array="A/1/1")
    assert audit(tmp_path / "a.ome.zarr", model=gray_model.weights).ok


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_plates(version: str, gray_model: ModelSpec, tmp_path: Path) -> None:
    write_plate(tmp_path / "plate.zarr", version)
    out = tmp_path / "out.zarr"
    run_collection(tmp_path / "plate.zarr", out, RestoreRequest(model=gray_model, chunks=64), ngff=version)
    found = audit(out, model=gray_model.weights, sample=None)
    assert (found.ok, found.total) == (True, 3 * 2 * 4)
    shutil.move(tmp_path / "plate.zarr", tmp_path / "moved.zarr")
    with pytest.raises(FormatError, match="plate"):
        audit(out, model=gray_model.weights)
    moved = audit(out, source=tmp_path / "moved.zarr", model=gray_model.weights, sample=None)
    assert (moved.ok, moved.source_identity) == (True, "same")
    change(out / "B/02/0/0", 1, 70, 3)
    shutil.rmtree(out / "A/1/1")
    found = audit(out, source=tmp_path / "moved.zarr", model=gray_model.weights, sample=None)
    assert [one.image for one in found.differences] == ["B/02/0"]
    assert list(found.missing) == ["A/1/1"]
    assert found.statement == "1 of 16 recomputed tiles is wrong (6.2 %). 1 of the images cannot be checked."


@pytest.mark.parametrize("keep", [True, False])
def test_a_plate_is_opened_once(
    keep: bool, gray_model: ModelSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counting its tiles and checking them read the metadata of each source image once; of very many, twice."""
    write_plate(tmp_path / "plate.zarr", "0.5")
    run_collection(tmp_path / "plate.zarr", tmp_path / "out.zarr", RestoreRequest(model=gray_model, chunks=64))
    opened: list[str] = []

    def counting(src: Any, *args: Any, **options: Any) -> Any:
        opened.append(str(options.get("array")))
        return open_source(src, *args, **options)

    monkeypatch.setattr("swin2sr_ops.run.job.open_source", counting)
    if not keep:
        monkeypatch.setattr("swin2sr_ops.audit.api._KEPT", 1)
    assert audit(tmp_path / "out.zarr", model=gray_model.weights, sample=None).ok
    assert len(opened) == (1 if keep else 2) * len(set(opened))


def test_rasters(rgb_model: ModelSpec, gray_model: ModelSpec, tmp_path: Path, rng: np.random.Generator) -> None:
    """A COG with colours restored together, a band restored alone, opacity, nodata and overviews."""
    pytest.importorskip("rasterio", reason="GeoTIFF needs rasterio")
    from tests.run.test_geo import write

    pixels = rng.integers(1, 3000, (5, 90, 300)).astype("u2")
    pixels[:, :20, :20] = 0
    src = write(tmp_path / "in.tif", pixels, "blue green red undefined alpha", nodata=0)
    models = f"{rgb_model.weights},{gray_model.weights}"
    swin2sr_ops.restore_image(src, tmp_path / "out.tif", model=models, tile=64)
    found = audit(tmp_path / "out.tif", model=models, sample=None)
    assert found.ok, str(found)
    assert found.total % 3 == 0  # colours count as one
    with pytest.raises(ModelError, match="1 models were given, but the run used 2"):
        audit(tmp_path / "out.tif", model=rgb_model.weights)
    import rasterio

    with rasterio.open(tmp_path / "out.tif", "r+", IGNORE_COG_LAYOUT_BREAK="YES") as raster:
        band = raster.read(4)
        band[100, 200] += 3
        raster.write(band, 4)
    found = audit(tmp_path / "out.tif", model=models, sample=None)
    assert found.wrong == 1
    assert found.differences[0].place.startswith("c=3 y=")


def test_another_engine_is_compared_within_a_bound(stack: Path, gray_model: ModelSpec, tmp_path: Path) -> None:
    out = tmp_path / "out.ome.zarr"
    swin2sr_ops.restore_image(stack, out, model=gray_model, engine="torch", range=(0, 4000))
    found = audit(out, model=gray_model.weights, precision="float64")
    assert found.ok
    assert found.agreement.startswith("within 2e-05 of the intensity range (the run: torch on cpu in float32")
    change(out / "0", 0, 0, 0, 0)
    assert audit(out, model=gray_model.weights, precision="float64").ok  # one level of 4,000 can be rounding
    assert not audit(out, model=gray_model.weights).ok
    change(out / "0", 0, 0, 0, 0)
    assert not audit(out, model=gray_model.weights, precision="float64").ok


def test_the_bounds_hold_for_shipped_models() -> None:
    """Engines and precisions agree within the bounds that an audit states, on a sample image."""
    from swin2sr_ops.audit.placement import BOUND

    given = np.asarray(swin2sr_ops.open_source("sample:cells").read((slice(0, 96), slice(0, 96)))).astype("f8")
    width = float(np.ptp(given))
    for name in ("nano-x2-gray", "tiny-x2-gray"):
        exact, *others = (
            np.asarray(swin2sr_ops.restore(given, model=name, precision=precision, engine="torch"))
            for precision in ("float64", "float32", "bfloat16")
        )
        for other, half in zip(others, (False, True), strict=True):
            assert np.abs(other - exact).max() / width <= BOUND[half]


def test_requests_that_are_refused(stack: Path, gray_model: ModelSpec, rgb_model: ModelSpec, tmp_path: Path) -> None:
    out = tmp_path / "out.ome.zarr"
    swin2sr_ops.restore_image(stack, out, model=gray_model)
    with pytest.raises(ModelError, match=r"is not known here: give its file with --model"):
        audit(out)
    with pytest.raises(ModelError, match=r"have the SHA-256 .*, but the run used"):
        audit(out, model=rgb_model.weights)
    with pytest.raises(FormatError, match="has no provenance"):
        audit(stack)
    with pytest.raises(FormatError, match="There is no file or folder"):
        audit(tmp_path / "nothing.ome.zarr")
    with pytest.raises(RequestError, match="sample=0"):
        audit(out, sample=0)
    other = tmp_path / "other.tif"
    tifffile.imwrite(other, np.zeros((40, 40), "u2"))
    with pytest.raises(FormatError, match="is not the output of this source and model"):
        audit(out, source=other, model=gray_model.weights)
    document = json.loads((out / "zarr.json").read_text())
    del document["attributes"]["swin2sr_ops"]["settings"]["intensity"]
    (out / "zarr.json").write_text(json.dumps(document))
    with pytest.raises(FormatError, match="is incomplete"):
        audit(out, model=gray_model.weights)


def test_another_input_of_the_same_shape_is_noticed(stack: Path, gray_model: ModelSpec, tmp_path: Path) -> None:
    out = tmp_path / "out.ome.zarr"
    swin2sr_ops.restore_image(stack, out, model=gray_model)
    pixels = tifffile.imread(stack)
    pixels[0, 0, 30, 30] ^= 0xFFF
    tifffile.imwrite(stack, pixels, imagej=True, metadata={"axes": "ZCYX"})
    found = audit(out, model=gray_model.weights, sample=None)
    assert (found.ok, found.source_identity) == (False, "other")


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "cells.ome.zarr"
    assert main(["restore", "sample:cells", str(out), "--model", "nano-x2-gray", "--quiet"]) == 0
    assert main(["audit", str(out), "--sample", "1", "--seed", "5"]) == 0
    told = capsys.readouterr().out
    assert "model nano-x2-gray, weights verified by SHA-256, source unchanged" in told
    assert "seed 5 draws these tiles again" in told
    change(out / "0", slice(0, 2), slice(0, 2))
    assert main(["audit", str(out), "--all", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["ok"], told["wrong"], told["at_most_wrong"]) == (False, 1, None)
    assert told["differences"][0] == {
        "image": "",
        "place": "y=0:512 x=0:512",
        "pixels": 4,
        "largest": 1.0,
        "reason": "",
    }
    assert main(["audit", str(out), "--all", "--sample", "3"]) == 2
    assert "omit one of them" in capsys.readouterr().err


def test_object_store(stack: Path, gray_model: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    server = pytest.importorskip("tests.s3_server")
    with server.moto() as url:
        for name, value in {**server.CREDENTIALS, "AWS_ENDPOINT_URL": url}.items():
            monkeypatch.setenv(name, value)
        server.forget_connections()
        server.client(url).create_bucket(Bucket=server.BUCKET)
        out = f"s3://{server.BUCKET}/out.ome.zarr"
        swin2sr_ops.restore_image(stack, out, model=gray_model, chunks=64)
        assert audit(out, model=gray_model.weights, sample=None).ok
        server.client(url).delete_object(Bucket=server.BUCKET, Key="out.ome.zarr/0/c/0/0/1/1")
        (one,) = audit(out, model=gray_model.weights, sample=None).differences
        assert one.place == "z=0 c=0 y=64:128 x=64:128"
    server.forget_connections()


def test_a_word_of_quality_is_the_model_of_the_run(tmp_path: Path, rng: np.random.Generator) -> None:
    """`best` of a gray image is the gray network with eight views; alone it would be resolved for colour."""
    tifffile.imwrite(tmp_path / "a.tif", rng.integers(0, 255, (24, 24), dtype="u1"))
    out = tmp_path / "a.ome.zarr"
    swin2sr_ops.restore_image(tmp_path / "a.tif", out, model="best")
    assert audit(out, model="best", sample=None).ok
    with pytest.raises(ModelError, match="give the run's file"):
        audit(out, model="fast", sample=None)


def test_an_output_that_is_missing_or_not_finished(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="There is no file or folder at"):
        audit(tmp_path / "none.zarr")
    (tmp_path / "o.zarr" / ".swin2sr_ops").mkdir(parents=True)
    with pytest.raises(FormatError, match="is not finished: give the command of its run again"):
        audit(tmp_path / "o.zarr")


def test_an_input_that_is_elsewhere(
    tmp_path: Path, gray_model: ModelSpec, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run stores its input as it was given; from another folder a relative path leads nowhere."""
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "there")
    tifffile.imwrite("a.tif", rng.integers(1, 255, (24, 24), dtype="u1"))
    tifffile.imwrite("m.tif", np.ones((24, 24), "u1"))
    swin2sr_ops.restore_image("a.tif", "a.ome.zarr", model=gray_model, mask="m.tif")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FormatError, match=r"at 'a.tif'\. That is where the run found its source: .* with --source"):
        audit("there/a.ome.zarr", model=gray_model.weights)
    with pytest.raises(FormatError, match=r"at 'm.tif'\. That is where the run found its mask: .* with --mask"):
        audit("there/a.ome.zarr", source="there/a.tif", model=gray_model.weights)
    assert audit("there/a.ome.zarr", source="there/a.tif", mask="there/m.tif", model=gray_model.weights).ok
    with pytest.raises(FormatError, match=r"at 'b.tif'\.$"):
        audit("there/a.ome.zarr", source="b.tif", mask="there/m.tif", model=gray_model.weights)
