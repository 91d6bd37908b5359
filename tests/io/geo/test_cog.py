"""Compare Cloud Optimized GeoTIFFs with GDAL, tifffile and a validator."""

from __future__ import annotations

import struct
import tracemalloc
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.testing import assert_allclose, assert_array_equal

from swin2sr_ops.errors import FormatError, OutputError, RequestError
from swin2sr_ops.io.geo import cog
from swin2sr_ops.io.geo.cog import read_provenance, write_cog
from swin2sr_ops.io.geo.cog_layout import Directory
from swin2sr_ops.io.geo.cog_sink import create_sink
from swin2sr_ops.io.geo.creation import Creation
from swin2sr_ops.io.geo.metadata import scaled
from swin2sr_ops.io.geo.source import open_source
from swin2sr_ops.io.output.pyramid import halve, level_shapes
from swin2sr_ops.testing import SinkContract, pieces, whole

rasterio = pytest.importorskip("rasterio", reason="needs swin2sr-ops[geo]")

GEOTIFFS = Path(__file__).parents[4] / "shared" / "data" / "formats" / "geotiff"
DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float16", "float32", "float64")
GEO = {"transform": [10.0, 0.0, 500_000.0, 0.0, -20.0, 5_000_000.0], "crs": "EPSG:32632"}

pytestmark = [
    pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning"),
    pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning"),  # rasterio's own
]


def image(shape, dtype="uint16"):
    """Return a smooth image, which predictors can compress, with NaN and infinity in floats."""
    pixels = np.random.default_rng(5).normal(0, 9, shape).cumsum(0)
    if np.dtype(dtype).kind != "f":
        return (np.abs(pixels) % 120).astype(dtype)
    pixels = pixels.astype(dtype)
    pixels.flat[[3, 9]] = np.nan, np.inf
    return pixels


def pyramid(pixels, axes, nodata=None):
    with np.errstate(all="ignore"):
        levels = [pixels]
        for _ in level_shapes(pixels.shape, axes)[1:]:
            levels.append(halve(levels[-1], axes, nodata=nodata))
    return levels


def bands_first(pixels, axes):
    return pixels[None] if axes == "YX" else pixels if axes == "CYX" else np.moveaxis(pixels, -1, 0)


def write(path, pixels, axes="YX", **options):
    write_cog(path, pyramid(pixels, axes), axes=axes, dtype=pixels.dtype, **options)
    return str(path)


class TestCog(SinkContract):
    """The georeference is the place here; ``test_place`` compares it."""

    keeps_place = False

    @property
    def info(self):
        return replace(super().info, extra={"geo": place()})

    @pytest.fixture
    def create(self, tmp_path):
        (tmp_path / "out").mkdir()
        path = str(tmp_path / "out" / "a.tif")
        return lambda info, **options: create_sink(path, info, **options)


class TestColourCog(TestCog):
    axes, shape, dtype = "YXS", (70, 90, 3), "uint8"


class TestLargeCog(TestCog):
    """Several chunks, with an overview."""

    axes, shape, dtype = "YX", (600, 700), "float32"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("axes", "shape"), [("YX", (300, 530)), ("CYX", (5, 70, 600)), ("YXS", (530, 75, 3))])
def test_pixels_come_back_at_every_level(tmp_path, dtype, axes, shape):
    levels = pyramid(image(shape, dtype), axes)
    assert len(levels) == 2
    path = write(tmp_path / "a.tif", levels[0], axes, creation=Creation(blocksize=64))
    for k, level in enumerate(levels):
        with rasterio.open(path, **({"overview_level": k - 1} if k else {})) as dataset:
            assert_array_equal(dataset.read(), bands_first(level, axes))
    with tifffile.TiffFile(path) as tiff:
        assert_array_equal(tiff.pages.first.asarray(), np.moveaxis(levels[0], 0, -1) if axes == "CYX" else levels[0])
        assert tiff.pages.first.dtype == dtype


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("shape", [(1300, 1100), (20, 17), (1, 1)])
def test_a_validator_accepts_it(tmp_path, monkeypatch, big, masked, shape):
    validate = pytest.importorskip("rio_cogeo", reason="the validator is not installed").cog_validate
    monkeypatch.setattr(cog, "_CLASSIC", 0 if big else 1 << 40)
    masks = [np.ones(level, bool) for level in level_shapes(shape, "YX")] if masked else None
    path = write(tmp_path / "a.tif", image(shape), geo=place(), mask_levels=masks)
    assert validate(path, strict=True) == (True, [], [])


