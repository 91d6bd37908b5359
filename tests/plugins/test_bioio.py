"""Files that bioio's readers open: pixels, pixel sizes, channels, scenes; and one sentence where none opens them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

import swin2sr_ops
from swin2sr_ops.errors import FormatError, RequestError
from swin2sr_ops.hooks import dispatch as plugins
from swin2sr_ops.io.base import ImageSource
from swin2sr_ops.testing import SourceContract

pytest.importorskip("bioio_ome_tiff", reason="a reader of bioio")
if "bioio" not in {info.name for info in plugins.loaded()}:
    pytest.skip("the package is not installed with its plugins", allow_module_level=True)

#: Made with pylibCZIrw 6.1: two channels, two planes, 40 x 56 pixels of 0.25 x 0.2 micrometers, 1 between planes.
CZI = Path(__file__).parent / "data" / "cells.czi"


def two_scenes(path: Path) -> Path:
    """An OME-TIFF of two images: bioio calls them scenes."""
    with tifffile.TiffWriter(path, ome=True) as tiff:
        for number in range(2):
            planes = np.arange(2 * 30 * 41, dtype="u2").reshape(2, 30, 41) + 1000 * number
            metadata = {
                "axes": "CYX", "Name": f"well {number}", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.4,
                "Channel": {"Name": ["DAPI", "GFP"]},
            }  # fmt: skip
            tiff.write(planes, metadata=metadata)
    return path


class TestOmeTiff(SourceContract):
    @pytest.fixture
    def source(self, tmp_path: Path) -> ImageSource:
        return swin2sr_ops.open_source(f"bioio:{two_scenes(tmp_path / 'wells.ome.tif')}", series=1)

    @pytest.fixture
    def pixels(self) -> NDArray[Any]:
        return np.arange(2 * 30 * 41, dtype="u2").reshape(2, 30, 41) + 1000

    def test_described(self, source: ImageSource) -> None:
        info = source.info
        assert (info.axes, info.pixel_size) == ("CYX", {"Y": 0.4, "X": 0.5})
        assert set(info.units.values()) == {"micrometer"}
        assert [channel["label"] for channel in info.channels] == ["DAPI", "GFP"]
        assert "read by bioio_ome_tiff" in info.format


def test_scenes(tmp_path: Path) -> None:
    uri = f"bioio:{two_scenes(tmp_path / 'wells.ome.tif')}"
    with pytest.warns(UserWarning, match="holds 2 scenes, and the first is taken: choose with series= "):
        first = swin2sr_ops.open_source(uri)
    corner = (slice(0, 1),) * 3
    assert first.read(corner) == 0
    name = first.info.name.removeprefix("wells.ome ")
    assert swin2sr_ops.open_source(uri, array=name).info == first.info
    with pytest.raises(RequestError, match="series=2 does not exist"):
        swin2sr_ops.open_source(uri, series=2)
    with pytest.raises(RequestError, match="'well 7' is not a scene"):
        swin2sr_ops.open_source(uri, array="well 7")
    with pytest.raises(RequestError, match="level=1 is not possible"):
        swin2sr_ops.open_source(uri, series=0, level=1)


def test_own_formats_stay_ours(tmp_path: Path) -> None:
    """Without the prefix nothing that this package reads goes through bioio."""
    source = swin2sr_ops.open_source(two_scenes(tmp_path / "wells.ome.tif"), series=0)
    assert type(source).__name__ == "TiffSource"


def test_a_reader_of_the_cores_formats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bio-Formats names hundreds of suffixes, among them those that the core reads with more of their metadata."""
    from swin2sr_ops_bioio import reader

    from swin2sr_ops.hosting import PICTURE_SUFFIXES, RASTER_SUFFIXES, TIFF_SUFFIXES

    own = sorted({*TIFF_SUFFIXES, *PICTURE_SUFFIXES, *RASTER_SUFFIXES, ".zarr", ".npy"})
    assert {".lsm", ".svs", ".ndpi", ".jp2", ".img", ".ppm", ".pgm"} <= set(own)
    monkeypatch.setattr(reader, "_installed", lambda: {*own, ".new"})
    for suffix in own:
        path = tmp_path / f"a{suffix}"
        path.write_bytes(b"anything")
        assert reader.swin2sr_ops_open_source(str(path), {}) is None, suffix
    (tmp_path / "a.new").write_bytes(b"anything")
    with pytest.raises(FormatError):  # bioio was asked
        reader.swin2sr_ops_open_source(str(tmp_path / "a.new"), {})


