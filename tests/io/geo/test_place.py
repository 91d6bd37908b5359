"""Unusual kinds of georeference follow the pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

rasterio = pytest.importorskip("rasterio", reason="needs swin2sr-ops[geo]")

from rasterio.control import GroundControlPoint  # noqa: E402

import swin2sr_ops  # noqa: E402

_PLACE = rasterio.Affine(10, 0, 500_000, 0, -10, 5_000_000)
_POINTS = [GroundControlPoint(row, col, 7 + col / 10, 48 - row / 10) for row in (0, 16) for col in (0, 20)]


def write(path: Path, *, fill=None, bands: int = 1, **profile) -> Path:
    settings = {"driver": "GTiff", "width": 20, "height": 16, "count": bands, "dtype": "uint8"}
    with rasterio.open(path, "w", **settings | profile) as dataset:
        if fill is not None:
            fill(dataset)
        dataset.write(np.arange(320 * bands, dtype="uint8").reshape(bands, 16, 20))
    return path


def restored(path: Path):
    output = path.with_name("out.tif")
    swin2sr_ops.restore_image(path, output, model="nano-x2-gray")
    return rasterio.open(output)


@pytest.mark.parametrize("crs", ["EPSG:7415", "EPSG:6349", "EPSG:32633+5773", "EPSG:4979", "EPSG:9518"])
def test_a_compound_crs_keeps_its_code(tmp_path, crs):
    path = write(tmp_path / "a.tif", crs=crs, transform=_PLACE)
    with rasterio.open(path) as source, restored(path) as result:
        assert result.crs == source.crs
        assert result.crs.to_epsg() == source.crs.to_epsg()


def test_a_rotated_pole_is_kept(tmp_path):
    crs = (
        'GEOGCRS["rotated",BASEGEOGCRS["WGS 84",DATUM["World Geodetic System 1984",ELLIPSOID["WGS 84",6378137,'
        '298.257223563]],ID["EPSG",4326]],DERIVINGCONVERSION["pole",METHOD["PROJ ob_tran o_proj=longlat"],'
        'PARAMETER["o_lon_p",0,ANGLEUNIT["degree",0.0174532925199433]],PARAMETER["o_lat_p",39.25,'
        'ANGLEUNIT["degree",0.0174532925199433]],PARAMETER["lon_0",18,ANGLEUNIT["degree",0.0174532925199433]]],'
        'CS[ellipsoidal,2],AXIS["longitude",east],AXIS["latitude",north],ANGLEUNIT["degree",0.0174532925199433]]'
    )
    path = write(tmp_path / "a.tif", crs=crs, transform=rasterio.Affine(0.1, 0, 5, 0, -0.1, 20))
    with rasterio.open(path) as source, restored(path) as result:
        assert source.crs is not None
        assert result.crs == source.crs


@pytest.mark.parametrize("counted", ["Area", "Point"])
def test_control_points_follow_however_pixels_are_counted(tmp_path, counted):
    def fill(dataset) -> None:
        dataset.update_tags(AREA_OR_POINT=counted)
        dataset.gcps = (_POINTS, rasterio.CRS.from_epsg(4326))

    path = write(tmp_path / "a.tif", fill=fill)
    with rasterio.open(path) as source, restored(path) as result:
        wanted = [(2 * p.row, 2 * p.col, p.x, p.y) for p in source.gcps[0]]
        assert [(p.row, p.col, p.x, p.y) for p in result.gcps[0]] == wanted
        assert result.gcps[1] == source.gcps[1]


def test_an_affine_is_kept_and_control_points_are_left_out_with_a_note(tmp_path):
    write(tmp_path / "a.tif")
    points = "".join(f'<GCP Id="" Pixel="{p.col}" Line="{p.row}" X="{p.x}" Y="{p.y}"/>' for p in _POINTS)
    vrt = tmp_path / "both.vrt"
    vrt.write_text(
        '<VRTDataset rasterXSize="20" rasterYSize="16"><SRS>EPSG:32632</SRS>'
        "<GeoTransform>500000,10,0,5000000,0,-10</GeoTransform>"
        f'<GCPList Projection="EPSG:4326">{points}</GCPList><VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
        '<SourceFilename relativeToVRT="1">a.tif</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>'
    )
    with pytest.warns(UserWarning, match="4 ground control points are left out"):
        result = restored(vrt)
    with result:
        assert result.transform == _PLACE * rasterio.Affine.scale(0.5)
        assert result.crs is not None


def test_identity_beside_a_crs_is_a_place(tmp_path):
    path = write(tmp_path / "a.tif", crs="EPSG:32632")
    with restored(path) as result:
        assert result.crs.to_epsg() == 32632
        assert result.transform == rasterio.Affine.scale(0.5)


@pytest.mark.parametrize(("convention", "offset"), [("TOP_LEFT_CORNER", "4"), ("PIXEL_CENTER", "4.5")])
def test_a_place_per_pixel_follows(tmp_path, convention, offset):
    for name in ("a", "lon", "lat"):
        write(tmp_path / f"{name}.tif")
    items = {
        "X_DATASET": "lon.tif", "Y_DATASET": "lat.tif", "X_BAND": "1", "Y_BAND": "1", "PIXEL_OFFSET": "2",
        "LINE_OFFSET": "2", "PIXEL_STEP": "1", "LINE_STEP": "3", "GEOREFERENCING_CONVENTION": convention,
    }  # fmt: skip
    vrt = tmp_path / "swath.vrt"
    vrt.write_text(
        '<VRTDataset rasterXSize="20" rasterYSize="16"><Metadata domain="GEOLOCATION">'
        + "".join(f'<MDI key="{key}">{value}</MDI>' for key, value in items.items())
        + '</Metadata><VRTRasterBand dataType="Byte" band="1"><SimpleSource><SourceFilename relativeToVRT="1">a.tif'
        "</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    with restored(vrt) as result:
        found = result.tags(ns="GEOLOCATION")
    assert (found["PIXEL_STEP"], found["LINE_STEP"], found["PIXEL_OFFSET"]) == ("2", "6", offset)
    assert found["X_DATASET"] == str(tmp_path / "lon.tif")


@pytest.mark.filterwarnings("ignore:Band . of .* counts as opacity")
def test_a_chip_without_place_is_a_raster_with_its_bands(tmp_path):
    def fill(dataset) -> None:
        dataset.descriptions = ("B02", "B03", "B04", "B08")
        dataset.update_tags(split="train")
        dataset.update_tags(2, wavelength="560")
        dataset.update_tags(3, ns="IMAGERY", CENTRAL_WAVELENGTH_UM="0.665")

    path = write(tmp_path / "chip.tif", fill=fill, bands=4, nodata=9)
    with restored(path) as result:
        assert result.descriptions == ("B02", "B03", "B04", "B08")
        assert result.nodata == 9
        assert result.tags()["split"] == "train"
        assert result.tags(2)["wavelength"] == "560"
        assert result.tags(3, ns="IMAGERY") == {"CENTRAL_WAVELENGTH_UM": "0.665"}


def test_pages_with_tags_of_gdal_stay_pages(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    path = tmp_path / "stack.tif"
    tags = [(42113, "s", 0, "0", True)]
    tifffile.imwrite(path, np.ones((3, 16, 20), "uint8"), photometric="minisblack", extratags=tags, metadata=None)
    assert swin2sr_ops.open_source(path).info.shape == (3, 16, 20)


def test_geolocation_arrays_are_not_copied_with_a_note(tmp_path: Path) -> None:
    items = {"SRS": "EPSG:4326", "X_DATASET": "lon.tif", "X_BAND": "1", "Y_DATASET": "lat.tif", "Y_BAND": "1"}
    for name in ("lon", "lat"):
        write(tmp_path / f"{name}.tif")
    swath = write(tmp_path / "swath.tif", fill=lambda file: file.update_tags(ns="GEOLOCATION", **items))
    with pytest.warns(UserWarning, match=r"geolocation arrays \(.*lon\.tif, .*lat\.tif\), which are not copied"):
        swin2sr_ops.open_source(str(swath))
