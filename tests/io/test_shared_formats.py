"""Every file of the shared collection is read as `expected.json` says, or refused with an error of this package."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest

from swin2sr_ops.errors import FormatError, Swin2SROpsError
from swin2sr_ops.hooks.dispatch import open_source
from swin2sr_ops.testing import pieces, whole

FORMATS = Path(__file__).parents[3] / "shared" / "data" / "formats"
EXPECTED = json.loads((FORMATS / "expected.json").read_text()) if (FORMATS / "expected.json").is_file() else {}
TIFFS = sorted(k for k, v in EXPECTED.items() if "tiff_shape" in v)
ZARRS = sorted((k, a) for k, v in EXPECTED.items() for a in v.get("arrays", {}))
PALETTES = {"tiff/palette-1c-8b.tiff", "tiff/shapes_lzw_palette.tif", "geotiff/geotiffzoo_GeogToWGS84GeoKey5.tif"}
REFUSED = PALETTES | {"tiff/cmyk-3c-16b.tiff"}

pytestmark = [
    pytest.mark.skipif(not EXPECTED, reason=f"the shared images are not at {FORMATS}"),
    pytest.mark.filterwarnings("ignore"),
]


def check(source, stats, rtol=1e-9):
    info = source.info
    image = np.empty(info.shape, info.dtype)
    unit = tuple(max(1, n * 2 // 3) for n in info.shape)
    for region in pieces(info.shape, unit):
        image[region] = source.read(region)
    np.testing.assert_array_equal(image, source.read(whole(info)))
    if stats:
        values = image.astype("f8")
        assert int(np.isnan(values).sum()) == stats["nan"]
        assert (np.nanmin(values), np.nanmax(values)) == (stats["min"], stats["max"])
        np.testing.assert_allclose(np.nanmean(values), stats["mean"], rtol=rtol)


@pytest.mark.parametrize("name", TIFFS)
def test_tiffs(name):
    expected = EXPECTED[name]
    if name in REFUSED:
        with pytest.raises(FormatError, match="palette" if name in PALETTES else "CMYK"):
            open_source(str(FORMATS / name))
        return
    source = open_source(str(FORMATS / name))
    info = source.info
    if "geo" in info.extra:  # GDAL's view: bands first, overviews of its own
        raster = expected["raster"]
        bands = (raster["count"],) if raster["count"] > 1 else ()
        assert info.shape == (*bands, raster["height"], raster["width"])
        assert info.levels == 1 + len(raster["overviews"])
    else:
        assert list(info.shape) == expected["tiff_shape"]
        assert info.levels == expected["levels"]
        given, read = expected["axes"], info.axes
        assert all(a == b or a in "SIQ" for a, b in zip(given, read, strict=True)), (given, read)
    assert info.dtype.name == expected["dtype"]
    nodata = expected.get("raster", {}).get("nodata")
    if nodata is not None and info.nodata is not None:
        np.testing.assert_allclose(info.nodata, float(nodata))
    # Two JPEG decoders may round differently.
    check(source, expected["stats"], 1e-4 if "geo" in info.extra and expected["compression"] == "7" else 1e-9)


def open_or_none(path, array):
    try:
        return open_source(path, array=array or None)
    except Swin2SROpsError:
        return None


def is_number(dtype):
    return dtype == "bool" or dtype.startswith(("int", "uint", "float", "complex"))


@pytest.mark.parametrize(("name", "array"), ZARRS)
def test_zarr_arrays(name, array):
    expected = EXPECTED[name]["arrays"][array]
    path = str(FORMATS / name)
    source = open_or_none(path, array)
    if "stats" not in expected or not 2 <= len(expected["shape"]) <= 5 or not is_number(expected["dtype"]):
        if source is not None:  # a codec that is not installed shows when a chunk is decoded
            with pytest.raises(FormatError, match="codec"):
                source.read(whole(source.info))
        return
    assert source is not None
    assert list(source.info.shape) == expected["shape"]
    assert source.info.dtype == np.dtype(expected["dtype"]).newbyteorder("=")
    check(source, expected["stats"])


def test_generated_pairs_are_the_same_image():
    for name in ("cyx_u8", "zyx_u8", "tczyx_u16"):
        old, new = (open_source(str(FORMATS / f"generated/{name}_v{v}.ome.zarr")) for v in ("04", "05"))
        assert (old.info.format, new.info.format) == ("OME-Zarr 0.4", "OME-Zarr 0.5")
        assert old.info.pixel_size == new.info.pixel_size
        np.testing.assert_array_equal(old.read(whole(old.info)), new.read(whole(new.info)))


def test_any_file_is_read_or_raises_our_errors():
    seen = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for path in sorted(FORMATS.rglob("*")):
            inside_zarr = any(p.suffix == ".zarr" for p in path.parents)
            if inside_zarr and not (path.is_dir() and path.parent.suffix == ".zarr"):
                continue
            seen += 1
            try:
                source = open_source(str(path))
                if source is not None:
                    corner = tuple(slice(0, min(n, 16)) for n in source.info.shape)
                    assert source.read(corner).dtype == source.info.dtype
            except Swin2SROpsError as error:
                assert str(path) in str(error) or path.name in str(error)  # noqa: PT017
    assert seen > 200
