"""Restore every real file into OME-Zarr and OME-TIFF, and check the outputs with independent tools.

Sources and outputs are read by tifffile, zarr-python, yaozarrs and ome-types; what they say must
agree: axes, place (corner points coincide), channels, planes in their order, colours, pyramids.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from numpy.testing import assert_allclose, assert_array_equal

import swin2sr_ops
from swin2sr_ops.engine.restorer import Restorer
from swin2sr_ops.geometry.tiles import source_interval
from tests.conftest import write_model

FORMATS = Path(__file__).parents[3] / "shared" / "data" / "formats"
EXPECTED = json.loads((FORMATS / "expected.json").read_text()) if (FORMATS / "expected.json").is_file() else {}
PALETTE_OR_INK = ("tiff/palette-1c-8b.tiff", "tiff/shapes_lzw_palette.tif", "tiff/cmyk-3c-16b.tiff")
RESTORABLE = ("uint8", "uint16", "int8", "int16", "float16", "float32", "float64")
FOLDERS = ("ome-tiff/", "imagej/", "generated/", "tiff/", "bigtiff/")
TIFFS = [
    name
    for name, known in sorted(EXPECTED.items())
    if known.get("dtype") in RESTORABLE and "tiff_shape" in known and name.startswith(FOLDERS)
    # The other planes of the set are read with the first; alone they are one image each.
    if name not in PALETTE_OR_INK and ("multifile" not in name or "Cycle00001_Ch1_000001" in name)
]
ZARRS = [
    name
    for name, known in sorted(EXPECTED.items())
    if "arrays" in known
    if name.startswith(("generated/cyx", "generated/zyx", "generated/tcz", "ome-zarr/blobs", "ome-zarr/ngio"))
]
SVS = "pyramidal/CMU-1-Small-Region.svs"
RANGE = (0.0, 4000.0)
UNITS = {"µm": "micrometer", "um": "micrometer", "nm": "nanometer", "mm": "millimeter", "s": "second", "min": "minute"}

pytestmark = [
    pytest.mark.skipif(not EXPECTED, reason=f"the shared images are not at {FORMATS}"),
    pytest.mark.filterwarnings("ignore"),
]


@dataclass
class Facts:
    """Facts about an image by an independent tool: letters of axes longer than 1, and metadata per letter."""

    sizes: dict[str, int]
    spacing: dict[str, float] = field(default_factory=dict)
    origin: dict[str, float] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    names: list[str | None] = field(default_factory=list)
    colors: list[str | None] = field(default_factory=list)
    windows: list[Any] = field(default_factory=list)

    def corner(self, axis: str) -> float:
        """Return the image's start: half a pixel before the centre of its first pixel."""
        return self.origin.get(axis, 0.0) - self.spacing.get(axis, 1.0) / 2

    def end(self, axis: str) -> float:
        """Where it ends."""
        return self.corner(axis) + self.sizes[axis] * self.spacing.get(axis, 1.0)


def sizes_of(axes: str, shape: tuple[int, ...]) -> dict[str, int]:
    """Lengths by letter, colours as channels, a sequence of unknown kind as time."""
    letters = axes.translate(str.maketrans("SIQ", "CTT"))
    return {a: n for a, n in zip(letters, shape, strict=True) if n > 1 or a in "YX"}


# --- reading, with other people's tools -----------------------------------------------------------


def ome_tiff_facts(tiff: tifffile.TiffFile) -> Facts:
    series = tiff.series[0]
    facts = Facts(sizes_of(series.axes, series.shape))
    image = tifffile.xml2dict(tiff.ome_metadata)["OME"]["Image"]
    pixels = (image[0] if isinstance(image, list) else image)["Pixels"]
    for axis, key in (("X", "PhysicalSizeX"), ("Y", "PhysicalSizeY"), ("Z", "PhysicalSizeZ"), ("T", "TimeIncrement")):
        if key in pixels:
            facts.spacing[axis] = float(pixels[key])
            unit = pixels.get(key + "Unit", "s" if axis == "T" else "µm")
            facts.units |= {} if unit == "pixel" else {axis: UNITS[unit]}
    planes = pixels.get("Plane", [])
    for plane in planes[:1] if isinstance(planes, list) else [planes]:
        for axis in "XYZ":
            # Without a unit a position is one of the "reference frame", not of the axis.
            if f"Position{axis}Unit" in plane:
                facts.origin[axis] = float(plane[f"Position{axis}"])
    channels = pixels["Channel"] if isinstance(pixels["Channel"], list) else [pixels["Channel"]]
    facts.names = [str(c["Name"]) if "Name" in c else None for c in channels]
    facts.colors = [f"{(int(c['Color']) & 0xFFFFFFFF) >> 8:06X}" if "Color" in c else None for c in channels]
    return facts


