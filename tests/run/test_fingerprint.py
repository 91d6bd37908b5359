"""Fingerprints that earlier versions computed stay as they are, and equal outputs have equal ones."""

from __future__ import annotations

import inspect
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

import swin2sr_ops
from swin2sr_ops.errors import OutputError
from swin2sr_ops.hooks.builtin import format_options
from swin2sr_ops.io import picture
from swin2sr_ops.io.geo import cog_sink
from swin2sr_ops.io.output.options import FormatOption
from swin2sr_ops.io.tiff import sink as tiff_sink
from swin2sr_ops.io.zarr import sink as zarr_sink
from swin2sr_ops.pixels.intervals import Calibration, read_calibration
from swin2sr_ops.request import RestoreRequest
from swin2sr_ops.run import fingerprint
from swin2sr_ops.run.fingerprint import run_key
from swin2sr_ops.run.job import Job, prepare
from swin2sr_ops.spec import ModelSpec

_MADE = Calibration(
    "a", "0" * 64, 1, None, (0.5, 1.0), 0.01, {"80": 1.0, "90": 1.5}, patches=40, pixels=1000, data="pairs", degrade="x"
)


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> Job:
    """Stand for a job whose own settings are the same on every machine."""
    monkeypatch.setattr(fingerprint, "settings_of", lambda job: {"source": {"image": "fixed"}, "scale": 2})
    return None  # type: ignore[return-value]


def test_outputs_with_intervals_of_earlier_versions_are_resumed(job: Job, tmp_path: Path) -> None:
    _MADE.write(tmp_path / "cal.json")
    key = run_key(job, {"interval": 90, "calibration": tmp_path / "cal.json"})
    assert (
        key.fingerprint == "8dc55eaaaafe1ba676390b50ef2357d5f802eda769e80b20ed534334717b7358"
    )  # by the version before ``fitted_truth``


def test_a_calibration_of_fitted_truths_is_another_run(job: Job, tmp_path: Path) -> None:
    fitted = replace(_MADE, fitted_truth=True)
    keys = set()
    for name, one in (("plain", _MADE), ("fitted", fitted)):
        one.write(tmp_path / name)
        assert read_calibration(tmp_path / name) == one
        keys.add(run_key(job, {"interval": 90, "calibration": tmp_path / name}).fingerprint)
    assert len(keys) == 2


@pytest.mark.parametrize(
    "creation",
    [
        None, [], {}, ["COMPRESS=DEFLATE"], {"compress": "deflate", "BLOCKSIZE": 512}, ["LEVEL=6"], ["LEVEL=06"],
        "blocksize=0512",
    ],
)  # fmt: skip
def test_default_creation_options_are_no_other_run(job: Job, creation: Any) -> None:
    key = run_key(job, {"creation": creation})
    assert key.fingerprint == "99d8973b5b4c68128a8e6eb52434f24b6071b5aca2613f26ff9dfa787e6e1aa4"  # as without any


@pytest.mark.parametrize(
    ("creation", "kept"),
    [
        (["COMPRESS=LZW"], {"COMPRESS": "LZW"}),
        ({"compress": "zstd", "level": 9}, {"COMPRESS": "ZSTD"}),
        (["LEVEL=09", "BLOCKSIZE=256"], {"LEVEL": "9", "BLOCKSIZE": "256"}),
        (["INTERLEAVE=BAND"], {"INTERLEAVE": "BAND"}),  # of a plugin's format
    ],
)
def test_creation_options_that_change_the_bytes_are_another_run(job: Job, creation: Any, kept: dict[str, str]) -> None:
    assert run_key(job, {"creation": creation}).settings["output creation"] == kept


# --- options that are written out ---------------------------------------------------------------------

FORMATS = {"o.zarr": zarr_sink, "o.tif": cog_sink, "o.ome.tif": tiff_sink, "o.png": picture}
#: Keywords of every sink that the run itself gives, or resolves before.
_OF_THE_RUN = {"chunks", "shards", "overwrite", "source", "run", "context", "spread", "interval", "not_trusted"}


