"""PNG, JPEG and similar pictures: upright, in colours, with all bits."""

from __future__ import annotations

import json
from dataclasses import replace

import imagecodecs
import numpy as np
import pytest
import tifffile
from numpy.testing import assert_array_equal
from PIL import Image, ImageOps

from swin2sr_ops.errors import FormatError, OutputError, RequestError
from swin2sr_ops.io.base import ImageInfo
from swin2sr_ops.io.picture import create_sink, open_source
from swin2sr_ops.io.tiff.source import open_source as open_tiff
from swin2sr_ops.testing import SinkContract, SourceContract, whole

RNG = np.random.default_rng(0)


def saved(path, image, **options):
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path, **options)
    return str(path)


def pixels_of(path):
    source = open_source(path)
    return source.info.axes, source.read(whole(source.info))


class TestPng(SourceContract):
    image = RNG.integers(0, 255, (30, 40, 3)).astype("u1")

    @pytest.fixture
    def source(self, tmp_path):
        return open_source(saved(tmp_path / "a.png", self.image))

    @pytest.fixture
    def pixels(self):
        return self.image


class TestJpeg(SourceContract):
    @pytest.fixture
    def source(self, tmp_path):
        return open_source(saved(tmp_path / "a.jpg", TestPng.image))


class TestPngSink(SinkContract):
    axes, shape, dtype, keeps_place = "YXS", (70, 90, 3), "uint16", False

    @pytest.fixture
    def create(self, tmp_path):
        (tmp_path / "out").mkdir()
        return lambda info, **options: create_sink(str(tmp_path / "out" / "a.png"), info, **options)


class TestGrayPngSink(TestPngSink):
    axes, shape, dtype = "YX", (70, 90), "uint8"


@pytest.mark.parametrize("shape", [(30, 40), (30, 40, 2), (30, 40, 3), (30, 40, 4)])
@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_png_keeps_all_bits(tmp_path, shape, dtype):
    image = RNG.integers(0, np.iinfo(dtype).max, shape).astype(dtype)
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(image))
    axes, pixels = pixels_of(str(tmp_path / "a.png"))
    assert axes == ("YXS" if len(shape) == 3 else "YX")
    assert pixels.dtype == dtype
    assert_array_equal(pixels, image)


@pytest.mark.parametrize("suffix", ["bmp", "webp", "ppm"])
def test_other_formats(tmp_path, suffix):
    options = {"lossless": True} if suffix == "webp" else {}
    assert_array_equal(pixels_of(saved(tmp_path / f"a.{suffix}", TestPng.image, **options))[1], TestPng.image)