def imagej_facts(tiff: tifffile.TiffFile) -> Facts:
    series, metadata, page = tiff.series[0], tiff.imagej_metadata, tiff.pages[0]
    facts = Facts(sizes_of(series.axes, series.shape))
    unit = str(metadata.get("unit", "")).replace("\\u00B5", "µ").replace("micron", "µm")
    if UNITS.get(unit):
        for axis in "XY":
            over, under = page.tags[f"{axis}Resolution"].value
            facts.spacing[axis] = under / over
        if "spacing" in metadata:
            facts.spacing["Z"] = float(metadata["spacing"])
        facts.units = dict.fromkeys(facts.spacing, UNITS[unit])
    if "finterval" in metadata:
        facts.spacing["T"] = float(metadata["finterval"])
        facts.units["T"] = "second"
    ranges = metadata.get("Ranges", ())
    facts.windows = list(zip(ranges[::2], ranges[1::2], strict=True))
    return facts


def tiff_facts(path: Path) -> Facts:
    with tifffile.TiffFile(path) as tiff:
        if tiff.is_ome:
            return ome_tiff_facts(tiff)
        if tiff.is_imagej:
            return imagej_facts(tiff)
        return Facts(sizes_of(tiff.series[0].axes, tiff.series[0].shape))


def zarr_facts(path: Path, level: int = 0) -> Facts:
    group = zarr.open_group(path, mode="r")
    image = group.attrs.asdict().get("ome", group.attrs.asdict())
    multiscale = image["multiscales"][0]
    dataset = multiscale["datasets"][level]
    letters = "".join(axis["name"].upper() for axis in multiscale["axes"])
    facts = Facts(sizes_of(letters, group[dataset["path"]].shape))
    spacing, shift = np.ones(len(letters)), np.zeros(len(letters))
    outer = multiscale.get("coordinateTransformations", ())
    for transform in [*dataset["coordinateTransformations"], *outer]:
        if transform["type"] == "scale":
            spacing, shift = spacing * transform["scale"], shift * transform["scale"]
        elif transform["type"] == "translation":
            shift = shift + transform["translation"]
    placed = [(i, a) for i, a in enumerate(letters) if a != "C"]
    facts.spacing = {a: float(spacing[i]) for i, a in placed}
    facts.origin = {a: float(shift[i]) for i, a in placed}
    facts.units = {a["name"].upper(): a["unit"] for a in multiscale["axes"] if a.get("unit", "unit") != "unit"}
    for channel in image.get("omero", {}).get("channels", ()):
        window = channel.get("window")
        facts.names.append(str(channel["label"]))
        facts.colors.append(channel.get("color"))
        facts.windows.append(window and (window["start"], window["end"]))
    return facts


def pixels_of(path: Path, level: int = 0) -> tuple[str, np.ndarray]:
    """Axes longer than 1 and all pixels, colours last where the source has them so."""
    if path.suffix == ".zarr":
        group = zarr.open_group(path, mode="r")
        attributes = group.attrs.asdict().get("ome", group.attrs.asdict())
        multiscale = attributes["multiscales"][0]
        axes = "".join(a["name"].upper() for a in multiscale["axes"])
        pixels = group[multiscale["datasets"][level]["path"]][:]
    else:
        with tifffile.TiffFile(path) as tiff:
            series = tiff.series[0].levels[level]
            axes, pixels = series.axes.translate(str.maketrans("IQ", "TT")), series.asarray()
    keep = [i for i, (a, n) in enumerate(zip(axes, pixels.shape, strict=True)) if n > 1 or a in "YX"]
    return "".join(axes[i] for i in keep), pixels.reshape([pixels.shape[i] for i in keep])