@pytest.mark.parametrize("module", FORMATS.values())
def test_formats_describe_their_options(module: Any) -> None:
    """A new option of a format must say what it changes, and name the default that ``create_sink`` has."""
    signature = inspect.signature(module.create_sink).parameters.values()
    own = {p.name: p.default for p in signature if p.kind is p.KEYWORD_ONLY and p.name not in _OF_THE_RUN | {"labels"}}
    assert own.keys() == module.OPTIONS.keys()
    for name, option in module.OPTIONS.items():
        assert option.canonical(own[name]) == option.default
        assert option == format_options()[name], "an option means the same in every format"


@pytest.mark.parametrize(("name", "option"), {**format_options(), **fingerprint._OPTIONS}.items())
def test_a_default_that_is_given_is_no_other_run(job: Job, name: str, option: FormatOption) -> None:
    assert run_key(job, {name: option.default}).fingerprint == run_key(job, {}).fingerprint


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"ngff": "0.4"}, {"output ngff": "0.4"}),
        ({"pyramid": 0}, {"output pyramid": False}),
        ({"pyramid": 1, "anywhere": True, "inner": True}, {}),
        ({"labels": "carry"}, {"output labels": "carry"}),
        ({"noise": 2}, {"output noise": 2.0}),
        ({"of_a_plugin": False}, {"output of_a_plugin": False}),
    ],
)
def test_other_options_are_another_run(job: Job, given: dict[str, Any], kept: dict[str, Any]) -> None:
    key = run_key(job, given)
    assert {name: value for name, value in key.settings.items() if name.startswith("output ")} == kept


