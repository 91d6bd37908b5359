"""Read regions of many kinds of TIFF, with pixel size, origin and channels; report damage."""

from __future__ import annotations

import gc
import json
import os
import pickle
import struct
import tracemalloc
import warnings

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, example, given, settings, strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from swin2sr_ops.errors import FormatError, RequestError, Swin2SROpsError
from swin2sr_ops.io.tiff.source import TiffSource, open_source
from swin2sr_ops.testing import SourceContract, whole

RNG = np.random.default_rng(0)
GRAY = RNG.integers(0, 60000, (70, 90)).astype("u2")
COLOUR = RNG.integers(0, 255, (70, 90, 3)).astype("u1")
STACK = RNG.integers(0, 60000, (2, 3, 70, 90)).astype("u2")


def write(path, image, **options):
    tifffile.imwrite(path, image, **options)
    return str(path)


class TestStriped(SourceContract):
    @pytest.fixture
    def source(self, tmp_path):
        return open_source(write(tmp_path / "a.tif", GRAY, rowsperstrip=7, compression="lzw"))

    @pytest.fixture
    def pixels(self):
        return GRAY


class TestTiled(TestStriped):
    @pytest.fixture
    def source(self, tmp_path):
        return open_source(write(tmp_path / "a.tif", GRAY, tile=(32, 16), compression="zstd", predictor=True))


class TestBigEndianBigTiff(TestStriped):
    @pytest.fixture
    def source(self, tmp_path):
        return open_source(write(tmp_path / "a.tif", GRAY, bigtiff=True, byteorder=">", rowsperstrip=70))


class TestRawStack(SourceContract):
    """Contiguous pixels of a hyperstack: mapped, never decoded."""

    @pytest.fixture
    def source(self, tmp_path):
        return open_source(write(tmp_path / "a.tif", STACK, imagej=True, metadata={"axes": "ZCYX"}))

    @pytest.fixture
    def pixels(self):
        return STACK


class TestScatteredPlanes(TestRawStack):
    """Raw planes with something between them, and more of them than travel as a list."""

    planes = np.repeat(STACK.reshape(6, 70, 90), 20, axis=0)

    @pytest.fixture
    def source(self, tmp_path):
        with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
            for plane in self.planes:
                tiff.write(plane, contiguous=False, metadata=None)
        return open_source(str(tmp_path / "a.tif"))

    @pytest.fixture
    def pixels(self):
        return self.planes


class TestOmeCompressedStack(TestRawStack):
    @pytest.fixture
    def source(self, tmp_path):
        path = tmp_path / "a.ome.tif"
        return open_source(write(path, STACK, tile=(32, 32), compression="deflate", metadata={"axes": "CZYX"}))


class TestInterleavedColour(SourceContract):
    @pytest.fixture
    def source(self, tmp_path):
        return open_source(write(tmp_path / "a.tif", COLOUR, photometric="rgb", rowsperstrip=16))

    @pytest.fixture
    def pixels(self):
        return COLOUR


class TestPlanarColour(TestInterleavedColour):
    @pytest.fixture
    def source(self, tmp_path):
        image = np.moveaxis(COLOUR, -1, 0)
        return open_source(
            write(tmp_path / "a.tif", image, photometric="rgb", planarconfig="separate", compression="lzw")
        )

    @pytest.fixture
    def pixels(self):
        return np.moveaxis(COLOUR, -1, 0)