def test_restored(tmp_path: Path) -> None:
    """Pixel sizes and channels follow the pixels into the output."""
    uri = f"bioio:{two_scenes(tmp_path / 'wells.ome.tif')}"
    target = tmp_path / "out.ome.zarr"
    swin2sr_ops.restore_image(uri, target, model="nano-x2-gray", series=1, halo=8)
    out = swin2sr_ops.open_source(target)
    assert (out.info.axes, out.info.shape) == ("CYX", (2, 60, 82))
    assert (out.info.pixel_size["Y"], out.info.pixel_size["X"]) == (0.2, 0.25)
    assert [channel["label"] for channel in out.info.channels] == ["DAPI", "GFP"]
    image = swin2sr_ops.open_source(uri, series=1).read((slice(None),) * 3)
    expected = swin2sr_ops.restore(image, model="nano-x2-gray", axes="CYX", halo=8).compute()
    np.testing.assert_array_equal(out.read((slice(None),) * 3), expected)


def test_czi() -> None:
    """A file of a microscope, named as it is."""
    pytest.importorskip("bioio_czi", reason="a reader under the GPL, found if it is installed")
    source = swin2sr_ops.open_source(CZI)
    info = source.info
    assert (info.axes, info.shape, info.dtype) == ("CZYX", (2, 2, 40, 56), np.uint16)
    assert info.pixel_size == pytest.approx({"Z": 1.0, "Y": 0.25, "X": 0.2})
    assert [channel["label"] for channel in info.channels] == ["DAPI", "GFP"]
    y, x = np.mgrid[:40, :56]
    planes = [[1000 + 500 * c + 100 * z + 7 * y + x for z in range(2)] for c in range(2)]
    np.testing.assert_array_equal(source.read((slice(None),) * 4), planes)


def test_files_that_no_reader_opens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence names the reader to install."""
    (tmp_path / "a.nd2").write_bytes(b"nothing of the kind")
    (tmp_path / "b.zvi").write_bytes(b"nothing of the kind")
    with pytest.raises(FormatError, match=r"'a\.nd2'"):
        swin2sr_ops.open_source(tmp_path / "a.nd2")
    with pytest.raises(FormatError, match="install one, such as bioio-bioformats"):
        swin2sr_ops.open_source(tmp_path / "b.zvi")
    with pytest.raises(FormatError, match="There is no"):
        swin2sr_ops.open_source(f"bioio:{tmp_path / 'c.czi'}")
    shutil.copy(CZI, tmp_path / "d.czi")
    from swin2sr_ops_bioio import reader

    monkeypatch.setattr(reader, "find_spec", lambda name: None)
    with pytest.raises(FormatError, match=r"swin2sr-ops\[bioio\]' and a reader, such as bioio-czi"):
        swin2sr_ops.open_source(tmp_path / "d.czi")


@pytest.mark.filterwarnings("ignore")  # the reader's own, about what it does not find
def test_damaged(tmp_path: Path) -> None:
    pytest.importorskip("bioio_czi", reason="a reader under the GPL, found if it is installed")
    (tmp_path / "cut.czi").write_bytes(CZI.read_bytes()[:700])
    with pytest.raises(FormatError, match=r"cut\.czi"):
        swin2sr_ops.open_source(tmp_path / "cut.czi")


def test_a_reader_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that vanishes between its description and its pixels is named."""
    path = two_scenes(tmp_path / "wells.ome.tif")
    source = swin2sr_ops.open_source(f"bioio:{path}", series=0)
    path.unlink()
    with pytest.raises(FormatError, match=r"wells\.ome\.tif"):
        source.read((slice(None),) * 3)
