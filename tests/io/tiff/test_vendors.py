"""Vendors' tags for the pixel size: each one is read, or named in a note."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from swin2sr_ops.batch.sources import kind_of
from swin2sr_ops.io.base import ImageInfo
from swin2sr_ops.io.tiff.source import open_source

Maker = Callable[[Path], None]


PLACEHOLDER = 60000  # the reader of a vendor's own tag would refuse its code


def write(path: Path, tags: int = 0, planes: int = 1, **options: Any) -> None:
    """An image of 20 x 30, with placeholders for ``tags`` tags."""
    pixels = np.ones((planes, 20, 30)[planes == 1 :], "u2")
    extra = [(PLACEHOLDER + k, "I", 1, 0, True) for k in range(tags)]
    tifffile.imwrite(path, pixels, photometric="minisblack", metadata=None, extratags=extra, **options)


def put(path: Path, code: int, kind: int, count: int, content: Callable[[int], bytes] | bytes) -> None:
    """Give the tag a content behind the pixels; it may hold positions in the file."""
    with tifffile.TiffFile(path) as tiff:
        entry = next(tag.offset for tag in tiff.pages.first.tags if tag.code >= PLACEHOLDER)
        end = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(0, 2)
        file.write(content(end) if callable(content) else content)
        file.seek(entry)
        file.write(struct.pack("<HHII", code, kind, count, end))


def lsm(path: Path) -> None:
    info = np.zeros((), np.dtype([(name or "reserved", kind) for name, kind in tifffile.TIFF.CZ_LSMINFO]))
    given = {
        "MagicNumber": 67127628, "StructureSize": info.nbytes, "DimensionX": 30, "DimensionY": 20, "DimensionZ": 2,
        "DimensionChannels": 1, "DimensionTime": 1, "VoxelSizeX": 1e-7, "VoxelSizeY": 2e-7, "VoxelSizeZ": 5e-7,
    }  # fmt: skip
    for name, value in given.items():
        info[name] = value
    write(path, 1, planes=2)
    put(path, 34412, 1, info.nbytes, info.tobytes())


def stk(path: Path, state: int = 1) -> None:
    write(path, 2)
    put(path, 33629, 5, 1, struct.pack("<6I", 1, 2, 2459000, 0, 2459000, 0))

    def calibration(start: int) -> bytes:
        values = start + 4 * 8  # state, x, y, unit: (tag, value or position) each
        table = struct.pack("<8I", 3, state, 4, values, 5, values + 8, 6, values + 16)
        return table + struct.pack("<4I", 1, 10, 2, 10) + struct.pack("<I3s", 3, b"um\0")

    put(path, 33628, 4, 4, calibration)


def metaseries(path: Path) -> None:
    items = {"state": ("bool", "on"), "x": ("float", "0.1"), "y": ("float", "0.2"), "units": ("string", "um")}
    props = "".join(f'<prop id="spatial-calibration-{k}" type="{t}" value="{v}"/>' for k, (t, v) in items.items())
    xml = f"<MetaData><PlaneInfo>{props}</PlaneInfo></MetaData>"
    write(path, description=xml, software="MetaSeries")


def fei(path: Path) -> None:
    write(path, 1)
    text = b"[Beam]\r\nBeam=EBeam\r\n[EScan]\r\nPixelWidth=1e-007\r\nPixelHeight=2e-007\r\n\0"
    put(path, 34682, 2, len(text), text)


def sis(path: Path, magic: bytes = b"SIS0") -> None:
    write(path, 1)

    def block(start: int) -> bytes:
        head = struct.pack("<4s6xhhhhh6x32sH", magic, 0, 0, 1, 0, 100, b"", 1)
        entry = struct.pack("<hhI", 1, 1, start + 68)
        return head + entry + struct.pack("<10xhdd8xd2x34s32s", -9, 100.0, 200.0, 40.0, b"", b"")

    put(path, 33560, 1, 180, block)


def sem(path: Path) -> None:
    write(path, 1)
    text = b"0\r\n1\r\nAP_IMAGE_PIXEL_SIZE\r\nImage Pixel Size = 100.0 nm\r\n\0"
    put(path, 34118, 2, len(text), text)


def fluoview(path: Path) -> None:
    header = np.zeros((), np.dtype(tifffile.TIFF.MM_HEADER))
    for axis, (name, size, step) in enumerate([(b"X", 30, 0.1), (b"Y", 20, 0.2)]):
        header["Dimensions"][axis] = (name, size, 0.0, step, b"um")
    write(path, 2)
    put(path, 34361, 1, header.nbytes, header.tobytes())
    put(path, 34362, 12, 8, bytes(64))


def ndpi(path: Path) -> None:
    write(path, 1, resolution=(100000, 50000), resolutionunit="CENTIMETER")
    put(path, 65420, 4, 1, struct.pack("<I", 1))


def qptiff(path: Path) -> None:
    xml = "<PerkinElmer-QPI-ImageDescription><Name>DAPI</Name></PerkinElmer-QPI-ImageDescription>"
    write(path, description=xml, software="PerkinElmer-QPI", resolution=(100000, 50000), resolutionunit="CENTIMETER")


def aperio(path: Path) -> None:
    write(path, description="Aperio Image Library v1|AppMag = 20|MPP = 0.1")


def leica(path: Path) -> None:
    image = '<image name="a"><pixels sizeX="30" sizeY="20"/><view sizeX="3000" sizeY="4000"/></image>'
    write(path, description=f'<scn xmlns="http://leica"><collection>{image}</collection></scn>')


def ventana(path: Path) -> None:
    write(path, 1, software="ScanOutputManager 1.1", description="level=0 mag=40")
    xmp = b'<Metadata><iScan ScanRes="0.1" Magnification="40"/></Metadata>'
    put(path, 700, 1, len(xmp), xmp)


def opened(path: Path, make: Maker) -> ImageInfo:
    make(path)
    source = open_source(str(path))
    assert source is not None
    return source.info


@pytest.mark.parametrize(
    ("make", "y", "unit"),
    [(lsm, 2e-7, "meter"), (stk, 0.2, "micrometer"), (metaseries, 0.2, "micrometer"), (fei, 2e-7, "meter"),
     (sis, 2e-7, "meter"), (sem, 100, "nanometer"), (fluoview, 0.2, "micrometer"), (ndpi, 0.2, "micrometer"),
     (qptiff, 0.2, "micrometer"), (aperio, 0.1, "micrometer"), (leica, 200, "nanometer"), (ventana, 0.1, "micrometer")],
)  # fmt: skip
def test_a_vendor_s_pixel_size(make: Maker, y: float, unit: str, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        info = opened(tmp_path / "a.tif", make)
    assert info.pixel_size["Y"] == pytest.approx(y)
    assert info.pixel_size["X"] == pytest.approx(y if make in (sem, aperio, ventana) else y / 2)
    assert info.units["Y"] == info.units["X"] == unit


def test_planes_of_an_lsm_have_a_distance(tmp_path: Path) -> None:
    assert opened(tmp_path / "a.lsm", lsm).pixel_size["Z"] == pytest.approx(5e-7)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda path: stk(path, state=0), "MetaMorph STK"),  # it says that it is not calibrated
        (lambda path: write(path, software="PerkinElmer-QPI"), "PerkinElmer QPTIFF"),
        (lambda path: write(path, software="ISS Vista"), "ISS Vista"),
        (lambda path: write(path, description="Aperio Image Library v1|AppMag = 20"), "Aperio"),
        (lambda path: sis(path, b"????"), "Olympus SIS"),  # the tag points to something else
    ],
)
def test_a_vendor_s_file_without_a_size_is_named(make: Maker, name: str, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=rf"'a\.tif' is a {name} file without a pixel size that can be read"):
        assert not opened(tmp_path / "a.tif", make).units


def test_a_plain_tiff_gets_no_note(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not opened(tmp_path / "a.tif", write).pixel_size


@pytest.mark.parametrize("name", ["slide.ndpi", "stack.STK", "slide.bif", "stack.lsm"])
def test_a_folder_finds_suffixes_of_vendors(name: str) -> None:
    assert kind_of(name) == "tiff"
