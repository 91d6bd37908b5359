"""Collect the sources that a request names, and choose the output of each."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import tifffile
import zarr
from PIL import Image

from swin2sr_ops.batch.collect import Entry, collect, named
from swin2sr_ops.batch.sources import find
from swin2sr_ops.errors import OutputError, RequestError
from swin2sr_ops.io.storage.paths import natural_key

from .helpers import PIXELS, image_zarr, plate_zarr, raster, tif


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def pairs(*sources: str, dst: str | None = "out", **options: object) -> list[tuple[str, str]]:
    """Sources and outputs, at scale 2."""
    return [(e.source, named(e, 2)) for e in collect(sources, dst, **options)]  # type: ignore[arg-type]


# --- one image -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dst", ["b.zarr", "b.ome.zarr", "b.tif", "b.OME.TIFF", "b.png"])
def test_one_image_into_one_file(dst: str) -> None:
    assert collect([tif("a.tif")], dst) == [Entry("a.tif", dst)]


def test_opening_reports_a_missing_image() -> None:
    assert collect(["missing.tif"], "b.zarr") == [Entry("missing.tif", "b.zarr")]


def test_writing_reports_an_unknown_suffix() -> None:
    assert collect([tif("a.tif")], "b.xyz") == [Entry("a.tif", "b.xyz")]


def test_options_go_with_the_image() -> None:
    (entry,) = collect([tif("a.tif")], "b.tif", axes="YX", level=0, series=0)
    assert entry.options == {"axes": "YX", "level": 0, "series": 0}


def test_a_sample() -> None:
    assert pairs("sample:cells", dst="cells.png") == [("sample:cells", "cells.png")]
    assert pairs("sample:cells", "sample:photo") == [
        ("sample:cells", "out/cells_x2.ome.tif"),
        ("sample:photo", "out/photo_x2.png"),
    ]


# --- names ------------------------------------------------------------------------------------------


def test_the_scale_is_in_the_name() -> None:
    entry = Entry("a.tif", "out/a", ending=".ome.tif")
    assert named(entry, 4) == "out/a_x4.ome.tif"
    assert named(entry, 1) == "out/a_restored.ome.tif"
    assert named(Entry("a.tif", "b.tif"), 4) == "b.tif"


@pytest.mark.parametrize("format", ["same", "tiff", "cog"])
def test_rasters_keep_their_georeference(format: str) -> None:
    """Every source with a georeference becomes a COG, because PNG and OME-TIFF cannot store it."""
    pytest.importorskip("rasterio")
    Path(tif("world.tif")).with_suffix(".tfw").write_text("10\n0\n0\n-10\n399965\n5399995\n")
    raster("scene.jp2", "JP2OpenJPEG")
    raster("model.img", "HFA")
    sources = ("scene.jp2", "world.tif", "model.img", "https://host/far.jp2")
    found = [out for _, out in pairs(*sources, format=format)]
    assert found == ["out/scene_x2.tif", "out/world_x2.tif", "out/model_x2.tif", "out/far_x2.tif"]
    assert pairs("scene.jp2", "world.tif", format="zarr")[0] == ("scene.jp2", "out/scene_x2.ome.zarr")
    assert pairs(tif("plain.tif"), "missing.jp2")[0][1] == "out/plain_x2.ome.tif"


def test_formats() -> None:
    Image.new("L", (8, 6)).save("p.jpg")
    tif("a.ome.tif")
    tif("geo.tif", extratags=[(34735, "H", 4, (1, 1, 0, 0), True)])  # GeoKeyDirectory
    tifffile.imwrite("half.tif", PIXELS.astype("f2"))
    image_zarr("z.ome.zarr")
    sources = ("p.jpg", "a.ome.tif", "geo.tif", "half.tif", "z.ome.zarr")
    assert [out for _, out in pairs(*sources)] == [
        "out/p_x2.png",
        "out/a_x2.ome.tif",
        "out/geo_x2.tif",
        "out/half_x2.tif",  # OME-XML has no name for its type
        "out/z_x2.ome.zarr",
    ]
    assert {out[-9:] for _, out in pairs(*sources, format="zarr")} == {".ome.zarr"}
    assert {Path(out).suffix for _, out in pairs(*sources, format="cog")} == {".tif"}
    assert [Path(out).name for _, out in pairs(*sources[:3], format="tiff")] == [
        "p_x2.ome.tif",
        "a_x2.ome.tif",
        "geo_x2.tif",
    ]
    with pytest.raises(RequestError, match="format='jpeg' is not one of same, zarr"):
        collect(["p.jpg"], "out", format="jpeg")
    with pytest.raises(RequestError, match=r"'b.zarr' does not fit format='tiff'"):
        collect(["p.jpg"], "b.zarr", format="tiff")
    assert pairs("geo.tif", dst="b.tif", format="cog") == [("geo.tif", "b.tif")]


def test_names_of_images_inside_a_zarr() -> None:
    plate_zarr("p.ome.zarr")
    assert pairs("p.ome.zarr/A/1/0", "p.ome.zarr/A/1/1") == [
        ("p.ome.zarr/A/1/0", "out/p_A_1_0_x2.ome.zarr"),
        ("p.ome.zarr/A/1/1", "out/p_A_1_1_x2.ome.zarr"),
    ]
    assert [source for source, _ in pairs("p.ome.zarr/A/*/*")] == ["p.ome.zarr/A/1/0", "p.ome.zarr/A/1/1"]


# --- folders, globs, lists ----------------------------------------------------------------------------


@pytest.fixture
def scans(folder: Path) -> Path:
    """Write images of several kinds into folders, together with files that are not images."""
    for name in ("f10.tif", "f2.tif", "deep/er/c.tiff", ".hidden.tif", "old.tif.partial/x.tif", "deep/f2.tif"):
        tif(f"scans/{name}")
    image_zarr("scans/deep/z.zarr")
    zarr.create_array("scans/bare", data=PIXELS)  # its content makes it a Zarr
    tif("scans/deep/z.zarr/labels/inside.tif")
    Path("scans/notes.txt").write_text("no image")
    Path("scans/f2.tif.lock").write_text("")
    return folder / "scans"


def test_a_folder(scans: Path) -> None:
    """All images below it are found, in natural order; a Zarr is one image, not a folder."""
    assert pairs("scans") == [
        ("scans/bare", "out/bare_x2.ome.zarr"),
        ("scans/deep/er/c.tiff", "out/deep/er/c_x2.ome.tif"),
        ("scans/deep/f2.tif", "out/deep/f2_x2.ome.tif"),
        ("scans/deep/z.zarr", "out/deep/z_x2.ome.zarr"),
        ("scans/f2.tif", "out/f2_x2.ome.tif"),
        ("scans/f10.tif", "out/f10_x2.ome.tif"),
    ]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("scans/*.tif", {"f2_x2.ome.tif", "f10_x2.ome.tif"}),
        ("scans/f?.tif", {"f2_x2.ome.tif"}),
        ("scans/**/*.tif", {"f2_x2.ome.tif", "f10_x2.ome.tif", "deep/f2_x2.ome.tif"}),
        ("scans/*/f[12].tif", {"deep/f2_x2.ome.tif"}),
        ("scans/**/er/*", {"deep/er/c_x2.ome.tif"}),
        ("scans/*", {"f2_x2.ome.tif", "f10_x2.ome.tif", "bare_x2.ome.zarr"}),
        ("scans/**/*.zarr", {"deep/z_x2.ome.zarr"}),
    ],
)
def test_a_pattern(scans: Path, pattern: str, found: set[str]) -> None:
    assert {out.removeprefix("out/") for _, out in pairs(pattern)} == found


def test_a_folder_named_like_a_pattern_is_searched_itself(tmp_path: Path) -> None:
    for name in ("scan[1]", "scan1"):
        (tmp_path / name).mkdir()
        tif(str(tmp_path / name / "a.tif"))
    for pattern in ("*.tif", "**/*.tif"):
        found = find([str(tmp_path / "scan[1]" / pattern)])
        assert [source.uri for source in found] == [str(tmp_path / "scan[1]" / "a.tif")]
        assert found[0].root == str(tmp_path / "scan[1]")


def test_a_pattern_means_what_it_names(scans: Path) -> None:
    """A pattern decides that `*.dat` are images; an existing file with a bracket in its name is not a pattern."""
    Path("scans/raw.dat").write_bytes(b"")
    assert pairs("scans/*.dat") == [("scans/raw.dat", "out/raw_x2.ome.zarr")]
    tif("scans/f[2].tif")
    assert pairs("scans/f[2].tif", dst="x.tif") == [("scans/f[2].tif", "x.tif")]


def test_several_sources_keep_their_place_below_the_common_folder(scans: Path) -> None:
    assert [out for _, out in pairs("scans/f2.tif", "scans/deep/f2.tif")] == [
        "out/f2_x2.ome.tif",
        "out/deep/f2_x2.ome.tif",
    ]
    assert [out for _, out in pairs("scans/deep/er", "scans/deep/f2.tif")] == [
        "out/er/c_x2.ome.tif",
        "out/f2_x2.ome.tif",
    ]


def test_each_source_once(scans: Path) -> None:
    assert len(pairs("scans/f2.tif", "scans/*.tif", "./scans/f2.tif", str(scans / "f2.tif"))) == 2


def test_a_list_file(scans: Path, folder: Path) -> None:
    Path("scans/list.txt").write_text("# two images\nf2.tif\n\n  deep/*.tif  \n")
    expected = [("scans/f2.tif", "out/f2_x2.ome.tif"), ("scans/deep/f2.tif", "out/deep/f2_x2.ome.tif")]
    assert pairs("@scans/list.txt") == expected
    assert pairs(list_files=["scans/list.txt"]) == expected


@pytest.mark.parametrize(
    ("text", "says"),
    [(None, "cannot be read"), ("# nothing\n", "names no source"), ("@other.txt\n", "names another list")],
)
def test_a_bad_list_file(text: str | None, says: str) -> None:
    if text is not None:
        Path("list.txt").write_text(text)
    with pytest.raises(RequestError, match=says):
        collect(["@list.txt"], "out")


def test_natural_order() -> None:
    assert sorted(["f10", "f2", "f1b", "g", "1"], key=natural_key) == ["1", "f1b", "f2", "f10", "g"]


@pytest.mark.parametrize(
    ("sources", "says"),
    [
        ([], "No source was given"),
        (["nothing/*.tif"], "No image matches 'nothing/"),
        (["memory://nothing/*.zarr"], "No image matches"),
        (["scans/empty"], "contains no images"),
    ],
)
def test_nothing_found(scans: Path, sources: list[str], says: str) -> None:
    Path("scans/empty").mkdir()
    with pytest.raises(RequestError, match=says):
        collect(sources, "out")


# --- archives ---------------------------------------------------------------------------------------


def test_a_plate_is_one_entry() -> None:
    plate_zarr("p.zarr")
    assert collect(["p.zarr"], "q.zarr") == [Entry("p.zarr", "q.zarr", collection=True)]
    (entry,) = collect(["p.zarr"], "out")
    assert entry.collection
    assert named(entry, 2) == "out/p_x2.ome.zarr"
    with pytest.raises(RequestError, match=r"many images: its output must end with \.zarr"):
        collect(["p.zarr"], "q.tif")
    with pytest.raises(RequestError, match="becomes a Zarr, not png"):
        collect(["p.zarr"], "out", format="png")
    (entry,) = collect(["p.zarr"], "q.tif", array="A/1/0")
    assert not entry.collection


def test_one_image_in_a_zarr_is_not_an_archive() -> None:
    image_zarr("z.zarr")
    zarr.create_group("lone.zarr").create_array("deep", data=PIXELS)
    assert [e.collection for e in collect(["z.zarr", "lone.zarr"], "out")] == [False, False]


# --- outputs that do not fit --------------------------------------------------------------------------


def test_two_sources_of_one_output() -> None:
    with pytest.raises(RequestError, match=r"'a\.tif' and 'a\.tiff' would both become 'out/a\.ome\.tif'"):
        collect([tif("a.tif"), tif("a.tiff")], "out")


@pytest.mark.parametrize("dst", ["b.zarr", "b.tif", "b.jpg"])
def test_many_sources_do_not_fit_one_file(dst: str) -> None:
    with pytest.raises(RequestError, match="names one output, but there are 2 sources"):
        collect([tif("a.tif"), tif("c.tif")], dst)


def test_the_folder_above_must_exist() -> None:
    with pytest.raises(OutputError, match="does not exist: create it first"):
        collect([tif("a.tif")], "no/where")
    Path("file").write_text("")
    with pytest.raises(OutputError, match="'file' is a file"):
        collect([tif("a.tif")], "file")


def test_outputs_never_go_where_sources_are_searched(scans: Path) -> None:
    for source in ("scans", "scans/*.tif", "scans/**/*.tif"):
        with pytest.raises(OutputError, match="is also searched for sources"):
            collect([source], "scans")
    image_zarr("a.zarr")
    with pytest.raises(OutputError, match="lies in the input"):
        collect(["a.zarr", "scans"], "a.zarr/out")


def test_an_output_folder_inside_is_not_a_source(scans: Path) -> None:
    before = pairs("scans")
    tif("scans/out/f2_x2.ome.tif")
    for source in ("scans", "scans/**/*.tif", "scans/*/*.tif"):
        assert not [s for s, _ in pairs(source, dst="scans/out") if s.startswith("scans/out")]
    assert len(pairs("scans", dst="scans/out")) == len(before)


def test_a_folder_below_the_output_is_searched(scans: Path) -> None:
    assert pairs("scans/deep/er", dst="scans") == [("scans/deep/er/c.tiff", "scans/c_x2.ome.tif")]


def test_a_plan_needs_no_output(scans: Path) -> None:
    assert pairs("scans/f2.tif", dst=None) == [("scans/f2.tif", "")]
    assert pairs("scans/*.tif", dst=None) == [("scans/f2.tif", ""), ("scans/f10.tif", "")]
    assert len(pairs(tif("scans/f2.tiff"), "scans/f2.tif", dst=None)) == 2


# --- elsewhere ----------------------------------------------------------------------------------------


def test_urls() -> None:
    fsspec = pytest.importorskip("fsspec")
    store = fsspec.filesystem("memory")
    for name in ("a", "b", "deep/c"):
        store.pipe(f"/urls/{name}.zarr/zarr.json", b"{}")
    found = pairs("memory://urls/*.zarr", dst="memory://there")
    assert [(s.rsplit("/", 1)[1], out) for s, out in found] == [
        ("a.zarr", "memory://there/a_x2.ome.zarr"),
        ("b.zarr", "memory://there/b_x2.ome.zarr"),
    ]
    assert pairs("memory://urls/a.zarr", "memory://urls/deep/c.zarr") == [
        ("memory://urls/a.zarr", "out/a_x2.ome.zarr"),
        ("memory://urls/deep/c.zarr", "out/deep/c_x2.ome.zarr"),
    ]
    assert pairs("memory://urls/a.zarr", dst="memory://b.zarr") == [("memory://urls/a.zarr", "memory://b.zarr")]
    store.rm("/urls", recursive=True)


@pytest.mark.skipif(os.sep != "/", reason="a drive may be a memory card of images")
@pytest.mark.parametrize("line", ["/", "//", "/tmp/..", "up", "/**/*.tif"])
def test_the_whole_file_system_is_not_searched(line: str, tmp_path: Path) -> None:
    (tmp_path / "up").symlink_to("/")
    (tmp_path / "list.txt").write_text(f"{line}\n")
    with pytest.raises(RequestError, match="asks to search the whole file system: name a folder of images"):
        collect([f"@{tmp_path / 'list.txt'}"], str(tmp_path / "out"))