def plane_of(path: Path, axes: str, where: dict[str, int]) -> np.ndarray:
    """One plane, Y and X first, and colours last if ``axes`` has them."""
    found, pixels = pixels_of(path)
    found = found.replace("S", "C")
    wanted = axes.replace("S", "C")
    leading = tuple(a for a in found if a not in wanted)
    pixels = pixels.transpose([found.index(a) for a in (*leading, *wanted)])
    return pixels[tuple(where[a] for a in leading)]


# --- restoring ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    tiny = {"dim": 4, "depths": (1,), "heads": (1,), "num_feat": 4}
    return {n: write_model(folder / f"{n}.safetensors", channels=n, **tiny) for n in (1, 3)}


def is_colour(name: str) -> bool:
    known = EXPECTED[name]
    if "S" not in known.get("axes", ""):
        return False
    return known["tiff_shape"][known["axes"].index("S")] in (3, 4) and known.get("channels") != "bands"


def restored(name, folder, models, suffix):
    target = folder / f"restored{suffix}"
    model = models[3 if is_colour(name) else 1]
    swin2sr_ops.restore_image(FORMATS / name, target, model=model, range=RANGE, device="cpu")
    return target


def check_place(source: Facts, result: Facts, *, time_unit: bool = True, placed: bool = True) -> None:
    doubled = {a: n * 2 if a in "YX" else n for a, n in source.sizes.items()}
    assert result.sizes == doubled
    for axis in "YX":
        assert_allclose(result.spacing[axis], source.spacing.get(axis, 1.0) / 2, rtol=1e-6)
        if placed:
            assert_allclose([result.corner(axis), result.end(axis)], [source.corner(axis), source.end(axis)], rtol=1e-6)
        else:
            assert axis not in result.origin
    for axis in "ZT":
        if axis in source.spacing and axis in source.sizes and (axis == "Z" or time_unit):
            assert_allclose(result.spacing[axis], source.spacing[axis])
    for axis, unit in source.units.items():
        if axis in source.sizes:
            assert result.units[axis] == unit


def check_channels(source: Facts, result: Facts) -> None:
    for given, written in ((source.names, result.names), (source.colors, result.colors)):
        for old, new in zip(given, written, strict=False):
            assert old is None or new == old
    if "C" in source.sizes:
        assert len(result.names) in (0, 1, source.sizes["C"])


