"""References to files elsewhere are followed only with the user's permission."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

import swin2sr_ops
from swin2sr_ops.errors import FormatError, Swin2SROpsError
from swin2sr_ops.io.geo.descriptions import TRUST

rasterio = pytest.importorskip("rasterio")

VRT = (
    '<VRTDataset rasterXSize="20" rasterYSize="16"><SRS>EPSG:4326</SRS><GeoTransform>5,.1,0,50,0,-.1</GeoTransform>'
    '<VRTRasterBand dataType="Byte" band="1">{}</VRTRasterBand></VRTDataset>'
)
SIMPLE = '<SimpleSource><SourceFilename relativeToVRT="{}">{}</SourceFilename><SourceBand>1</SourceBand></SimpleSource>'
WMS = (
    '<GDAL_WMS><Service name="TMS"><ServerUrl>{}/${{z}}/${{x}}/${{y}}.png</ServerUrl></Service><DataWindow>'
    "<UpperLeftX>-180</UpperLeftX><UpperLeftY>90</UpperLeftY><LowerRightX>180</LowerRightX>"
    "<LowerRightY>-90</LowerRightY><SizeX>64</SizeX><SizeY>64</SizeY><TileLevel>0</TileLevel></DataWindow>"
    "<Projection>EPSG:4326</Projection><BandsCount>1</BandsCount></GDAL_WMS>"
)


@pytest.fixture
def asked() -> Iterator[list[str]]:
    """Return the server's address, then the paths requested from it."""
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

        def do_GET(self) -> None:
            seen.append(self.path)
            self.send_error(404)

        do_HEAD = do_GET

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        seen.append(f"http://127.0.0.1:{server.server_port}")
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield seen
        server.shutdown()


def _raster(path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    place = rasterio.transform.from_origin(5, 50, 0.1, 0.1)
    with rasterio.open(path, "w", "GTiff", 20, 16, 1, "EPSG:4326", place, "uint8") as file:
        file.write(np.full((1, 16, 20), 7, "u1"))


@pytest.mark.parametrize("name", ["a.vrt", "a.tif", "a.dat", "a.png", "a"])
@pytest.mark.parametrize("kind", ["vrt", "wms", "nested"])
def test_no_server_gets_a_request(tmp_path: Path, asked: list[str], name: str, kind: str) -> None:
    text = WMS.format(asked[0]) if kind == "wms" else VRT.format(SIMPLE.format(0, f"/vsicurl/{asked[0]}/a.tif"))
    path = tmp_path / name
    if kind == "nested":
        (tmp_path / "inner").write_text(text)
        text = VRT.format(SIMPLE.format(1, "inner"))
    path.write_text(text)
    with pytest.raises(Swin2SROpsError):
        swin2sr_ops.restore_image(path, tmp_path / "out.ome.zarr", model="nano-x2-gray")
    assert len(asked) == 1


@pytest.mark.parametrize("source", ["../theirs/a.tif", "{}/theirs/a.tif", "{}/mine/../theirs/a.tif"])
def test_sources_elsewhere_need_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    _raster(tmp_path / "theirs" / "a.tif")
    path = tmp_path / "mine" / "a.vrt"
    path.parent.mkdir()
    path.write_text(VRT.format(SIMPLE.format(int(source[0] == "."), source.format(tmp_path))))
    with pytest.raises(FormatError, match=rf"a raster elsewhere \(.*a\.tif\) .* or set {TRUST}=1"):
        swin2sr_ops.open_source(path)
    monkeypatch.setenv(TRUST, "1")
    assert swin2sr_ops.open_source(path).read((slice(0, 1), slice(0, 1)))[0, 0] == 7


@pytest.mark.parametrize("source", ["a.tif", "deeper/a.tif", "{}/deeper/a.tif"])
def test_sources_beside_or_below_are_read(tmp_path: Path, source: str) -> None:
    _raster(tmp_path / "a.tif")
    _raster(tmp_path / "deeper" / "a.tif")
    path = tmp_path / "a.vrt"
    path.write_text(VRT.format(SIMPLE.format(int(source[0] != "{"), source.format(tmp_path))))
    assert swin2sr_ops.open_source(path).read((slice(0, 1), slice(0, 1)))[0, 0] == 7


@pytest.mark.parametrize("code", ["EPSG:4326", "OGC:CRS84", "ESRI:54009", "urn:ogc:def:crs:EPSG::4326"])
def test_codes_of_coordinate_systems_are_not_sources(tmp_path: Path, code: str) -> None:
    """Metadata of geolocation arrays name the coordinate system, not a file."""
    _raster(tmp_path / "a.tif")
    domain = f'<Metadata domain="GEOLOCATION"><MDI key="SRS">{code}</MDI></Metadata><VRTRasterBand'
    text = VRT.format(SIMPLE.format(1, "a.tif")).replace("<VRTRasterBand", domain, 1)
    (tmp_path / "b.vrt").write_text(text, encoding="utf-8")
    assert swin2sr_ops.open_source(tmp_path / "b.vrt").info.shape[-2:] == (16, 20)
