"""TIFF with several images: each one is an output, but not labels and overviews."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import tifffile

from swin2sr_ops.batch.collect import collect, named
from swin2sr_ops.batch.tiff_series import tiff_content
from swin2sr_ops.io.tiff.source import open_source

from .helpers import tif


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_series(path: str, *names: str) -> str:
    with tifffile.TiffWriter(path, ome=True) as writer:
        for k, name in enumerate(names):
            writer.write(np.zeros((6 + k, 8), "u1"), metadata={"Name": name})
    return path


def test_every_series_is_an_output() -> None:
    write_series("two.ome.tif", "first", "second")
    entries = collect(["two.ome.tif"], "out")
    assert [(named(e, 2), e.options) for e in entries] == [
        ("out/two_s0_x2.ome.tif", {"series": 0}),
        ("out/two_s1_x2.ome.tif", {"series": 1}),
    ]
    assert len(tiff_content("two.ome.tif").series) == 2
    (entry,) = collect(["two.ome.tif"], "out", series=1)
    assert (named(entry, 2), entry.options) == ("out/two_x2.ome.tif", {"series": 1})
    (entry,) = collect(["two.ome.tif"], "out.zarr")
    assert (entry.output, entry.options) == ("out.zarr", {"series": 0})
    assert "contains 2 images; the first is used: choose with --series (0 is first, 1 is second)" in entry.note


def test_opening_a_file_of_several_images_warns() -> None:
    """Python collects no sources, and uses the same image as the command line."""
    write_series("slide.ome.tif", "Label", "one", "two")
    with pytest.warns(UserWarning, match=r"contains 2 images; the first is used: .* \(1 is one, 2 is two\)"):
        assert open_source("slide.ome.tif").series == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert open_source("slide.ome.tif", series=2).series == 2


def test_labels_of_slides_are_left_out_with_a_note() -> None:
    write_series("slide.ome.tif", "Label", "slide", "macro image")
    (entry,) = collect(["slide.ome.tif"], "out")
    assert (named(entry, 2), entry.options) == ("out/slide_x2.ome.tif", {"series": 1})
    assert "left out Label, macro image" in entry.note
    (entry,) = collect(["slide.ome.tif"], "out.zarr")
    assert entry.options == {"series": 1}


def test_a_real_slide(shared: Path) -> None:
    content = tiff_content(shared / "data/formats/pyramidal/CMU-1-Small-Region.svs")
    assert content.series == (0,)
    assert content.left_out == ("Thumbnail", "Label", "Macro")


def test_overviews_and_masks_of_geotiff_are_not_images(shared: Path) -> None:
    content = tiff_content(shared / "data/formats/geotiff/cogeo.tif")
    assert (content.series, content.geo) == ((0,), True)


def test_files_of_one_image_are_one_source(shared: Path) -> None:
    """Each file of a multi-file OME-TIFF opens the whole image."""
    folder = shared / "data/formats/ome-tiff/multifile"
    entries = collect([str(folder)], "out")
    sources = {e.source for e in entries}
    assert len(sources) == 1
    assert len(list(folder.iterdir())) > 1
    assert len(entries) == len(tiff_content(next(iter(sources))).series)


def test_a_damaged_tiff_is_one_image() -> None:
    Path("bad.tif").write_bytes(b"II*\0nonsense")
    entries = collect(["bad.tif", tif("a.tif")], "out")
    assert [named(e, 2) for e in entries] == ["out/bad_x2.ome.tif", "out/a_x2.ome.tif"]