class TestJpeg(SourceContract):
    @pytest.fixture
    def source(self, tmp_path):
        path = tmp_path / "a.tif"
        return open_source(write(path, COLOUR, photometric="rgb", tile=(32, 32), compression="jpeg"))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_region_of_any_layout(tmp_path, data):
    # tifffile treats a last axis of length 1 as samples; such slivers are never restored.
    shape = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 60), st.integers(2, 60)))
    layout = data.draw(
        st.sampled_from([{}, {"rowsperstrip": 5}, {"tile": (16, 32)}, {"tile": (16, 16), "compression": "deflate"}])
    )
    image = np.arange(np.prod(shape), dtype="u2").reshape(shape)
    path = write(tmp_path / "any.tif", image, photometric="minisblack", metadata={"axes": "ZYX"}, **layout)
    source = open_source(path)
    squeezed = image.reshape(source.info.shape)
    region = []
    for n in squeezed.shape:
        start = data.draw(st.integers(0, n - 1))
        region.append(slice(start, data.draw(st.integers(start + 1, n))))
    assert_array_equal(source.read(tuple(region)), squeezed[tuple(region)])


@pytest.mark.parametrize("layout", [{"rowsperstrip": 1}, {"tile": (256, 256), "compression": "zstd"}])
def test_a_large_file_is_read_in_small_memory(tmp_path, layout):
    side = 4096
    rows = (np.full((side, side), 7, "u2") for _ in range(1))
    path = write(tmp_path / "large.tif", next(rows), **layout)
    source = open_source(path)
    source.read((slice(0, 1), slice(0, 1)))
    tracemalloc.start()
    for y in range(0, side, 1024):
        assert source.read((slice(y, y + 256), slice(y, y + 256))).shape == (256, 256)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < side * side * 2 / 4


def test_ome_place_and_channels(tmp_path):
    metadata = {
        "axes": "CZYX",
        "PhysicalSizeX": 0.25, "PhysicalSizeXUnit": "µm", "PhysicalSizeY": 500.0, "PhysicalSizeYUnit": "nm",
        "PhysicalSizeZ": 2, "TimeIncrement": 3, "TimeIncrementUnit": "min",
        "Channel": {"Name": ["DAPI", "5"], "Color": [65535, -16776961]},
        "Plane": {
            "PositionX": [12.5] * 6, "PositionXUnit": ["µm"] * 6,
            "PositionY": [1.0, 2.0] * 3, "PositionYUnit": ["nm"] * 6,
            "PositionZ": [4.0, 6.0, 8.0] * 2, "PositionZUnit": ["µm"] * 6,
        },
    }  # fmt: skip
    info = open_source(write(tmp_path / "cells.ome.tif", STACK, metadata=metadata)).info
    assert (info.axes, info.name, info.format) == ("CZYX", "cells", "OME-TIFF")
    assert info.pixel_size == {"X": 0.25, "Y": 500.0, "Z": 2.0}
    assert info.units == {"X": "micrometer", "Y": "nanometer", "Z": "micrometer"}
    assert info.origin == {"X": 12.5, "Y": 1.0, "Z": 4.0}  # y moved between planes: the first one's
    assert info.extra["planes"]["PositionY"]["values"] == [1.0, 2.0] * 3
    assert info.channels == ({"label": "DAPI", "color": "0000FF"}, {"label": "5", "color": "FF0000"})


def test_ome_pyramid_levels_keep_the_corner(tmp_path):
    path = tmp_path / "a.ome.tif"
    image = RNG.integers(0, 255, (101, 64)).astype("u1")
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(image, subifds=1, tile=(32, 32), metadata={"axes": "YX", "PhysicalSizeX": 2.0, "PhysicalSizeY": 2.0})
        tiff.write(image[::2, ::2], subfiletype=1, tile=(32, 32))
    source = open_source(str(path), level=1)
    assert (source.info.shape, source.info.levels) == ((51, 32), 2)
    assert source.info.pixel_size == {"Y": 4.0, "X": 4.0}
    assert source.info.origin == {"Y": 1.0, "X": 1.0}
    assert_array_equal(source.read(whole(source.info)), image[::2, ::2])
    with pytest.raises(RequestError, match="levels 0 to 1"):
        open_source(str(path), level=2)


