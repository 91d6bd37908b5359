"""OME-TIFF in several files: the named file's image, with its own metadata."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import tifffile

from swin2sr_ops.batch.collect import collect
from swin2sr_ops.io.tiff.source import TiffSource, open_source

NS = "http://www.openmicroscopy.org/Schemas/OME/2016-06"


def image(number: int, data: str, *, size: float = 0.5, c: int = 1, z: int = 1, name: str = "") -> str:
    channels = "".join(f'<Channel ID="Channel:{number}:{k}" Name="{name or number}-{k}"/>' for k in range(c))
    return (
        f'<Image ID="Image:{number}"><Pixels ID="Pixels:{number}" DimensionOrder="XYZCT" Type="uint16" SizeX="30"'
        f' SizeY="20" SizeC="{c}" SizeZ="{z}" SizeT="1" PhysicalSizeX="{size}" PhysicalSizeY="{size}">'
        f"{channels}{data}</Pixels></Image>"
    )


def ome(*parts: str) -> str:
    return f'<?xml version="1.0" encoding="UTF-8"?><OME xmlns="{NS}">{"".join(parts)}</OME>'


def part(name: str, ifd: int = 0, **first: int) -> str:
    where = "".join(f' First{axis.upper()}="{n}"' for axis, n in first.items())
    return f'<TiffData IFD="{ifd}" PlaneCount="1"{where}><UUID FileName="{name}">urn:uuid:{name}</UUID></TiffData>'


def write(path: Path, pixels: np.ndarray, xml: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, pixels, photometric="minisblack", metadata=None, description=xml.encode())


def pixels(value: int, *planes: int) -> np.ndarray:
    return np.full((*planes, 20, 30), value, "u2")


def opened(path: Path, **options: int) -> TiffSource:
    source = open_source(str(path), **options)
    assert source is not None
    return source


def positions(folder: Path, count: int = 3) -> None:
    xml = ome(*(image(k, part(f"p{k}.ome.tif"), size=0.1 * (k + 1)) for k in range(count)))
    for k in range(count):
        write(folder / f"p{k}.ome.tif", pixels(100 * (k + 1)), xml)


@pytest.mark.parametrize("alone", [False, True], ids=["with the set", "alone"])
def test_the_position_that_was_named(alone: bool, tmp_path: Path) -> None:
    positions(tmp_path)
    for other in (0, 2):
        if alone:
            (tmp_path / f"p{other}.ome.tif").unlink()
    source = opened(tmp_path / "p1.ome.tif")
    assert (source.read((slice(0, 20), slice(0, 30))) == 200).all()
    assert source.info.pixel_size["X"] == pytest.approx(0.2)
    assert [c["label"] for c in source.info.channels] == ["1-0"]


def test_a_folder_of_positions_has_as_many_outputs(tmp_path: Path) -> None:
    positions(tmp_path / "run")
    entries = collect([str(tmp_path / "run")], str(tmp_path / "out"))
    assert len(entries) == 3


def test_three_files_of_one_position_are_one_image(tmp_path: Path) -> None:
    xml = ome(image(0, "".join(part(f"z{k}.ome.tif", z=k) for k in range(3)), z=3))
    for k in range(3):
        write(tmp_path / f"z{k}.ome.tif", pixels(k), xml)
    source = opened(tmp_path / "z1.ome.tif")
    assert (source.info.axes, source.info.shape) == ("ZYX", (3, 20, 30))
    assert len(source.identity()["files"]) == 3


def test_two_images_in_the_second_file(tmp_path: Path) -> None:
    """Numbers of images count the whole set; pages count in their file."""
    second = [image(k, part("b.ome.tif", k - 1), size=0.1 * (k + 1)) for k in (1, 2)]
    write(tmp_path / "b.ome.tif", np.stack([pixels(7), pixels(8)]), ome(image(0, part("a.ome.tif")), *second))
    for series, value, size in ((0, 7, 0.2), (1, 8, 0.3)):
        source = opened(tmp_path / "b.ome.tif", series=series)
        assert source.read((slice(0, 1), slice(0, 1))) == value
        assert source.info.pixel_size["X"] == pytest.approx(size)


def test_xml_without_tiff_data(tmp_path: Path) -> None:
    write(tmp_path / "a.ome.tif", pixels(3, 2), ome(image(0, "", c=2, size=0.4)))
    assert opened(tmp_path / "a.ome.tif").info.pixel_size["X"] == pytest.approx(0.4)


@pytest.mark.parametrize("fault", ["a & b", "\x01", "<Open>"])
def test_xml_that_is_not_well_formed(fault: str, tmp_path: Path) -> None:
    """The pixels are restored, wrong characters are replaced, and one warning names the loss."""
    xml = ome(image(0, part("a.ome.tif"), size=0.4, name="NAME")).replace("NAME", fault)
    write(tmp_path / "a.ome.tif", pixels(3), xml)
    with pytest.warns(UserWarning, match=r"OME-XML of 'a\.ome\.tif' is not well-formed") as said:
        source = opened(tmp_path / "a.ome.tif")
    assert source.info.shape == (20, 30)
    assert len(said) == 1
    if fault != "<Open>":
        assert source.info.pixel_size["X"] == pytest.approx(0.4)


def test_a_position_that_was_renamed(tmp_path: Path) -> None:
    """The UUID identifies it; the name in its XML no longer exists."""
    data = [part(f"p{k}.ome.tif") for k in range(2)]
    xml = ome(*(image(k, data[k], size=0.1 * (k + 1)) for k in range(2)))
    write(tmp_path / "renamed.ome.tif", pixels(5), xml.replace("<OME ", '<OME UUID="urn:uuid:p1.ome.tif" '))
    source = opened(tmp_path / "renamed.ome.tif")
    assert source.info.pixel_size["X"] == pytest.approx(0.2)
    assert [c["label"] for c in source.info.channels] == ["1-0"]


def test_metadata_in_a_companion(tmp_path: Path) -> None:
    xml = ome('<BinaryOnly MetadataFile="run.companion.ome" UUID="urn:uuid:c"/>')
    write(tmp_path / "a.ome.tif", pixels(3, 2), xml)
    with pytest.warns(UserWarning, match=r"are in 'run\.companion\.ome', which cannot be read"):
        opened(tmp_path / "a.ome.tif")
    companion = tmp_path / "run.companion.ome"
    planes = part("a.ome.tif", 0, c=0) + part("a.ome.tif", 1, c=1)
    companion.write_text(ome(image(0, planes, c=2, size=0.4)), encoding="utf-8")
    source = opened(tmp_path / "a.ome.tif")
    assert (source.info.axes, source.info.pixel_size["X"]) == ("CYX", pytest.approx(0.4))
    before = source.identity()
    companion.write_text(ome(image(0, planes, c=2, size=0.44)), encoding="utf-8")
    assert source.identity() != before


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_a_set_of_links(tmp_path: Path) -> None:
    """Archives under version control are links to files of other names."""
    xml = ome(image(0, part("c0.ome.tif", c=0) + part("c1.ome.tif", c=1), c=2))
    for k in range(2):
        write(tmp_path / "objects" / f"KEY{k}.tif", pixels(k + 5), xml)
        (tmp_path / f"c{k}.ome.tif").symlink_to(tmp_path / "objects" / f"KEY{k}.tif")
    found = opened(tmp_path / "c0.ome.tif").read((slice(0, 2), slice(0, 1), slice(0, 1)))
    assert found.ravel().tolist() == [5, 6]


def master_and_planes(folder: Path, master: str = "c0.ome.tif") -> list[str]:
    """Two channels of two moments, a file each; the first one describes all."""
    names = [master, "c0t1.ome.tif", "c1t0.ome.tif", "c1t1.ome.tif"]
    data = "".join(part(name, c=k // 2, t=k % 2) for k, name in enumerate(names))
    stage = "".join(
        f'<Plane TheC="{k // 2}" TheT="{k % 2}" TheZ="0" PositionX="{k}" PositionXUnit="µm"/>' for k in range(4)
    )
    xml = ome(image(0, data + stage, c=2, size=0.4).replace('SizeT="1"', 'SizeT="2" PhysicalSizeXUnit="µm"'))
    write(folder / master, pixels(0), xml)
    for k, name in enumerate(names[1:], 1):
        write(folder / name, pixels(k), ome(f'<BinaryOnly MetadataFile="{master}" UUID="urn:uuid:{master}"/>'))
    return names


def test_a_plane_has_the_metadata_of_its_master(tmp_path: Path) -> None:
    names = master_and_planes(tmp_path)
    source = opened(tmp_path / names[2])
    assert (source.info.shape, source.info.axes) == ((20, 30), "YX")
    assert source.read((slice(0, 1), slice(0, 1))) == 2
    assert source.info.pixel_size["X"] == pytest.approx(0.4)
    assert source.info.origin["X"] == 2
    assert [c["label"] for c in source.info.channels] == ["0-1"]
    assert len(source.identity()["files"]) == 2
    assert opened(tmp_path / names[0]).info.shape == (2, 2, 20, 30)


def test_a_position_in_a_file_of_its_own_has_the_axes_of_its_master(tmp_path: Path) -> None:
    """All planes of an image are in the file, and planes are counted from 0 there."""
    planes = "".join(part("p1.ome.tif", k, z=k % 2, c=k // 2) for k in range(4))
    write(tmp_path / "p0.ome.tif", pixels(1), ome(image(0, part("p0.ome.tif")), image(1, planes, c=2, z=2, size=0.2)))
    write(tmp_path / "p1.ome.tif", pixels(9, 4), ome('<BinaryOnly MetadataFile="p0.ome.tif" UUID="urn:uuid:x"/>'))
    info = opened(tmp_path / "p1.ome.tif").info
    assert (info.axes, info.shape) == ("CZYX", (2, 2, 20, 30))
    assert info.pixel_size["X"] == pytest.approx(0.2)
    assert [c["label"] for c in info.channels] == ["1-0", "1-1"]


@pytest.mark.parametrize("fault", ["missing", "another set", "irregular"])
def test_an_unreadable_master_is_named(fault: str, tmp_path: Path) -> None:
    names = master_and_planes(tmp_path)
    if fault == "missing":
        (tmp_path / names[0]).unlink()
    elif fault == "another set":
        write(tmp_path / names[0], pixels(0), ome(image(0, part("elsewhere.ome.tif"))))
    else:
        three = "".join(part(names[1], k, c=c, z=z) for k, (c, z) in enumerate([(0, 0), (0, 1), (1, 0)]))
        write(tmp_path / names[0], pixels(0), ome(image(0, three, c=2, z=2)))
        write(tmp_path / names[1], pixels(1, 3), ome(f'<BinaryOnly MetadataFile="{names[0]}" UUID="u"/>'))
    with pytest.warns(UserWarning, match=r"are in 'c0\.ome\.tif', which cannot be read"):
        assert opened(tmp_path / names[1]).info.shape[-2:] == (20, 30)


@pytest.mark.parametrize("master", ["a.ome.tif", "z.ome.tif"], ids=["first", "last"])
def test_a_folder_of_a_master_and_its_planes_is_one_image(master: str, tmp_path: Path) -> None:
    names = master_and_planes(tmp_path / "run", master)
    entries = collect([str(tmp_path / "run")], str(tmp_path / "out"))
    assert [Path(entry.source).name for entry in entries] == [names[0]]