_WRITTEN_OUT = {
    "o.zarr": {
        "ngff": "0.5", "pyramid": True, "context": False, "spread": False, "labels": "leave", "anywhere": True,
        "chunks": 512, "shards": None, "interval": None, "noise": None,
    },
    "o.ome.tif": {"pyramid": True, "chunks": 512},
    "o.png": {"pyramid": True, "chunks": 512},
    "o.tif": {"pyramid": True, "creation": {"COMPRESS": "DEFLATE", "LEVEL": 6, "BLOCKSIZE": 512}},
    "p.zarr": {
        "level": 0, "series": 0, "axes": "YX", "scale": 2, "range": "auto", "halo": "exact", "device": "cpu",
        "precision": "float32", "ensemble": 1, "consistent": None, "along": None, "mask": None, "engine": "auto",
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("output", "name", "value"),
    [(output, name, value) for output, given in _WRITTEN_OUT.items() for name, value in given.items()],
)
def test_a_run_with_an_option_written_out_resumes_one_without(
    gray_model: ModelSpec, tmp_path: Path, rng: np.random.Generator, output: str, name: str, value: Any
) -> None:
    """A finished output is recognised by the same key as an interrupted one."""
    source = tmp_path / "a.tif"
    image = rng.integers(1, 255, (40, 30)).astype("u1")
    if output == "o.tif":
        rasterio = pytest.importorskip("rasterio")
        profile = {"driver": "GTiff", "width": 30, "height": 40, "count": 1, "dtype": "uint8", "nodata": 0}
        with rasterio.open(source, "w", crs="EPSG:32632", transform=rasterio.Affine(2, 0, 9, 0, -2, 9), **profile) as f:
            f.write(image, 1)
    else:
        tifffile.imwrite(source, image)
    options: dict[str, Any] = {"model": gray_model, "device": "cpu"}
    swin2sr_ops.restore_image(source, tmp_path / output, **options)
    assert swin2sr_ops.restore_image(source, tmp_path / output, **(options | {name: value})).state == "already"


def test_a_number_without_data_has_one_form(gray_model: ModelSpec, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((40, 30), "u1"))
    plain = RestoreRequest(model=gray_model, device="cpu")
    requests = [replace(plain, nodata=value) for value in (0, 0.0, np.uint8(0), 0.5)]
    assert len({run_key(prepare(tmp_path / "a.tif", request), {}).fingerprint for request in requests}) == 2


def test_other_shards_are_another_run(gray_model: ModelSpec, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((40, 30), "u1"))
    options: dict[str, Any] = {"model": gray_model, "device": "cpu", "chunks": 32}
    swin2sr_ops.restore_image(tmp_path / "a.tif", tmp_path / "o.zarr", **options)
    with pytest.raises(OutputError, match="exists already"):
        swin2sr_ops.restore_image(tmp_path / "a.tif", tmp_path / "o.zarr", shards=64, **options)


# --- files do not show how they were staged -----------------------------------------------------------


def raster(path: Path, rng: np.random.Generator) -> Path:
    rasterio = pytest.importorskip("rasterio")
    profile = {"driver": "GTiff", "width": 80, "height": 90, "count": 1, "dtype": "uint8", "crs": "EPSG:32632"}
    with rasterio.open(path, "w", transform=rasterio.Affine(10, 0, 5e5, 0, -10, 5e6), **profile) as dataset:
        dataset.write(rng.integers(1, 255, (1, 90, 80)).astype("u1"))
    return path


def stop(event: Any) -> None:
    if event.kind == "tile" and event.done == 2:
        raise KeyboardInterrupt


@pytest.mark.parametrize("name", ["o.tif", "o.ome.tif", "o.png"])
def test_a_file_has_the_same_bytes_for_any_tile(
    name: str, gray_model: ModelSpec, tmp_path: Path, rng: np.random.Generator
) -> None:
    source = tmp_path / "a.tif"
    if name == "o.tif":
        raster(source, rng)
    else:
        tifffile.imwrite(source, rng.integers(1, 255, (90, 80)).astype("u1"))
    options: dict[str, Any] = {"model": gray_model, "device": "cpu"}
    written = []
    for folder, tile in (("a", None), ("b", (24, 40)), ("c", 64)):
        (tmp_path / folder).mkdir()
        report = swin2sr_ops.restore_image(source, tmp_path / folder / name, tile=tile, **options)
        written.append((report.fingerprint, (tmp_path / folder / name).read_bytes()))
    assert written[0] == written[1] == written[2]
    again = swin2sr_ops.restore_image(source, tmp_path / "a" / name, tile=32, **options)
    assert (again.state, again.fingerprint) == ("already", written[0][0])
    with pytest.raises(OutputError, match="exists already"):
        swin2sr_ops.restore_image(source, tmp_path / "a" / name, range=(0, 99), **options)


def test_an_unfinished_file_is_resumed_with_its_chunks_only(
    gray_model: ModelSpec, tmp_path: Path, rng: np.random.Generator
) -> None:
    source, output = raster(tmp_path / "a.tif", rng), tmp_path / "o.tif"
    options: dict[str, Any] = {"model": gray_model, "device": "cpu"}
    with pytest.raises(KeyboardInterrupt):
        swin2sr_ops.restore_image(source, output, tile=32, progress=stop, **options)
    with pytest.raises(OutputError, match=r"different run: chunk was \[64, 64\], now \[96, 96\]"):
        swin2sr_ops.restore_image(source, output, tile=48, **options)
    left = shutil.copytree(tmp_path / "o.tif.partial", tmp_path / "left")
    assert swin2sr_ops.restore_image(source, output, tile=32, **options).resumed >= 2
    shutil.move(left, tmp_path / "o.tif.partial")  # as if the run had been killed when it had finished
    assert swin2sr_ops.restore_image(source, output, tile=48, **options).state == "already"
    assert not (tmp_path / "o.tif.partial").exists()


def test_files_of_earlier_versions_are_known_by_their_chunks(gray_model: ModelSpec, tmp_path: Path) -> None:
    """Their fingerprint named the chunk of the staging."""
    tifffile.imwrite(tmp_path / "a.tif", np.arange(4800, dtype="u2").reshape(80, 60))
    request = RestoreRequest(model=gray_model, device="cpu")
    key, other = (run_key(prepare(tmp_path / "a.tif", replace(request, tile=tile)), {}) for tile in (32, 48))
    assert key.file_fingerprint == other.file_fingerprint
    for record in ({"fingerprint": key.fingerprint}, {"fingerprint": key.file_fingerprint}):
        assert key.accepts(record)
    assert not other.accepts({"fingerprint": key.fingerprint})


def test_chunks_of_a_zarr_are_another_run(gray_model: ModelSpec, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.arange(4800, dtype="u2").reshape(80, 60))
    options: dict[str, Any] = {"model": gray_model, "device": "cpu"}
    swin2sr_ops.restore_image(tmp_path / "a.tif", tmp_path / "o.zarr", tile=32, **options)
    with pytest.raises(OutputError, match="exists already"):
        swin2sr_ops.restore_image(tmp_path / "a.tif", tmp_path / "o.zarr", tile=48, **options)