def test_imagej_place_and_channels(tmp_path):
    options = {"imagej": True, "resolution": (4.0, 2.0)}
    metadata = {
        "axes": "ZCYX",
        "unit": "um",
        "spacing": 3.0,
        "Labels": [f"c:{c}/3 z:{z}/2 - ch{c}" for z in (1, 2) for c in (1, 2, 3)],
    }
    info = open_source(write(tmp_path / "a.tif", STACK, metadata=metadata, **options)).info
    assert (info.axes, info.format) == ("ZCYX", "ImageJ TIFF")
    assert info.pixel_size == {"X": 0.25, "Y": 0.5, "Z": 3.0}
    assert set(info.units.values()) == {"micrometer"}
    assert [c["label"] for c in info.channels] == ["ch1", "ch2", "ch3"]
    pixels = open_source(write(tmp_path / "b.tif", STACK, metadata={"axes": "ZCYX", "unit": "pixel"}, **options)).info
    assert pixels.pixel_size == {}


def test_resolution_tags_count_unless_they_are_defaults(tmp_path):
    def info(*resolution):
        return open_source(
            write(tmp_path / "a.tif", GRAY, resolution=resolution[:2], resolutionunit=resolution[2])
        ).info

    measured = info(20000, 40000, "CENTIMETER")
    assert_allclose([measured.pixel_size["X"], measured.pixel_size["Y"]], [0.5, 0.25])
    assert measured.units == {"X": "micrometer", "Y": "micrometer"}
    assert_allclose(info(25400, 25400, "INCH").pixel_size["X"], 1.0)
    assert info(300, 300, "INCH").pixel_size == {}
    assert info(28.3465, 28.3465, "CENTIMETER").pixel_size == {}  # 72 dpi in disguise
    assert info(20000, 20000, "NONE").pixel_size == {}


@pytest.mark.parametrize(("text", "value"), [("-9999", -9999.0), ("nan", np.nan), ("-3.4e+38", -3.4e38)])
def test_nodata_tag(tmp_path, text, value):
    path = write(tmp_path / "a.tif", GRAY.astype("f4"), extratags=[(42113, "s", 0, text, True)])
    assert_array_equal(open_source(path).info.nodata, value)


def test_bands_are_channels_and_colours_are_samples(tmp_path):
    bands = RNG.integers(0, 255, (40, 50, 4)).astype("u1")
    assert (
        open_source(write(tmp_path / "a.tif", bands, photometric="minisblack", planarconfig="contig")).info.axes
        == "YXC"
    )
    assert open_source(write(tmp_path / "b.tif", bands, photometric="rgb")).info.axes == "YXS"