def check_plane(name, path, target, models) -> None:
    """A plane amid the result is what the network makes of that plane of the source."""
    source = tiff_facts(path) if path.suffix != ".zarr" else zarr_facts(path)
    axes = "YXS" if is_colour(name) else "YX"
    where = {a: (n - 1 if a in "CT" else n // 2) for a, n in source.sizes.items()}
    model = models[3 if is_colour(name) else 1]
    plane = plane_of(path, axes, where)
    alone = swin2sr_ops.restore(plane, model=model, axes=axes, range=RANGE, device="cpu")
    assert_array_equal(plane_of(target, axes, where), alone)


def check_tiff_layout(target: Path, *, colour: bool) -> None:
    with tifffile.TiffFile(target) as tiff:
        series, page = tiff.series[0], tiff.pages.first
        assert page.is_tiled
        assert page.compression == tifffile.COMPRESSION.ADOBE_DEFLATE
        assert (page.photometric == tifffile.PHOTOMETRIC.RGB) == colour == ("S" in series.axes)
        assert int(page.subfiletype) == 0
        for level in series.levels[1:]:
            assert all(int(p.aspage().subfiletype) == 1 for p in level.pages)


def check_pyramid(target: Path, levels: int) -> None:
    """Halved until no side is longer than 512; every level the mean of 2 x 2 of the one before."""
    fine_axes, fine = pixels_of(target)
    for k in range(1, levels):
        axes, coarse = pixels_of(target, k)
        y, x = axes.index("Y"), axes.index("X")
        rows, columns = fine.shape[y] // 2, fine.shape[x] // 2
        assert coarse.shape[y] == -(-fine.shape[y] // 2)
        even = fine.take(range(2 * rows), y).take(range(2 * columns), x).astype("f4")
        mean = sum(
            even.take(range(i, 2 * rows, 2), y).take(range(j, 2 * columns, 2), x) for i in (0, 1) for j in (0, 1)
        )
        found = coarse.take(range(rows), y).take(range(columns), x)
        tolerance = 0.51 if found.dtype.kind in "iu" else 1e-3 * max(1, np.nanmax(np.abs(found)))
        if not np.isnan(even).any():
            assert_allclose(found, mean / 4, atol=tolerance)
        fine_axes, fine = axes, coarse
    y, x = fine_axes.index("Y"), fine_axes.index("X")
    assert max(fine.shape[y], fine.shape[x]) <= 512


def validated_ome(target: Path) -> None:
    """By the schema, where its validator is installed."""
    ome_types = pytest.importorskip("ome_types")
    with tifffile.TiffFile(target) as tiff:
        xml = tiff.ome_metadata
    image = ome_types.from_xml(xml).images[0]
    assert image.pixels.tiff_data_blocks
    schema_of(Path(ome_types.__file__).parent / "ome-2016-06.xsd").validate(xml)


@cache
def schema_of(path: Path) -> Any:
    return pytest.importorskip("xmlschema").XMLSchema(path)


@pytest.mark.parametrize("name", TIFFS + ZARRS)
def test_to_ome_zarr(name, tmp_path, models):
    yaozarrs = pytest.importorskip("yaozarrs")
    path = FORMATS / name
    target = restored(name, tmp_path, models, ".ome.zarr")
    yaozarrs.validate_zarr_store(str(target))
    source = zarr_facts(path) if path.suffix == ".zarr" else tiff_facts(path)
    result = zarr_facts(target)
    check_place(source, result)
    check_channels(source, result)
    for old, new in zip(source.windows, result.windows, strict=False):
        assert old is None or new == old
    check_plane(name, path, target, models)
    levels = len(zarr.open_group(target, mode="r").attrs["ome"]["multiscales"][0]["datasets"])
    check_pyramid(target, levels)
    for k in range(levels):
        coarse = zarr_facts(target, k)
        assert_allclose([coarse.corner(a) for a in "YX"], [result.corner(a) for a in "YX"], atol=1e-9)


@pytest.mark.parametrize("name", TIFFS + ZARRS)
def test_to_ome_tiff(name, tmp_path, models):
    path = FORMATS / name
    half = (
        EXPECTED[name].get("dtype") == "float16"
    )  # OME has no such type: pixel size and origin are in tifffile's own metadata
    target = restored(name, tmp_path, models, ".tif" if half else ".ome.tif")
    source = zarr_facts(path) if path.suffix == ".zarr" else tiff_facts(path)
    check_plane(name, path, target, models)
    if half:
        return
    with tifffile.TiffFile(target) as tiff:
        result, levels = ome_tiff_facts(tiff), len(tiff.series[0].levels)
    # The frame of a position without a unit is unknown.
    check_place(source, result, time_unit="T" in source.units, placed="multifile" not in name)
    check_channels(source, result)
    check_tiff_layout(target, colour=is_colour(name))
    check_pyramid(target, levels)
    validated_ome(target)


def test_a_slide_keeps_its_place_and_pyramid(tmp_path, models, monkeypatch):
    """Real size, so the network is left out: every pixel twice."""

    def twice(self, block, order, tile, maps, nodata=None, valid=None):
        for axis, span in ((order.y, tile.y), (order.x, tile.x)):
            first = span.start - source_interval(span)[0]
            block = block.take(range(first, first + span.stop - span.start), axis).repeat(2, axis)
        return block

    monkeypatch.setattr(Restorer, "restore_tile", twice)
    target = tmp_path / "slide.ome.tif"
    swin2sr_ops.restore_image(FORMATS / SVS, target, model=models[3], device="cpu")
    with tifffile.TiffFile(target) as tiff:
        result, levels = ome_tiff_facts(tiff), tiff.series[0].levels
        sizes = [level.shape[:2] for level in levels]
        assert sizes == [(-(-5934 // 2**k), -(-4440 // 2**k)) for k in range(5)]
        assert all(int(level.pages[0].subfiletype) == 1 for level in levels[1:])
        half = levels[1].asarray()
    assert_allclose([result.spacing["Y"], result.spacing["X"]], 0.499 / 2)
    assert result.units == {"Y": "micrometer", "X": "micrometer"}
    assert_array_equal(half, tifffile.imread(FORMATS / SVS, series=0))
