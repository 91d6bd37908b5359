"""OME-XML: valid by its schema, with the source's acquisition metadata."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.testing import assert_array_equal

from swin2sr_ops.io.base import ImageInfo
from swin2sr_ops.io.tiff.ome import carried_ome, ome_xml
from swin2sr_ops.io.tiff.sink import create_sink
from swin2sr_ops.io.tiff.source import open_source
from swin2sr_ops.testing import pieces, whole

RNG = np.random.default_rng(0)
SOURCE = """<?xml version="1.0" encoding="UTF-8"?>
<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">
<Instrument ID="Instrument:0">
 <Objective ID="Objective:0" NominalMagnification="10"/>
 <Objective ID="Objective:1" NominalMagnification="63" LensNA="1.4" Immersion="Oil" Model="Plan &amp; &quot;Apo&quot;"
  WorkingDistance="3"/>
</Instrument>
<Image ID="Image:0"><AcquisitionDate>2024-01-02T03:04:05.678</AcquisitionDate>
 <Description>HeLa &lt;fixed&gt;, µm</Description>
 <InstrumentRef ID="Instrument:0"/><ObjectiveSettings ID="Objective:1"/>
 <Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint16" SizeX="30" SizeY="20" SizeZ="1" SizeC="2" SizeT="1">
  <Channel ID="Channel:0:0" Name="DAPI" Fluor="DAPI" EmissionWavelength="461.5" ExcitationWavelength="0.405"
   ExcitationWavelengthUnit="µm"/>
  <Channel ID="Channel:0:1" Name="none" EmissionWavelength="-5" PinholeSize="1.5" PinholeSizeUnit="parsec"/>
  <TiffData IFD="0" PlaneCount="2"/>
 </Pixels></Image></OME>"""
CARRIED = {
    "Description": "HeLa <fixed>, µm",
    "AcquisitionDate": "2024-01-02T03:04:05.678",
    "Objective": {
        "NominalMagnification": 63.0, "LensNA": 1.4, "Model": 'Plan & "Apo"', "Immersion": "Oil",
    },
    "Channel": [
        {
            "Fluor": "DAPI",
            "EmissionWavelength": 461.5, "EmissionWavelengthUnit": "nm",
            "ExcitationWavelength": 0.405, "ExcitationWavelengthUnit": "µm",
        },
        {},
    ],
}  # fmt: skip


def info(shape=(2, 20, 30), axes="CYX", dtype="u2", **known):
    return ImageInfo(shape=shape, axes=axes, dtype=np.dtype(dtype), chunks=shape, **known)


def written(path, given, **options):
    sink = create_sink(str(path), given, **options)
    image = RNG.integers(0, 100, given.shape).astype(given.dtype)
    for region in pieces(given.shape, sink.write_unit):
        sink[region] = image[region]
    sink.finish({"model": "m"})
    return image


def valid(xml):
    ome_types = pytest.importorskip("ome_types")
    schema = pytest.importorskip("xmlschema").XMLSchema(Path(ome_types.__file__).parent / "ome-2016-06.xsd")
    schema.validate(xml)
    return ome_types.from_xml(xml)


def root_of(xml):
    return tifffile.xml2dict(xml)["OME"]


def test_metadata_that_are_copied():
    assert carried_ome(root_of(SOURCE), 0) == CARRIED
    assert carried_ome(root_of(SOURCE), 1) == {}
    assert carried_ome(root_of("<OME><Image/></OME>"), 0) == {}


def test_long_and_strange_texts_are_cut():
    found = carried_ome(root_of(SOURCE.replace("HeLa", "a" * 9000).replace("2024-01-02T", "yesterday")), 0)
    assert len(found["Description"]) == 2000
    assert "AcquisitionDate" not in found


def test_it_comes_through_a_file(tmp_path):
    path = tmp_path / "source.ome.tif"
    image = RNG.integers(0, 9, (2, 20, 30)).astype("u2")
    tifffile.imwrite(path, image, description=SOURCE.encode(), metadata=None, photometric="minisblack")
    source = open_source(str(path)).info
    assert source.extra["ome"] == CARRIED
    assert [c["label"] for c in source.channels] == ["DAPI", "none"]
    written(tmp_path / "out.ome.tif", source.scaled(2))
    assert open_source(str(tmp_path / "out.ome.tif")).info.extra["ome"] == CARRIED
    with tifffile.TiffFile(tmp_path / "out.ome.tif") as tiff:
        ome = valid(tiff.ome_metadata)
    assert ome.instruments[0].objectives[0].nominal_magnification == 63
    assert ome.images[0].objective_settings.id == ome.instruments[0].objectives[0].id
    assert [c.name for c in ome.images[0].pixels.channels] == ["DAPI", "none"]


IMAGES = {
    "plain": {},
    "stack": {"shape": (2, 3, 4, 20, 30), "axes": "TCZYX", "units": {"T": "second", "Z": "nanometer"}}
    | {"pixel_size": {"T": 2.0, "Z": 300.0, "Y": 0.5, "X": 0.5}, "origin": {"Z": 5.0, "Y": -0.25, "X": -0.25}},
    "colour": {"shape": (20, 30, 3), "axes": "YXS", "dtype": "u1", "channels": ({"label": "r"}, {}, {})},
    "colour with channels": {"shape": (2, 20, 30, 4), "axes": "CYXS", "dtype": "u1"},
    "strange names": {"channels": ({"label": 0, "color": "ff0000"}, {"label": "a<b>\x00&{c}"}), "name": "x{y}<z>"},
    "carried": {"extra": {"ome": CARRIED}},
    "float64": {"shape": (20, 30), "axes": "YX", "dtype": "f8"},
}


@pytest.mark.parametrize("name", IMAGES)
def test_valid_by_the_schema(name):
    given = info(**IMAGES[name])
    axes = "".join(a for a in given.axes if a not in "YXS") + ("YXS" if "S" in given.axes else "YX")
    xml = ome_xml(given, axes, name=given.name or "n", big_endian=False, provenance={"model": "<m> {0}"})
    pixels = valid(xml.decode()).images[0].pixels
    assert pixels.big_endian is False
    samples = given.size("S")
    assert [c.samples_per_pixel for c in pixels.channels] == [samples] * given.size("C")
    sizes = {"C": given.size("C") * samples, **{a: given.size(a) for a in "TZYX"}}
    assert {a: getattr(pixels, f"size_{a.lower()}") for a in sizes} == sizes
    assert pixels.interleaved is (True if samples > 1 else None)
    assert sum(block.plane_count for block in pixels.tiff_data_blocks) == given.size("T") * given.size(
        "Z"
    ) * given.size("C")


def test_planes_lie_where_the_xml_says(tmp_path):
    given = info((2, 3, 4, 20, 30), "ZTCYX", pixel_size={"Z": 2.0, "Y": 1.0, "X": 1.0}, origin={"Z": 10.0})
    image = written(tmp_path / "a.ome.tif", given)
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as tiff:
        pixels = valid(tiff.ome_metadata).images[0].pixels
        order = pixels.dimension_order.value[2:]
        assert len(pixels.planes) == len(tiff.pages) == 24
        for number, (plane, page) in enumerate(zip(pixels.planes, tiff.pages, strict=True)):
            assert_array_equal(page.asarray(), image[plane.the_z, plane.the_t, plane.the_c])
            sizes = [getattr(pixels, f"size_{a.lower()}") for a in order]
            index = dict(zip(order, np.unravel_index(number, sizes, order="F"), strict=True))
            assert (plane.the_z, plane.the_c, plane.the_t) == tuple(index[a] for a in "ZCT")
            assert plane.position_z == 10 + 2 * plane.the_z


def test_places_without_units_are_counted_in_pixels(tmp_path):
    given = info(pixel_size={"Y": 0.5, "X": 0.5}, origin={"Y": -0.25, "X": -0.25})
    written(tmp_path / "a.ome.tif", given)
    back = open_source(str(tmp_path / "a.ome.tif")).info
    assert (back.pixel_size, back.origin, back.units) == (given.pixel_size, given.origin, {})


def test_the_same_image_has_the_same_bytes(tmp_path):
    digests = set()
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        RNG.bit_generator.state = np.random.default_rng(5).bit_generator.state
        written(tmp_path / folder / "x.ome.tif", info((2, 700, 900), extra={"ome": CARRIED}, name="n"))
        digests.add(hashlib.sha256((tmp_path / folder / "x.ome.tif").read_bytes()).hexdigest())
    assert len(digests) == 1


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
def test_every_plane_has_its_pyramid(tmp_path, dtype):
    written(tmp_path / "a.ome.tif", info((3, 600, 700), "ZYX", dtype))
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as tiff:
        assert len(tiff.pages) == 3
        for page in tiff.pages:
            (reduced,) = page.aspage().pages
            assert (reduced.subfiletype, reduced.shape, reduced.is_tiled) == (1, (300, 350), True)
            assert reduced.compression == 8
    assert open_source(str(tmp_path / "a.ome.tif"), level=1).read((slice(0, 3),) * 3).shape == (3, 3, 3)


@pytest.mark.parametrize("chunks", [(400, 400), (1024, 300), (128, 8192)])
def test_staging_may_be_cut_otherwise(tmp_path, chunks):
    image = written(tmp_path / "a.ome.tif", info((1500, 1400), "YX"), chunks=chunks)
    source = open_source(str(tmp_path / "a.ome.tif"))
    assert_array_equal(source.read(whole(source.info)), image)
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as tiff:
        assert tiff.pages[0].tile == (512, 512)
