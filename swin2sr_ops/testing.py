"""Test the contracts of sources and sinks: the author of a format subclasses these classes.

Tests of abilities that are optional (masks, identity, files, resume, ...) are skipped for formats without them.

::

    class TestMySource(SourceContract):
        @pytest.fixture
        def source(self, tmp_path):
            return MySource(write_some_image(tmp_path))

Needs pytest.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

from swin2sr_ops.errors import OutputError, RequestError
from swin2sr_ops.hooks.dispatch import open_source
from swin2sr_ops.io.base import (
    ClosableSource,
    ComposedSource,
    IdentifiedSource,
    ImageInfo,
    ImageSink,
    ImageSource,
    MaskedSource,
    OpacitySource,
    OwnNodataSource,
    Region,
    SidesSink,
    ValiditySink,
)
from swin2sr_ops.io.output.claim import RunKey
from swin2sr_ops.io.output.staging import ResumableSink

__all__ = ["SinkContract", "SourceContract", "pieces", "whole"]


def whole(info: ImageInfo) -> Region:
    """Return the region that covers the image."""
    return tuple(slice(0, n) for n in info.shape)


def pieces(shape: tuple[int, ...], unit: tuple[int, ...]) -> Iterator[Region]:
    """Iterate over regions of ``unit`` that cover ``shape``, smaller at the ends."""
    for corner in product(*(range(0, n, step) for n, step in zip(shape, unit, strict=True))):
        yield tuple(slice(i, min(i + step, n)) for i, step, n in zip(corner, unit, shape, strict=True))


def able(thing: Any, ability: type) -> Any:
    """Return ``thing``, or skip the test if it lacks the ability, one of the protocols."""
    if not isinstance(thing, ability):
        pytest.skip(f"{type(thing).__name__} is not a {ability.__name__}")
    return thing


class SourceContract:
    """Subclass it and provide a ``source`` fixture with any image.

    A ``pixels`` fixture with the known pixels makes them part of the contract.
    """

    @pytest.fixture
    def source(self) -> ImageSource:
        raise NotImplementedError("give the class a fixture `source`")

    @pytest.fixture
    def pixels(self) -> NDArray[Any] | None:
        return None

    def test_is_a_source(self, source: ImageSource) -> None:
        assert isinstance(source, ImageSource)
        assert isinstance(source.uri, str)

    def test_info_describes_an_image(self, source: ImageSource) -> None:
        info = source.info
        assert len(info.axes) == len(info.shape) == len(info.chunks)
        assert {"Y", "X"} <= set(info.axes)
        assert len(set(info.axes)) == len(info.axes)
        assert all(1 <= c <= n for c, n in zip(info.chunks, info.shape, strict=True))
        assert info.dtype.isnative
        assert set(info.pixel_size) | set(info.origin) | set(info.units) <= set(info.axes)
        assert all(size > 0 for size in info.pixel_size.values())
        assert info.levels >= 1
        assert info.format

    def test_reads_what_info_says(self, source: ImageSource, pixels: NDArray[Any] | None) -> None:
        image = source.read(whole(source.info))
        assert image.shape == source.info.shape
        assert image.dtype == source.info.dtype
        if pixels is not None:
            assert_array_equal(image, pixels)

    def test_parts_make_the_whole(self, source: ImageSource) -> None:
        info, rng = source.info, np.random.default_rng(0)
        image, again = source.read(whole(info)), np.zeros(info.shape, info.dtype)
        unit = tuple(int(rng.integers(max(1, n // 4), n + 1)) for n in info.shape)
        for region in pieces(info.shape, unit):
            again[region] = source.read(region)
        assert_array_equal(again, image)

    def test_reads_the_last_pixel(self, source: ImageSource) -> None:
        image = source.read(whole(source.info))
        corner = tuple(slice(n - 1, n) for n in source.info.shape)
        assert_array_equal(source.read(corner), image[corner])

    def test_travels_to_a_worker(self, source: ImageSource) -> None:
        unread = pickle.loads(pickle.dumps(source))  # noqa: S301  # what was pickled on the line itself
        image = source.read(whole(source.info))
        read = pickle.loads(pickle.dumps(source))  # noqa: S301
        for twin in (unread, read):
            assert twin.info == source.info
            assert_array_equal(twin.read(whole(twin.info)), image)

    def test_travels_light(self, source: ImageSource) -> None:
        """Pickle a path and a key instead of the pixels: a task graph holds thousands of copies."""
        source.read(whole(source.info))
        assert len(pickle.dumps(source)) < 20_000

    def test_blocks_belong_to_the_reader(self, source: ImageSource) -> None:
        image = source.read(whole(source.info))
        before = image.copy()
        image[...] = 0
        assert_array_equal(source.read(whole(source.info)), before)

    def test_threads_read_together(self, source: ImageSource) -> None:
        image = source.read(whole(source.info))
        unit = tuple(max(1, n // 3) for n in source.info.shape)
        regions = list(pieces(source.info.shape, unit))
        with ThreadPoolExecutor(4) as pool:
            for region, block in zip(regions, pool.map(source.read, regions), strict=True):
                assert_array_equal(block, image[region])

    def test_refuses_regions_outside(self, source: ImageSource) -> None:
        inside = whole(source.info)
        for bad in (slice(0, source.info.shape[-1] + 1), slice(-1, source.info.shape[-1]), slice(0, 1, 2)):
            with pytest.raises(RequestError, match="region"):
                source.read((*inside[:-1], bad))
        with pytest.raises(RequestError, match="axes"):
            source.read(inside[1:])

    def test_identity_is_json_without_the_location(self, source: ImageSource) -> None:
        """A resumed run compares it: the same image at another place, or opened again, has the same one."""
        identity = able(source, IdentifiedSource).identity()
        assert json.loads(json.dumps(identity, allow_nan=False)) == identity
        assert source.uri not in json.dumps(identity)
        twin = pickle.loads(pickle.dumps(source))  # noqa: S301
        assert twin.identity() == identity

    def test_lists_its_files(self, source: ImageSource) -> None:
        found = list(able(source, ComposedSource).files())
        if not found:
            pytest.skip("its files are not on this file system")
        assert all(Path(file).is_file() for file in found)
        assert list(source.files()) == found  # type: ignore[attr-defined]

    def test_reads_again_after_close(self, source: ImageSource) -> None:
        image = source.read(whole(source.info))
        able(source, ClosableSource).close()
        assert_array_equal(source.read(whole(source.info)), image)
        source.close()  # type: ignore[attr-defined]

    @pytest.mark.parametrize(("ability", "method"), [(MaskedSource, "valid_mask"), (OpacitySource, "shown")])
    def test_masks_have_the_shape_of_their_region(self, source: ImageSource, ability: type, method: str) -> None:
        find = getattr(able(source, ability), method)
        rows, columns = (source.info.size(axis) for axis in "YX")
        mask = find((slice(0, rows), slice(0, columns)))
        if mask is None:
            pytest.skip("this image has no mask")
        assert mask.dtype == bool
        assert mask.shape[-2:] == (rows, columns)
        assert mask.ndim in (2, 3)
        for region in pieces((rows, columns), (max(1, rows // 2), max(1, columns // 3))):
            assert_array_equal(find(region), mask[..., region[0], region[1]])

    def test_takes_another_nodata_value(self, source: ImageSource) -> None:
        other = able(source, OwnNodataSource).with_nodata(7.0)
        assert (other.info.nodata, other.info.shape, other.info.dtype) == (7.0, source.info.shape, source.info.dtype)
        assert source.info.nodata != 7


class SinkContract:
    """Subclass it and provide a ``create`` fixture: it creates a sink from an `ImageInfo` and options.

    It must name the same destination every time, in a folder of its own. Class attributes say
    what the format can hold, if that is less than usual.
    """

    axes = "CYX"
    shape: tuple[int, ...] = (2, 70, 90)
    dtype = "uint16"
    keeps_place = True

    @pytest.fixture
    def create(self) -> Callable[..., ImageSink]:
        raise NotImplementedError("give the class a fixture `create`")

    def reopen(self, uri: str) -> ImageSource:
        """Open the finished output as a source."""
        return open_source(uri)

    @property
    def info(self) -> ImageInfo:
        """Describe the image that the tests write."""
        return ImageInfo(
            shape=self.shape,
            axes=self.axes,
            dtype=np.dtype(self.dtype),
            chunks=self.shape,
            pixel_size={"Y": 0.5, "X": 0.25},
            origin={"Y": 10.0, "X": -3.0},
            units={"Y": "micrometer", "X": "micrometer"},
            channels=({"label": "DAPI", "color": "0000FF"}, {"label": "GFP", "color": "00FF00"})
            if "C" in self.axes
            else (),
        )

    @property
    def pixels(self) -> NDArray[Any]:
        """Return the pixels to write; neighbours differ."""
        return np.random.default_rng(1).integers(0, 200, self.shape).astype(self.dtype)

    def unit_of(self, sink: ImageSink) -> tuple[int, ...]:
        """Return the shape of the blocks to write: the write unit, or the image if any region may be written."""
        return sink.write_unit if max(sink.write_unit) > 1 else self.shape

    def fill(self, sink: ImageSink) -> None:
        """Write every unit once, each with a pickled copy of the sink, as a worker would."""
        for region in pieces(self.shape, self.unit_of(sink)):
            twin = pickle.loads(pickle.dumps(sink))  # noqa: S301
            twin[region] = self.pixels[region]

    def in_written_order(self, source: ImageSource) -> NDArray[Any]:
        """Return all pixels of ``source`` with the axes in written order; formats may reorder them."""
        image, axes = source.read(whole(source.info)), source.info.axes
        if "S" in self.axes and "S" not in axes:
            axes = axes.replace("C", "S")
        return image.transpose([axes.index(a) for a in self.axes])

    def test_is_a_sink(self, create: Callable[..., ImageSink]) -> None:
        sink = create(self.info)
        assert isinstance(sink, ImageSink)
        assert len(sink.write_unit) == len(self.shape)

    def test_pixels_come_back(self, create: Callable[..., ImageSink]) -> None:
        sink = create(self.info)
        self.fill(sink)
        sink.finish({"model": "a model"})
        back = self.reopen(sink.uri)
        assert back.info.dtype == np.dtype(self.dtype)
        assert_array_equal(self.in_written_order(back), self.pixels)

    def test_place_and_channels_come_back(self, create: Callable[..., ImageSink]) -> None:
        if not self.keeps_place:
            pytest.skip("the format cannot store them")
        sink = create(self.info)
        self.fill(sink)
        sink.finish({})
        info = self.reopen(sink.uri).info
        for axis in "YX":
            assert_allclose(info.pixel_size[axis], self.info.pixel_size[axis])
            assert_allclose(info.origin[axis], self.info.origin[axis])
            assert info.units[axis] == self.info.units[axis]
        for given, read in zip(self.info.channels, info.channels, strict=False):
            assert given.items() <= read.items()

    def test_nothing_looks_finished_before_it_is(self, create: Callable[..., ImageSink]) -> None:
        sink = create(self.info)
        self.fill(sink)
        assert not Path(sink.uri).exists()
        sink.finish({})
        assert [p.name for p in Path(sink.uri).parent.iterdir()] == [Path(sink.uri).name]

    def test_abort_leaves_nothing(self, create: Callable[..., ImageSink]) -> None:
        sink = create(self.info)
        self.fill(sink)
        sink.abort()
        assert list(Path(sink.uri).parent.iterdir()) == []

    def test_replaces_the_output_of_a_killed_run(self, create: Callable[..., ImageSink]) -> None:
        self.fill(create(self.info))
        sink = create(self.info)
        self.fill(sink)
        sink.finish({})
        assert_array_equal(self.in_written_order(self.reopen(sink.uri)), self.pixels)

    def test_stores_which_pixels_are_valid(self, create: Callable[..., ImageSink]) -> None:
        sink = able(create(self.info), ValiditySink)
        rows, columns = (self.shape[self.axes.index(axis)] for axis in "YX")
        mask = np.random.default_rng(2).random((rows, columns)) < 0.5
        sink.valid = lambda down, across: mask[down, across]
        for region in pieces(self.shape, self.unit_of(sink)):
            sink[region] = self.pixels[region]
        sink.finish({})
        found = able(self.reopen(sink.uri), MaskedSource).valid_mask((slice(0, rows), slice(0, columns)))
        assert_array_equal(found, np.broadcast_to(mask, found.shape))

    def test_writes_values_beside_the_image(self, create: Callable[..., ImageSink]) -> None:
        """Without such values, ``write`` is what ``sink[region] = block`` is."""
        sink = able(create(self.info), SidesSink)
        for region in pieces(self.shape, self.unit_of(sink)):
            sink.write(region, self.pixels[region])
        sink.finish({})
        assert_array_equal(self.in_written_order(self.reopen(sink.uri)), self.pixels)

    def begun(self, create: Callable[..., ImageSink], fingerprint: str = "abc") -> Any:
        """Create a sink whose run can be resumed; skip the test if the format supports no resume."""
        sink: Any = create(self.info, run=RunKey(fingerprint, {"halo": fingerprint}))
        if not isinstance(sink, ResumableSink):
            sink.abort()
            pytest.skip("a run into this format cannot be resumed")
        return sink

    def test_a_stopped_run_is_resumed(self, create: Callable[..., ImageSink]) -> None:
        sink = self.begun(create)
        regions = list(pieces(self.shape, sink.write_unit))
        for region in regions[::2]:
            sink[region] = self.pixels[region]
        sink.staging.release()
        sink = self.begun(create)
        assert [sink.has(region) for region in regions] == [i % 2 == 0 for i in range(len(regions))]
        for region in regions[1::2]:
            sink[region] = self.pixels[region]
        sink.finish({})
        assert_array_equal(self.in_written_order(self.reopen(sink.uri)), self.pixels)

    def test_refuses_the_output_of_another_run(self, create: Callable[..., ImageSink]) -> None:
        sink = self.begun(create)
        with pytest.raises(OutputError, match="Another run"):
            self.begun(create)
        self.fill(sink)
        sink.staging.release()
        with pytest.raises(OutputError, match="halo was"):
            self.begun(create, "other")
        assert self.begun(create).has(next(pieces(self.shape, sink.write_unit)))

    def test_refuses_to_overwrite(self, create: Callable[..., ImageSink]) -> None:
        sink = create(self.info)
        sink.finish({})
        with pytest.raises(OutputError, match="exists already"):
            create(self.info)

    def test_old_output_stays_until_the_new_one_is_finished(self, create: Callable[..., ImageSink]) -> None:
        create(self.info).finish({})
        sink = create(self.info, overwrite=True)
        self.fill(sink)
        assert not self.in_written_order(self.reopen(sink.uri)).any()
        sink.finish({})
        assert_array_equal(self.in_written_order(self.reopen(sink.uri)), self.pixels)
        assert [p.name for p in Path(sink.uri).parent.iterdir()] == [Path(sink.uri).name]

    def test_refuses_to_replace_its_input(self, create: Callable[..., ImageSink]) -> None:
        sink = create(self.info)
        sink.finish({})
        with pytest.raises(OutputError, match="input"):
            create(self.info, overwrite=True, source=sink.uri)

    def test_refuses_blocks_that_do_not_fit(self, create: Callable[..., ImageSink]) -> None:
        sink = create(self.info)
        region = next(pieces(self.shape, sink.write_unit))
        for block in (self.pixels[region].astype("float64"), self.pixels[region][..., None]):
            with pytest.raises(RequestError, match="block"):
                sink[region] = block

    def test_refuses_to_share_a_chunk(self, create: Callable[..., ImageSink]) -> None:
        """Two writers of one chunk would silently lose each other's pixels."""
        sink = create(self.info)
        if max(sink.write_unit) == 1:
            pytest.skip("the format has no chunks")
        first = next(pieces(self.shape, sink.write_unit))
        axis = int(np.argmax(sink.write_unit))
        for part in (slice(1, first[axis].stop), slice(0, first[axis].stop - 1)):
            region = (*first[:axis], part, *first[axis + 1 :])
            with pytest.raises(RequestError, match="chunk"):
                sink[region] = self.pixels[region]
