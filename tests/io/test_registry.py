"""Which format takes what, and that asking loads nothing in vain."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from swin2sr_ops.errors import FormatError, RequestError
from swin2sr_ops.io.base import ImageInfo
from swin2sr_ops.io.picture import PictureSource, PngSink
from swin2sr_ops.io.registry import create_builtin_sink, open_builtin_source
from swin2sr_ops.io.tiff_sink import TiffSink
from swin2sr_ops.io.tiff_source import TiffSource
from swin2sr_ops.io.zarr_sink import ZarrSink
from swin2sr_ops.io.zarr_source import ZarrSource

IMAGE = np.ones((20, 30), "u1")
INFO = ImageInfo(shape=(20, 30), axes="YX", dtype=np.dtype("u1"), chunks=(20, 30))
MODULES = ["base", "destination", "ngff", "picture", "pyramid", "registry", "tiff_metadata", "tiff_sink", "tiff_source"]


def test_sources_by_content(tmp_path):
    zarr.save_array(str(tmp_path / "a"), IMAGE)
    tifffile.imwrite(tmp_path / "b", IMAGE)
    Image.fromarray(IMAGE).save(tmp_path / "c", "png")
    kinds = [type(open_builtin_source(str(tmp_path / name))) for name in "abc"]
    assert kinds == [ZarrSource, TiffSource, PictureSource]
    (tmp_path / "d").write_text("none of them")
    assert open_builtin_source(str(tmp_path / "d")) is None
    with pytest.raises(FormatError, match="There is no file or folder at"):
        open_builtin_source(str(tmp_path / "e"))


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.zarr", ZarrSink), ("a.OME.Zarr", ZarrSink), ("a.tif", TiffSink), ("a.ome.tiff", TiffSink), ("a.png", PngSink)],
)
def test_sinks_by_suffix(tmp_path, name, kind):
    assert type(create_builtin_sink(str(tmp_path / name), INFO)) is kind


def test_no_sink_for_other_suffixes(tmp_path):
    assert create_builtin_sink(str(tmp_path / "a.xyz"), INFO) is None
    with pytest.raises(RequestError, match="lossy"):
        create_builtin_sink(str(tmp_path / "a.jpg"), INFO)


@pytest.mark.parametrize("module", [*MODULES, "zarr_sink", "zarr_source"])
def test_modules_load_no_library_before_they_need_it(module):
    heavy = {"zarr", "tifffile", "PIL", "imagecodecs", "torch", "dask", "numcodecs"}
    code = f"import sys, swin2sr_ops.io.{module}; sys.exit(', '.join({heavy!r} & set(sys.modules)) or 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"io.{module} loads {done.stderr}"