@pytest.mark.parametrize(
    ("compress", "masked", "magic"), [("DEFLATE", False, 42), ("LZW", False, 43), ("LZW", True, 43)]
)
def test_noise_that_lzw_enlarges_gets_a_big_tiff(tmp_path, monkeypatch, compress, masked, magic):
    pixels = np.random.default_rng(1).integers(0, 256, (512, 512), "u1")
    masks = [pixels > 127] if masked else None
    monkeypatch.setattr(cog, "_CLASSIC", pixels.nbytes * 5 // 4)  # as 3 GiB and less of noise to a limit of 4
    write_cog(
        tmp_path / "a.tif", [pixels], axes="YX", dtype=pixels.dtype, geo=place(), mask_levels=masks,
        creation=Creation(compress),
    )  # fmt: skip
    written = (tmp_path / "a.tif").read_bytes()
    assert written[2] == magic
    assert (len(written) > cog._CLASSIC) == (compress == "LZW")


def test_the_tiles_of_a_mask_count(tmp_path, monkeypatch):
    pixels = np.zeros((512, 512), "u1")
    monkeypatch.setattr(cog, "_CLASSIC", pixels.nbytes)
    for masks, magic in ((None, 42), ([pixels > 0], 43)):
        write_cog(tmp_path / "a.tif", [pixels], axes="YX", dtype=pixels.dtype, geo=place(), mask_levels=masks)
        assert (tmp_path / "a.tif").read_bytes()[2] == magic


def test_an_offset_that_does_not_fit_is_refused_and_never_wraps():
    directory = Directory([], 2)
    directory.offsets[1] = (1 << 32) - 1
    directory.all_tags(big=False)
    directory.offsets[1] = 1 << 32
    directory.all_tags(big=True)
    with pytest.raises(OutputError, match="grew beyond the 4 GiB of a classic TIFF"):
        directory.all_tags(big=False)


def place():
    return GEO | {"crs": rasterio.crs.CRS.from_string(GEO["crs"]).to_wkt()}


def test_directories_come_first_and_tiles_where_the_ghost_area_says(tmp_path):
    """Smallest overview first, row by row, each tile between its size and its last bytes, then its mask's."""
    masks = [np.ones(level, bool) for level in level_shapes((1300, 1100), "YX")]
    path = Path(write(tmp_path / "a.tif", image((1300, 1100)), mask_levels=masks, creation=Creation(blocksize=256)))
    content = path.read_bytes()
    title, size = content[8:].split(b" bytes\n", 1)[0].split(b"=")
    start = 8 + len(title) + 1 + len(size) + len(b" bytes\n")
    assert title == b"GDAL_STRUCTURAL_METADATA_SIZE"
    ghost = content[start : start + int(size)]
    assert ghost.endswith(b"MASK_INTERLEAVED_WITH_IMAGERY=YES\n")
    assert struct.unpack_from("<I", content, 4)[0] - (start + int(size)) in (0, 1)
    with tifffile.TiffFile(path) as tiff:
        pages = list(tiff.pages)
        kinds = [(int(p.subfiletype), p.imagewidth) for p in pages]
        ends = [p.offset for p in pages] + [t.valueoffset + t.valuebytecount for p in pages for t in p.tags]
    assert kinds == [(0, 1100), (4, 1100), (1, 550), (1, 275), (5, 550), (5, 275)]
    expected = []
    for k in (3, 2, 0):
        pair = pages[k], pages[{0: 1, 2: 4, 3: 5}[k]]
        expected += [(p.dataoffsets[i], p.databytecounts[i]) for i in range(len(pair[0].dataoffsets)) for p in pair]
    assert max(ends) <= expected[0][0] - 4
    position = expected[0][0] - 4
    for offset, count in expected:
        assert offset == position + 4
        assert struct.unpack_from("<I", content, position)[0] == count
        assert content[offset + count : offset + count + 4] == content[offset + count - 4 : offset + count]
        position = offset + count + 4
    assert position == len(content)
    with rasterio.open(path) as dataset:
        assert dataset.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert dataset.overviews(1) == [2, 4]


def test_a_mask_has_overviews(tmp_path):
    shapes = level_shapes((1030, 700), "YX")
    masks = [np.random.default_rng(k).random(shape) > 0.3 for k, shape in enumerate(shapes)]
    levels = pyramid(image((3, 1030, 700)), "CYX")
    write_cog(tmp_path / "a.tif", levels, axes="CYX", dtype=np.dtype("uint16"), mask_levels=masks)
    assert not (tmp_path / "a.tif.msk").exists()
    for k, mask in enumerate(masks):
        with rasterio.open(tmp_path / "a.tif", **({"overview_level": k - 1} if k else {})) as dataset:
            assert dataset.mask_flag_enums[2] == [rasterio.enums.MaskFlags.per_dataset]
            assert_array_equal(dataset.read_masks(3) > 0, mask)
            assert_array_equal(dataset.read(), levels[k])


def test_every_piece_of_metadata_comes_back(tmp_path):
    geo = place() | {
        "descriptions": ["B02", None, "B08"], "colorinterp": ["blue", "green", "undefined"], "units": ["K", None, "m"],
        "scales": [0.1, 1.0, 2.0], "offsets": [5.0, 0.0, 0.25], "area_or_point": "Point",
        "tags": {"SATELLITE": "S2 <&> \"é\"", "TIFFTAG_SOFTWARE": "a program", "ns": "a name that rasterio has itself"},
        "band_tags": [{"WAVELENGTH": "490"}, {}, {"WAVELENGTH": "842"}], "domains": {"IMAGERY": {"CLOUDCOVER": "3"}},
    }  # fmt: skip
    path = write(tmp_path / "a.tif", image((3, 40, 50)), "CYX", geo=geo, nodata=7)
    with rasterio.open(path) as dataset:
        assert dataset.crs.to_epsg() == 32632
        assert list(dataset.transform[:6]) == geo["transform"]
        assert dataset.nodatavals == (7, 7, 7)
        assert dataset.tags(ns="IMAGERY") == {"CLOUDCOVER": "3"}
    back = open_source(path).info.extra["geo"]
    for key in ("descriptions", "colorinterp", "units", "scales", "offsets", "area_or_point", "band_tags", "transform"):
        assert back[key] == geo[key], key
    assert back["tags"] == {"SATELLITE": 'S2 <&> "é"', "TIFFTAG_SOFTWARE": "a program"}


def test_rpcs_come_back(tmp_path):
    coefficients = " ".join(str(v / 8) for v in range(20))
    rpcs = {f"{a}_{b}_COEFF": coefficients for a in ("LINE", "SAMP") for b in ("NUM", "DEN")}
    rpcs |= {f"{a}_{b}": "12.5" for a in ("LINE", "SAMP", "LAT", "LONG", "HEIGHT") for b in ("OFF", "SCALE")}
    path = write(tmp_path / "a.tif", image((40, 50)), geo=scaled({"rpcs": rpcs}, 2))
    with rasterio.open(path) as dataset:
        assert (dataset.rpcs.line_off, dataset.rpcs.line_scale, dataset.rpcs.lat_off) == (25.5, 25, 12.5)
        assert dataset.rpcs.samp_den_coeff == [v / 8 for v in range(20)]


@pytest.mark.parametrize("nodata", [np.nan, -3.4e38, 0.0, np.inf])
def test_nodata_of_floats(tmp_path, nodata):
    path = write(tmp_path / "a.tif", image((20, 30), "float32"), nodata=nodata)
    with rasterio.open(path) as dataset:
        assert_allclose(dataset.nodata, nodata)


def test_a_nodata_that_no_pixel_can_have_is_left_out(tmp_path):
    path = write(tmp_path / "a.tif", image((20, 30), "uint8"), nodata=-9999)
    with rasterio.open(path) as dataset:
        assert dataset.nodata is None


def test_small_values_may_be_bright(tmp_path):
    path = write(tmp_path / "a.tif", image((20, 30)), geo=place() | {"photometric": "miniswhite"})
    assert open_source(path).info.extra["photometric"] == "miniswhite"
    assert_array_equal(open_source(path).read((slice(0, 20), slice(0, 30))), image((20, 30)))


def test_the_same_input_gives_the_same_bytes(tmp_path):
    for name, threads in (("a.tif", 1), ("b.tif", 4)):
        write(
            tmp_path / name,
            image((3, 600, 500)),
            "CYX",
            geo=place(),
            provenance={"b": 1, "a": 2},
            creation=Creation(blocksize=64),
            threads=threads,
        )
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()


@pytest.mark.parametrize("geo", [None, place()])
def test_provenance_comes_back(tmp_path, geo):
    given = {"model": "x2 <\"a\"> & 'b' &quot;", "halo": 24, "map": [0.5, None], "place": "Zürich"}
    path = write(tmp_path / "a.tif", image((20, 30)), geo=geo, provenance=given)
    assert read_provenance(path) == given
    assert read_provenance(write(tmp_path / "b.tif", image((20, 30)), geo=geo)) is None
    tifffile.imwrite(tmp_path / "c.tif", image((20, 30)))
    (tmp_path / "d.tif").write_text("{}")
    assert [read_provenance(tmp_path / f"{n}.tif") for n in "cde"] == [None] * 3


def test_progress_counts_to_the_end(tmp_path):
    seen = []
    write(
        tmp_path / "a.tif",
        image((600, 500)),
        creation=Creation(blocksize=128),
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(k + 1, 26) for k in range(26)]


class Rows:
    """A level without stored pixels that records the largest request."""

    def __init__(self, shape):
        self.shape, self.largest, self.asked = shape, 0, 0

    def __getitem__(self, region):
        block = np.zeros([r.stop - r.start for r in region], "uint16")
        self.largest, self.asked = max(self.largest, block.size), self.asked + block.size
        return block


def test_memory_does_not_grow_with_the_image(tmp_path):
    peaks = []
    for side in (1024, 4096):
        levels = [Rows(shape) for shape in level_shapes((side, side), "YX")]
        tracemalloc.start()
        write_cog(
            tmp_path / "a.tif", levels, axes="YX", dtype=np.dtype("uint16"), creation=Creation(blocksize=256), threads=2
        )
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert all(level.largest == 256 * 256 and level.asked == level.shape[0] ** 2 for level in levels)
    assert peaks[1] < peaks[0] + 500_000
    assert [p.name for p in tmp_path.iterdir()] == ["a.tif"]


def test_hundreds_of_bands_get_smaller_tiles(tmp_path, monkeypatch):
    monkeypatch.setattr(cog, "_LARGEST_TILE", 200 * 2 * 64 * 64)
    path = write(tmp_path / "a.tif", image((200, 100, 70)), "CYX", creation=Creation(blocksize=256))
    with rasterio.open(path) as dataset:
        assert dataset.block_shapes[0] == (48, 48)
        assert_array_equal(dataset.read(), image((200, 100, 70)))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"axes": "TYX"}, "axes 'TYX'"),
        ({"axes": "YXS"}, "shape"),
        ({"levels": []}, "No levels"),
        ({"levels": [np.zeros((20, 30), "u2"), np.zeros((9, 15), "u2")]}, "Level 1"),
        ({"dtype": np.dtype("complex64")}, "complex64"),
        ({"dtype": np.dtype("bool")}, "bool"),
        ({"dtype": np.dtype("uint8")}, "pixels of type uint16"),
        ({"mask_levels": [np.ones((20, 31), bool)]}, "masks"),
    ],
)
def test_images_that_do_not_fit_are_refused(tmp_path, change, match):
    options = {"levels": [np.zeros((20, 30), "u2")], "axes": "YX", "dtype": np.dtype("uint16")} | change
    with pytest.raises(RequestError, match=match):
        write_cog(tmp_path / "a.tif", options.pop("levels"), **options)