def test_exif_turns_the_picture(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 270 degrees
    _, pixels = pixels_of(saved(tmp_path / "a.png", TestPng.image, exif=exif))
    assert_array_equal(pixels, np.rot90(TestPng.image, 3))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_16_bits_are_turned_like_8(orientation, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = orientation
    shallow = TestPng.image[..., 0].copy()
    upright = pixels_of(saved(tmp_path / "a.png", shallow, exif=exif))[1]
    deep = Image.fromarray(shallow.astype("u2") * 257)
    assert_array_equal(pixels_of(saved(tmp_path / "b.png", deep, exif=exif))[1], upright.astype("u2") * 257)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_of_a_tiff_is_applied(orientation, tmp_path):
    pixels = TestPng.image
    tifffile.imwrite(tmp_path / "a.tif", pixels, extratags=[(274, "H", 1, orientation, True)], metadata=None)
    source = open_tiff(str(tmp_path / "a.tif"))
    sink = create_sink(str(tmp_path / "a.png"), source.info)
    sink[whole(source.info)] = source.read(whole(source.info))
    sink.finish({})
    with Image.open(tmp_path / "a.tif") as image:
        assert_array_equal(pixels_of(str(tmp_path / "a.png"))[1], np.asarray(ImageOps.exif_transpose(image)))


def test_colours_times_opacity_are_refused(tmp_path):
    info = ImageInfo(shape=(9, 9, 4), axes="YXS", dtype=np.dtype("u1"), chunks=(9, 9, 4))
    with pytest.raises(RequestError, match=r"premultiplied alpha.*unassociated alpha first"):
        create_sink(str(tmp_path / "a.png"), replace(info, extra={"alpha": "premultiplied"}))
    create_sink(str(tmp_path / "a.png"), info).abort()


def test_palettes_become_colours(tmp_path):
    palette = Image.fromarray(TestPng.image).quantize(16)
    assert_array_equal(pixels_of(saved(tmp_path / "a.png", palette))[1], np.asarray(palette.convert("RGB")))
    assert pixels_of(saved(tmp_path / "b.png", palette, transparency=0))[1].shape[-1] == 4


def test_ink_and_animations_are_refused(tmp_path):
    with pytest.raises(FormatError, match="CMYK"):
        open_source(saved(tmp_path / "a.jpg", Image.fromarray(TestPng.image).convert("CMYK")))
    frames = [Image.fromarray(TestPng.image[..., i]) for i in range(3)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    with pytest.raises(FormatError, match="3 frames"):
        open_source(str(tmp_path / "a.gif"))


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp"])
@pytest.mark.parametrize("keep", [0.01, 0.5, 0.95])
def test_truncated_pictures(tmp_path, suffix, keep):
    path = tmp_path / f"a.{suffix}"
    saved(path, TestPng.image)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    with pytest.raises(FormatError, match="damaged"):
        open_source(str(path))


@pytest.mark.parametrize("keep", [0.3, 0.9])
def test_truncated_deep_png(tmp_path, keep):
    content = imagecodecs.png_encode(RNG.integers(0, 65535, (90, 90, 3)).astype("u2"))
    (tmp_path / "a.png").write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(FormatError, match="truncated"):
        open_source(str(tmp_path / "a.png"))


def test_too_large_for_a_picture(tmp_path, monkeypatch):
    path = saved(tmp_path / "a.png", TestPng.image)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(FormatError, match="TIFF or Zarr"):
        open_source(path)


def test_files_that_are_not_pictures(tmp_path):
    (tmp_path / "a.txt").write_text("hello")
    assert open_source(str(tmp_path / "a.txt")) is None
    assert open_source(str(tmp_path)) is None
    with pytest.raises(FormatError, match="no file or folder"):
        open_source(str(tmp_path / "no.png"))
    with pytest.raises(RequestError, match="level"):
        open_source(saved(tmp_path / "a.png", TestPng.image), level=1)


def info(axes="YX", shape=(4, 5), dtype="u1"):
    return ImageInfo(shape=shape, axes=axes, dtype=np.dtype(dtype), chunks=shape)


def test_sink_refuses_what_png_cannot_hold(tmp_path):
    for bad in (info(dtype="f4"), info("ZYX", (2, 4, 5)), info("YXS", (4, 5, 7))):
        with pytest.raises(RequestError, match="PNG stores"):
            create_sink(str(tmp_path / "a.png"), bad)
    with pytest.raises(RequestError, match="shards"):
        create_sink(str(tmp_path / "a.png"), info(), shards=(1, 1))
    assert create_sink(str(tmp_path / "a.tif"), info()) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", ["jpg", "JPEG", "webp"])
def test_sink_refuses_lossy_formats(tmp_path, suffix):
    with pytest.raises(RequestError, match="lossy"):
        create_sink(str(tmp_path / f"a.{suffix}"), info())


def test_provenance_is_a_text_chunk(tmp_path):
    sink = create_sink(str(tmp_path / "a.png"), info())
    sink.finish({"model": "müller"})
    with Image.open(tmp_path / "a.png") as image:
        image.load()
        assert json.loads(image.text["swin2sr_ops"]) == {"model": "müller"}


def test_sink_checks_the_destination(tmp_path):
    with pytest.raises(OutputError, match="does not exist"):
        create_sink(str(tmp_path / "no" / "a.png"), info())


def test_sink_refuses_what_would_not_fit_in_memory(tmp_path):
    with pytest.raises(RequestError, match=r"4\.3 GB.* write \.tif or \.zarr"):
        create_sink(str(tmp_path / "a.png"), info(shape=(65536, 65536)))
    assert list(tmp_path.iterdir()) == []


def test_identity_changes_with_the_file(tmp_path):
    source = open_source(saved(tmp_path / "a.png", TestPng.image))
    before = source.identity()
    assert json.loads(json.dumps(before)) == before == open_source(source.uri).identity()
    saved(tmp_path / "a.png", TestPng.image[:20])
    assert source.identity() != before
    (tmp_path / "a.png").unlink()
    with pytest.raises(FormatError, match="no file"):
        source.identity()


def test_a_closed_picture_is_decoded_again():
    from swin2sr_ops.io.samples import sample_path

    source = open_source(str(sample_path("sample:photo")))
    before = source.read(whole(source.info))
    source.close()
    assert source._pixels is None
    assert_array_equal(source.read(whole(source.info)), before)