def test_bits_of_the_camera_are_known(tmp_path):
    path = write(tmp_path / "a.tif", GRAY // 16, bitspersample=12)
    source = open_source(path)
    assert source.info.extra["bits_per_sample"] == 12
    assert_array_equal(source.read(whole(source.info)), GRAY // 16)


def test_series_are_chosen_by_number(tmp_path):
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(GRAY)
        tiff.write(COLOUR, photometric="rgb")
    assert open_source(str(path)).info.axes == "YX"
    assert open_source(str(path), series=1).info.axes == "YXS"
    for options in ({"series": 2}, {"array": "0"}, {"axes": "YXC"}):
        with pytest.raises(RequestError):
            open_source(str(path), **options)


@pytest.mark.parametrize("photometric", ["palette", "separated", "cielab", "cfa"])
def test_numbers_that_are_not_brightness_are_refused(tmp_path, photometric):
    image = RNG.integers(0, 255, (40, 50, 4) if photometric == "separated" else (40, 50)).astype("u1")
    image = COLOUR if photometric == "cielab" else image
    options = {"colormap": RNG.integers(0, 65535, (3, 256)).astype("u2")} if photometric == "palette" else {}
    path = write(tmp_path / "a.tif", image, photometric=photometric, **options)
    with pytest.raises(FormatError, match="first"):
        open_source(path)


def test_missing_companion_files_are_named(tmp_path):
    metadata = tifffile.OmeXml()
    metadata.addimage("u2", (2, 70, 90), (2, 1, 1, 70, 90, 1), axes="ZYX")
    tifffile.imwrite(tmp_path / "a.ome.tif", GRAY, description=metadata.tostring(), metadata=None)
    with pytest.raises(FormatError, match="lacks 1 of its 2 planes"):
        open_source(str(tmp_path / "a.ome.tif"))


LAYOUTS = {
    "raw": {},
    "striped": {"rowsperstrip": 8, "compression": "lzw"},
    "tiled": {"tile": (16, 16), "compression": "deflate"},
    "imagej": {"imagej": True},
    "ome": {"ome": True},
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("keep", [0.05, 0.5, 0.99])
def test_truncated_files(tmp_path, layout, keep):
    image = GRAY if layout in ("striped", "tiled") else STACK.reshape(6, 70, 90)
    path = tmp_path / "a.tif"
    write(path, image, **LAYOUTS[layout])
    os.truncate(path, int(path.stat().st_size * keep))
    with pytest.raises(FormatError, match="truncated"):
        open_source(str(path))


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize(("first", "says"), [(5000, "page 0 begins at byte 5000 but the file has"), (0, "any page")])
def test_a_file_without_its_directory(tmp_path, big, first, says):
    """Writers of large files put the directory last: a truncated copy lacks it."""
    path = tmp_path / "cut.tif"
    header = b"II+\0\x08\0\0\0" + struct.pack("<Q", first) if big else b"II*\0" + struct.pack("<I", first)
    path.write_bytes(header + bytes(300))
    with pytest.raises(FormatError, match=says):
        open_source(str(path))


def test_truncation_says_where(tmp_path):
    path = tmp_path / "a.tif"
    write(path, GRAY)
    size = path.stat().st_size
    os.truncate(path, size - 10)
    with pytest.raises(FormatError, match=f"page 0 ends at byte {size} but the file has {size - 10}"):
        open_source(str(path))


@pytest.mark.parametrize("layout", ["raw", "tiled"])
def test_a_file_that_shrinks_after_it_was_opened(tmp_path, layout):
    path = tmp_path / "a.tif"
    source = open_source(write(path, GRAY, **LAYOUTS[layout]))
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(FormatError, match="truncated"):
        source.read(whole(source.info))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.integers(0, 1200), value=st.integers(0, 255), layout=st.sampled_from(sorted(LAYOUTS)))
@example(position=165, value=48, layout="tiled")  # tiles of 800 million rows
def test_damaged_headers_raise_our_errors_only(tmp_path, position, value, layout):
    path = tmp_path / "damaged.tif"
    write(path, GRAY, **LAYOUTS[layout])
    content = bytearray(path.read_bytes())
    content[position] = value
    path.write_bytes(content)
    try:
        source = open_source(str(path))
        if source is not None and source.info.nbytes < 1 << 24:
            source.read(whole(source.info))
    except Swin2SROpsError:
        pass


def test_files_that_are_not_tiff(tmp_path):
    (tmp_path / "a.txt").write_text("hello")
    assert open_source(str(tmp_path / "a.txt")) is None
    assert open_source(str(tmp_path)) is None
    (tmp_path / "a.tif").write_text("hello")
    with pytest.raises(FormatError, match=r"has the suffix \.tif, but is not a TIFF file"):
        open_source(str(tmp_path / "a.tif"))
    with pytest.raises(FormatError, match="no file or folder"):
        open_source(str(tmp_path / "no.tif"))


def test_a_note_lists_the_series(tmp_path):
    path = tmp_path / "a.ome.tif"
    with tifffile.TiffWriter(path) as tiff:
        for name, image in (("cells", GRAY), ("slide label", GRAY[:20])):
            tiff.write(image, compression="deflate", metadata={"axes": "YX", "Name": name})
    info = open_source(str(path), series=1).info
    assert info.shape == (20, 90)
    assert info.extra["series"] == {"count": 2, "names": ["cells", "slide label"]}
    assert "series" not in open_source(write(tmp_path / "b.tif", GRAY)).info.extra


def many_files(folder, planes=3):
    """An OME-TIFF of one plane per file, as some microscopes write them."""
    folder.mkdir(exist_ok=True)
    names = [folder / f"plane{z}.ome.tif" for z in range(planes)]
    blocks = "".join(
        f'<TiffData IFD="0" FirstZ="{z}" PlaneCount="1"><UUID FileName="plane{z}.ome.tif">urn:uuid:{z}</UUID>'
        "</TiffData>"
        for z in range(planes)
    )
    for z, name in enumerate(names):
        xml = (
            '<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"'
            f' UUID="urn:uuid:{z}"><Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16"'
            f' SizeX="90" SizeY="70" SizeZ="{planes}" SizeC="1" SizeT="1"><Channel ID="Channel:0:0"/>{blocks}</Pixels>'
            "</Image></OME>"
        )
        tifffile.imwrite(name, GRAY + z, description=xml, metadata=None, compression="deflate")
    return names


def test_identity_is_that_of_all_files(tmp_path):
    names = many_files(tmp_path / "set")
    source = open_source(str(names[0]))
    assert source.info.shape == (3, 70, 90)
    assert_array_equal(source.read(whole(source.info))[2], GRAY + 2)
    before = source.identity()
    assert len(before["files"]) == 3
    assert pickle.loads(pickle.dumps(source)).identity() == before
    assert str(tmp_path) not in json.dumps(before)
    os.utime(names[2], ns=(1, 1))
    assert source.identity() != before
    source.close()


def test_identity_of_sets_that_are_too_long_to_travel(tmp_path, monkeypatch):
    monkeypatch.setattr("swin2sr_ops.io.tiff.source._TRAVELLING", 1)
    source = open_source(str(many_files(tmp_path / "set")[0]))
    twin = pickle.loads(pickle.dumps(source))
    assert twin._files is None
    assert twin.identity() == source.identity()


def test_identity_tells_series_and_levels_apart(tmp_path):
    path = tmp_path / "a.ome.tif"
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(GRAY, subifds=1, metadata={"axes": "YX"})
        tiff.write(GRAY[::2, ::2], subfiletype=1)
        tiff.write(GRAY[:20], metadata={"axes": "YX"})
    options = ({}, {"level": 1}, {"series": 1})
    found = [json.dumps(open_source(str(path), **chosen).identity()) for chosen in options]
    assert len(set(found)) == 3
    path.unlink()
    with pytest.raises(FormatError, match="no file"):
        TiffSource(str(path), 0, 0, open_source(write(tmp_path / "b.tif", GRAY)).info).identity()


@pytest.mark.parametrize("layout", ["raw", "striped", "tiled"])
def test_closing_and_opening_again(tmp_path, layout):
    gc.collect()  # open files of other tests
    source = open_source(write(tmp_path / "a.tif", GRAY, **LAYOUTS[layout]))
    source.close()
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        for _ in range(2):
            assert_array_equal(source.read(whole(source.info)), GRAY)
            source.close()
        source.read(whole(source.info))
        del source  # a source that is never closed leaves no open file either
        gc.collect()


def test_positions_in_pixels_count_where_sizes_do(tmp_path):
    def origin(unit):
        metadata = {
            "axes": "YX", "PhysicalSizeX": 1.0, "PhysicalSizeXUnit": "pixel",
            "Plane": {"PositionX": [-0.25], "PositionXUnit": [unit]},
        }  # fmt: skip
        return open_source(write(tmp_path / "a.ome.tif", GRAY, metadata=metadata)).info.origin

    assert origin("pixel") == {"X": -0.25}
    assert origin("reference frame") == origin("µm") == {}