@pytest.mark.parametrize(("kind", "stored"), [("PREMULTIPLIED", 1), ("NON-PREMULTIPLIED", 2)])
def test_the_kind_of_opacity_is_kept(kind, stored, tmp_path):
    profile = {"driver": "GTiff", "count": 4, "height": 600, "width": 700, "dtype": "uint8", "photometric": "RGB"}
    with rasterio.open(tmp_path / "a.tif", "w", crs="EPSG:32633", alpha=kind, **profile) as dataset:
        dataset.write(image((4, 600, 700), "uint8"))
    info = open_source(str(tmp_path / "a.tif")).info
    assert info.extra.get("alpha") == ("premultiplied" if stored == 1 else None)
    sink = create_sink(str(tmp_path / "b.tif"), info)
    for region in pieces(info.shape, sink.write_unit):
        sink[region] = np.zeros([part.stop - part.start for part in region], "u1")
    sink.finish({})
    with tifffile.TiffFile(tmp_path / "b.tif") as tiff:
        assert [tuple(map(int, page.extrasamples)) for page in tiff.pages] == [(stored,)] * 2


def corners(dataset):
    rows, columns = dataset.shape
    return [dataset.xy(y, x, offset="ul") for x in (0, columns) for y in (0, rows)]


@pytest.mark.skipif(not GEOTIFFS.is_dir(), reason=f"the shared images are not at {GEOTIFFS}")
@pytest.mark.parametrize("path", sorted(GEOTIFFS.glob("*.tif")), ids=lambda p: p.stem)
def test_real_files_come_back_twice_as_fine(tmp_path, path):
    try:
        source = open_source(str(path))
    except FormatError as error:
        assert "palette" in str(error)  # noqa: PT017
        return
    info = source.info
    if info.dtype.kind == "c":
        pytest.skip("complex pixels are not restored")
    fine = source.read(whole(info)).repeat(2, -1).repeat(2, -2)
    plane = (slice(0, info.size("Y")), slice(0, info.size("X")))
    mask = source.valid_mask(plane)
    masks = None if mask is None else pyramid(mask.repeat(2, 0).repeat(2, 1), "YX")
    out = tmp_path / "fine.tif"
    write_cog(
        out, pyramid(fine, info.axes, info.nodata), axes=info.axes, dtype=info.dtype, nodata=info.nodata,
        geo=scaled(info.extra["geo"], 2), provenance={"from": path.name}, mask_levels=masks,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        old, new = rasterio.open(path), rasterio.open(out)
    with old, new:
        assert_array_equal(new.read(), old.read().repeat(2, -1).repeat(2, -2))
        assert new.crs == old.crs
        if not old.gcps[0]:
            assert_allclose(new.bounds, old.bounds, rtol=1e-13)
            assert_allclose(corners(new), corners(old), rtol=1e-13, atol=1e-9)
        check_metadata(old, new)
        assert_array_equal(new.read_masks(), old.read_masks().repeat(2, -1).repeat(2, -2))
    assert read_provenance(out) == {"from": path.name}
    assert open_source(str(out)).info.format == "GeoTIFF (COG)"


def check_metadata(old, new):
    (old_points, old_crs), (new_points, new_crs) = old.gcps, new.gcps
    assert new_crs == old_crs
    at = np.array([(p.row, p.col, p.x, p.y, p.z) for p in old_points]).reshape(-1, 5)
    assert_allclose(np.array([(p.row, p.col, p.x, p.y, p.z) for p in new_points]).reshape(-1, 5), at * [2, 2, 1, 1, 1])
    for key in ("descriptions", "colorinterp", "scales", "offsets", "units", "nodatavals", "dtypes", "mask_flag_enums"):
        assert str(getattr(new, key)) == str(getattr(old, key)), key  # as text: NaN is not NaN
    for band in range(old.count + 1):
        kept = {k: v for k, v in old.tags(band).items() if not k.startswith(("STATISTICS", "OVR_", "OVERVIEW_"))}
        kept = {k: v for k, v in kept.items() if not k.startswith(("TIFFTAG_XRES", "TIFFTAG_YRES"))}
        assert kept.items() <= new.tags(band).items()
        assert not [k for k in new.tags(band) if k.startswith("STATISTICS")]
