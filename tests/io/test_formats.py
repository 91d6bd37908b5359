"""Each source and output gets its format, without loading other formats' libraries."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from swin2sr_ops.errors import FormatError, RequestError
from swin2sr_ops.hooks.dispatch import create_sink, open_source
from swin2sr_ops.io.base import ImageInfo
from swin2sr_ops.io.picture import PictureSource, PngSink
from swin2sr_ops.io.tiff.sink import TiffSink
from swin2sr_ops.io.tiff.source import TiffSource
from swin2sr_ops.io.zarr.sink import ZarrSink
from swin2sr_ops.io.zarr.source import ZarrSource

IMAGE = np.ones((20, 30), "u1")
INFO = ImageInfo(shape=(20, 30), axes="YX", dtype=np.dtype("u1"), chunks=(20, 30))
MODULES = sorted(path.stem for path in (Path(__file__).parents[2] / "swin2sr_ops" / "io").glob("[a-z]*.py"))


def test_sources_by_content(tmp_path):
    zarr.save_array(str(tmp_path / "a"), IMAGE)
    tifffile.imwrite(tmp_path / "b", IMAGE)
    Image.fromarray(IMAGE).save(tmp_path / "c", "png")
    kinds = [type(open_source(str(tmp_path / name))) for name in "abc"]
    assert kinds == [ZarrSource, TiffSource, PictureSource]
    (tmp_path / "d").write_text("none of them")
    with pytest.raises(FormatError, match="No format reads"):
        open_source(str(tmp_path / "d"))
    with pytest.raises(FormatError, match="There is no file or folder at"):
        open_source(str(tmp_path / "e"))


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.zarr", ZarrSink), ("a.OME.Zarr", ZarrSink), ("a.tif", TiffSink), ("a.ome.tiff", TiffSink), ("a.png", PngSink)],
)
def test_sinks_by_suffix(tmp_path, name, kind):
    assert type(create_sink(str(tmp_path / name), INFO)) is kind


@pytest.mark.parametrize("name", ["a.zarr", "a.tif", "a.png"])
def test_every_format_takes_the_common_options(tmp_path, name):
    source = str(tmp_path / "input.tif")
    sink = create_sink(str(tmp_path / name), INFO, overwrite=True, source=source, chunks=(16, 8), pyramid=False)
    assert sink.write_unit in ((16, 8), (1, 1))
    sink.finish({"seconds": float("nan"), "tile": np.int64(3), "when": None})


def test_no_sink_for_other_suffixes(tmp_path):
    with pytest.raises(RequestError, match="format"):
        create_sink(str(tmp_path / "a.xyz"), INFO)
    with pytest.raises(RequestError, match="lossy"):
        create_sink(str(tmp_path / "a.jpg"), INFO)


@pytest.mark.parametrize("module", MODULES)
def test_modules_load_no_library_before_they_need_it(module):
    heavy = {"zarr", "tifffile", "PIL", "imagecodecs", "torch", "dask", "numcodecs"}
    code = f"import sys, swin2sr_ops.io.{module}; sys.exit(', '.join({heavy!r} & set(sys.modules)) or 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"io.{module} loads {done.stderr}"


def test_a_relative_path_is_understood_by_a_worker_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    zarr.save_array("a.zarr", IMAGE)
    tifffile.imwrite("a.tif", IMAGE, compression="deflate")
    Image.fromarray(IMAGE).save("a.png")
    packed = [pickle.dumps(open_source(name)) for name in ("a.zarr", "a.tif", "a.png")]
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for luggage in packed:
        np.testing.assert_array_equal(pickle.loads(luggage).read((slice(0, 20), slice(0, 30))), IMAGE)
