"""Strips and huge tiles are decoded once for all readers, in bounded memory."""

from __future__ import annotations

import os
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import numpy as np
import pytest
import tifffile
import tifffile.zarr
from numpy.testing import assert_array_equal

from swin2sr_ops.errors import FormatError
from swin2sr_ops.io.tiff.decoded import DecodedBlocks
from swin2sr_ops.io.tiff.source import open_source
from swin2sr_ops.testing import SourceContract, pieces, whole

RNG = np.random.default_rng(0)
WIDE = RNG.integers(0, 60000, (300, 1500)).astype("u2")


@pytest.fixture
def decoded(monkeypatch):
    """Return the names of chunks that tifffile decoded."""
    seen = []
    get = tifffile.zarr.ZarrTiffStore.get

    async def counted(self, key, *args, **options):
        if key[0].isdigit():
            seen.append(key)
        return await get(self, key, *args, **options)

    monkeypatch.setattr(tifffile.zarr.ZarrTiffStore, "get", counted)
    return seen


def written(path, image, **options):
    tifffile.imwrite(path, image, compression="deflate", **options)
    return open_source(str(path))


class TestOneStrip(SourceContract):
    @pytest.fixture
    def source(self, tmp_path):
        return written(tmp_path / "a.tif", WIDE, rowsperstrip=300)

    @pytest.fixture
    def pixels(self):
        return WIDE


class TestThinStripsOfColour(TestOneStrip):
    image = RNG.integers(0, 255, (70, 1100, 3)).astype("u1")

    @pytest.fixture
    def source(self, tmp_path):
        return written(tmp_path / "a.tif", self.image, rowsperstrip=1, photometric="rgb")

    @pytest.fixture
    def pixels(self):
        return self.image


class TestPlanesOfStrips(TestOneStrip):
    image = RNG.integers(0, 255, (3, 40, 1100)).astype("u1")

    @pytest.fixture
    def source(self, tmp_path):
        return written(tmp_path / "a.tif", self.image, rowsperstrip=16, photometric="minisblack")

    @pytest.fixture
    def pixels(self):
        return self.image


@pytest.mark.parametrize(("rows", "strips"), [(300, 1), (40, 8), (1, 300)])
def test_every_strip_is_decoded_once(tmp_path, decoded, rows, strips):
    source = written(tmp_path / "a.tif", WIDE, rowsperstrip=rows)
    regions = list(pieces(WIDE.shape, (100, 100)))
    with ThreadPoolExecutor(4) as pool:
        for region, block in zip(regions, pool.map(source.read, regions), strict=True):
            assert_array_equal(block, WIDE[region])
    assert len(decoded) == len(set(decoded)) == strips


def test_a_huge_tile_is_decoded_once_and_twins_share_it(tmp_path, decoded):
    image = np.zeros((1200, 2400), "u1")
    image[::7] = 9
    source = written(tmp_path / "a.tif", image, tile=(1200, 1200))
    for region in pieces(image.shape, (400, 400)):
        assert_array_equal(pickle.loads(pickle.dumps(source)).read(region), image[region])
    assert len(decoded) == 2


def test_small_tiles_and_narrow_images_are_not_kept(tmp_path):
    for name, options in {"tiles": {"tile": (256, 256)}, "narrow": {"rowsperstrip": 300}}.items():
        source = written(tmp_path / f"{name}.tif", WIDE[:, :1024], **options)
        source.read(whole(source.info))
        assert source._opened.strips is None


def test_a_changed_file_is_decoded_again(tmp_path):
    path = tmp_path / "a.tif"
    source = written(path, WIDE, rowsperstrip=300)
    source.read(whole(source.info))
    again = written(path, WIDE[::-1], rowsperstrip=300)
    os.utime(path, ns=(1, 1))
    assert_array_equal(again.read(whole(again.info)), WIDE[::-1])


def test_closing_forgets(tmp_path, decoded):
    source = written(tmp_path / "a.tif", WIDE, rowsperstrip=300)
    for _ in range(2):
        source.read(whole(source.info))
        source.close()
        source.close()
    assert len(decoded) == 2


def test_closed_sources_leave_no_open_file(tmp_path):
    if not sys.platform.startswith("linux"):
        pytest.skip("open files are counted in /proc")

    def open_files():
        return {os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")}

    for name, options in {"a": {"tile": (32, 32)}, "b": {"rowsperstrip": 300}}.items():
        source = written(tmp_path / f"{name}.tif", WIDE, **options)
        with ThreadPoolExecutor(4) as pool:  # one opens it, though all want it
            list(pool.map(source.read, [whole(source.info)] * 8))
        assert str(tmp_path / f"{name}.tif") in open_files()
        source.close()
        assert str(tmp_path / f"{name}.tif") not in open_files()


def test_memory_is_bounded_and_the_newest_stays():
    blocks, calls = DecodedBlocks(most_bytes=1000), []

    def make(key, size):
        def decode():
            calls.append(key)
            return np.zeros(size, "u1")

        return blocks.get(("image", key), decode)

    for key in "abab":
        make(key, 400)
    assert calls == ["a", "b"]
    make("c", 400)  # a goes: it was used longest ago
    make("b", 400)
    make("a", 400)
    assert calls == ["a", "b", "c", "a"]
    make("large", 5000)
    make("large", 5000)
    assert calls[-1:] == ["large"]
    assert len(blocks._kept) == 1
    blocks.drop("image")
    assert not blocks._kept
    assert not make("d", 10).flags.writeable


def test_waiting_readers_get_the_error_and_the_next_one_retries():
    blocks, started, go = DecodedBlocks(), Event(), Event()

    def failing():
        started.set()
        go.wait(10)
        raise FormatError("damaged")

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(blocks.get, "k", failing)
        started.wait(10)
        second = pool.submit(blocks.get, "k", failing)
        go.set()
        for answer in (first, second):
            with pytest.raises(FormatError):
                answer.result(10)
    assert blocks.get("k", lambda: np.ones(1)) == 1


def test_a_damaged_strip_is_reported(tmp_path):
    path = tmp_path / "a.tif"
    source = written(path, WIDE, rowsperstrip=300)
    with tifffile.TiffFile(path) as tiff:
        offset = tiff.pages[0].dataoffsets[0]
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(b"\xff" * 200)
    with pytest.raises(FormatError, match="damaged"):
        source.read(whole(source.info))
