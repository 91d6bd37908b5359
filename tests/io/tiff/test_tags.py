"""Tags of plain TIFFs that outputs keep: kind of opacity, orientation, texts and date."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from swin2sr_ops.io.base import ImageInfo
from swin2sr_ops.io.tiff.sink import create_sink
from swin2sr_ops.io.tiff.source import open_source
from swin2sr_ops.io.zarr.sink import create_sink as create_zarr
from swin2sr_ops.testing import pieces
from tests.io.tiff.test_ome import valid


def info_of(path: Path) -> ImageInfo:
    source = open_source(str(path))
    assert source is not None
    return source.info


def written(path: Path, source: Path) -> Path:
    """Write an output of the metadata of ``source``."""
    info = info_of(source).scaled(2)
    sink = create_sink(str(path), info)
    assert sink is not None
    for region in pieces(info.shape, sink.write_unit):
        sink[region] = np.zeros([part.stop - part.start for part in region], info.dtype)
    sink.finish({})
    return path


def saved(path: Path, shape: tuple[int, ...] = (20, 30), dtype: str = "u1", **options: Any) -> Path:
    tifffile.imwrite(path, np.zeros(shape, dtype), **{"metadata": None, **options})
    return path


@pytest.mark.parametrize(("kind", "stored"), [("assocalpha", 1), ("unassalpha", 2)])
@pytest.mark.parametrize("dtype", ["u1", "f2"])
def test_the_kind_of_opacity_is_kept(kind: str, stored: int, dtype: str, tmp_path: Path) -> None:
    path = saved(tmp_path / "a.tif", (300, 400, 4), dtype, photometric="rgb", extrasamples=[kind])
    with tifffile.TiffFile(written(tmp_path / "b.tif", path)) as tiff:
        page = tiff.pages.first
        pages = [page, *(page.pages or ())]
        assert [tuple(map(int, one.extrasamples)) for one in pages] == [(stored,)] * (1 if dtype == "f2" else 2)


def test_colours_times_opacity_get_a_note_where_it_is_not_kept(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.tif", (20, 30, 4), photometric="rgb", extrasamples=["assocalpha"])
    with pytest.warns(UserWarning, match="premultiplied alpha.*write .tif"):
        create_zarr(str(tmp_path / "a.zarr"), info_of(path)).abort()
    more = saved(tmp_path / "b.tif", (20, 30, 5), photometric="rgb", extrasamples=["assocalpha", "unspecified"])
    with pytest.warns(UserWarning, match="premultiplied alpha.*separate channels"):
        create_sink(str(tmp_path / "c.tif"), info_of(more)).abort()


@pytest.mark.parametrize("dtype", ["u1", "f2"])
def test_the_orientation_stays_a_tag(dtype: str, tmp_path: Path) -> None:
    path = saved(tmp_path / "a.tif", (300, 400), dtype, extratags=[(274, "H", 1, 6, True)])
    with tifffile.TiffFile(written(tmp_path / "b.tif", path)) as tiff:
        assert tiff.pages.first.tags.valueof(274) == 6
        assert tiff.pages.first.shape == (600, 800)
    with pytest.warns(UserWarning, match=r"turned or mirrored \(TIFF orientation 6\)"):
        create_zarr(str(tmp_path / "a.zarr"), info_of(path)).abort()
    assert "orientation" not in info_of(saved(tmp_path / "c.tif", extratags=[(274, "H", 1, 1, True)])).extra


@pytest.mark.parametrize("own", [None, {"axes": "YX"}], ids=["plain", "tifffile"])
def test_texts_and_date_become_those_of_ome(own: dict[str, str] | None, tmp_path: Path) -> None:
    tags = {"description": "HeLa, fixed", "datetime": "2024:01:02 03:04:05", "software": "Camera 3", "metadata": own}
    path = saved(tmp_path / "a.tif", extratags=[(315, "s", 0, "A. Person", True)], **tags)
    expected = {"Description": "HeLa, fixed\nSoftware: Camera 3\nArtist: A. Person"}
    expected["AcquisitionDate"] = "2024-01-02T03:04:05"
    assert info_of(path).extra["ome"] == expected
    with tifffile.TiffFile(written(tmp_path / "b.tif", path)) as tiff:
        image = valid(tiff.ome_metadata).images[0]
    assert image.description == expected["Description"]
    assert image.acquisition_date.isoformat() == expected["AcquisitionDate"]
    assert info_of(tmp_path / "b.tif").extra["ome"] == expected


def test_texts_and_date_without_ome(tmp_path: Path) -> None:
    tags = {"description": "HeLa, µm".encode(), "datetime": "2024:01:02 03:04:05"}
    written(tmp_path / "b.tif", saved(tmp_path / "a.tif", dtype="f2", **tags))
    assert info_of(tmp_path / "b.tif").extra["ome"] == {
        "Description": "HeLa, µm", "AcquisitionDate": "2024-01-02T03:04:05",
    }  # fmt: skip


def test_a_date_that_tiff_cannot_store_is_left_out(tmp_path: Path) -> None:
    old = {"ome": {"AcquisitionDate": "-2024-01-02T03:04:05"}}
    info = replace(info_of(saved(tmp_path / "a.tif", dtype="f2")), extra=old)
    sink = create_sink(str(tmp_path / "b.tif"), info)
    assert sink is not None
    sink.finish({})
    assert "ome" not in info_of(tmp_path / "b.tif").extra


def test_texts_of_programs_are_no_descriptions(tmp_path: Path) -> None:
    assert "ome" not in info_of(saved(tmp_path / "a.tif", metadata={"axes": "YX"})).extra
    tifffile.imwrite(tmp_path / "b.tif", np.zeros((20, 30), "u1"), imagej=True, metadata={"Info": "day 3"})
    assert info_of(tmp_path / "b.tif").extra["ome"] == {"Description": "day 3"}
    assert "ome" not in info_of(saved(tmp_path / "c.tif", datetime="0000:00:00 00:00:00")).extra
