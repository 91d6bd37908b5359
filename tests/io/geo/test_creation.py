"""Creation options of a GeoTIFF: stored as GDAL reads them, normalized, refused with a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import swin2sr_ops
from swin2sr_ops import ModelSpec, RequestError
from swin2sr_ops.io.geo.creation import Creation, creation_of, normalized
from tests.docs_files import scene

rasterio = pytest.importorskip("rasterio", reason="needs swin2sr-ops[geo]")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scene") / "scene.tif"
    scene(path)
    return path


@pytest.fixture(scope="module")
def plain(source: Path, gray_model: ModelSpec, tmp_path_factory: pytest.TempPathFactory) -> np.ndarray[Any, Any]:
    path = tmp_path_factory.mktemp("plain") / "x2.tif"
    swin2sr_ops.restore_image(source, path, model=gray_model, range=(0, 6000))
    with rasterio.open(path) as file:
        assert file.compression.value == "DEFLATE"
        return file.read()


@pytest.mark.parametrize("given", [{"compress": "zstd", "level": 3}, ["COMPRESS=LZW"], "COMPRESS=DEFLATE"])
def test_gdal_reads_what_was_asked_for(
    given: Any, source: Path, plain: Any, gray_model: ModelSpec, tmp_path: Path
) -> None:
    creation = {**normalized(given), "BLOCKSIZE": "64"}
    path = tmp_path / "x2.tif"
    swin2sr_ops.restore_image(source, path, model=gray_model, range=(0, 6000), creation=creation)
    with rasterio.open(path) as file:
        assert file.compression.value == creation["COMPRESS"]
        assert file.block_shapes == [(64, 64)] * 5
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        np.testing.assert_array_equal(file.read(), plain)


def test_the_compression_of_a_mask(tmp_path: Path) -> None:
    from swin2sr_ops.io.geo.cog import write_cog

    pixels = np.arange(80 * 90, dtype="u2").reshape(80, 90)
    valid = pixels % 7 > 0
    write_cog(
        tmp_path / "a.tif", [pixels], axes="YX", dtype=pixels.dtype, mask_levels=[valid],
        creation=Creation("ZSTD", 19, 64), geo={"transform": [10.0, 0.0, 0.0, 0.0, -10.0, 0.0]},
    )  # fmt: skip
    with rasterio.open(tmp_path / "a.tif") as file:
        np.testing.assert_array_equal(file.read_masks(1) > 0, valid)
        np.testing.assert_array_equal(file.read(1), pixels)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"COMPRESS": "jpeg"}, "COMPRESS=JPEG is not one of DEFLATE, LZW, ZSTD"),
        ({"COMPRES": "LZW"}, "COMPRES is not a creation option .*did you mean COMPRESS"),
        ({"TILED": "YES"}, "there are COMPRESS, LEVEL, BLOCKSIZE"),
        ({"LEVEL": 10}, "LEVEL=10 is not a level of DEFLATE: give 1 to 9"),
        ({"COMPRESS": "LZW", "LEVEL": 1}, "has no LEVEL"),
        ({"LEVEL": "high"}, "LEVEL=HIGH is not understood"),
        ({"BLOCKSIZE": 100}, "BLOCKSIZE=100 is not valid: give a multiple of 16"),
        (["ZSTD"], "'ZSTD' is not understood: give NAME=VALUE"),
        (["=ZSTD"], "'=ZSTD' is not understood: give NAME=VALUE"),
        ([5], "option 5 is not understood: give NAME=VALUE"),
        ({"LEVEL": "9" * 5000}, "LEVEL=9+ is not understood: give a whole number"),
        (5, "creation=5 is not understood: give a mapping or a list of words NAME=VALUE"),
        (True, "creation=True is not understood"),
        (b"COMPRESS=ZSTD", "creation=b'COMPRESS=ZSTD' is not understood"),
        (iter(["COMPRESS=ZSTD"]), "creation=<list_iterator .*> is not understood"),
        (["COMPRESS=LZW", "compress=ZSTD"], "COMPRESS is given twice, with LZW and ZSTD: give it once"),
        ({"COMPRESS": "LZW", " compress ": "ZSTD"}, "COMPRESS is given twice"),
    ],
)
def test_mistakes_get_a_sentence(given: Any, says: str) -> None:
    with pytest.raises(RequestError, match=says):
        creation_of(given)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, Creation()),
        ((), Creation()),
        ({" compress ": " zstd "}, Creation("ZSTD")),
        ([" level = 03 "], Creation(level=3)),
        ({"COMPRESS=LZW"}, Creation("LZW")),
    ],
)
def test_spelling_does_not_matter(given: Any, expected: Creation) -> None:
    assert creation_of(given) == expected


@pytest.mark.parametrize("name", ["x2.ome.zarr", "x2.ome.tif", "x2.png"])
def test_other_formats_have_none(name: str, gray_model: ModelSpec, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"'creation' is not an option of .*: only a Cloud Optimized GeoTIFF"):
        swin2sr_ops.restore_image("sample:cells", tmp_path / name, model=gray_model, creation=["COMPRESS=LZW"])
    assert list(tmp_path.iterdir()) == []


def test_the_same_options_are_the_same_run(source: Path, gray_model: ModelSpec, tmp_path: Path) -> None:
    path = tmp_path / "x2.tif"
    for creation, state in (({"compress": "lzw"}, "done"), (["COMPRESS=LZW"], "already")):
        report = swin2sr_ops.restore_image(source, path, model=gray_model, range=(0, 6000), creation=creation)
        assert report.state == state
    with pytest.raises(swin2sr_ops.OutputError, match="exists"):
        swin2sr_ops.restore_image(source, path, model=gray_model, range=(0, 6000))
