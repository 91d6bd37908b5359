"""One axis of one tile: the pixels it reads, those that later layers need, and equality of tiles."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis.strategies import integers, sampled_from

from swin2sr_ops.geometry.span import Span, pad_index, padded_size, receptive_halo, sight, whole_windows
from swin2sr_ops.geometry.steps import network_steps
from swin2sr_ops.spec import ModelSpec

SPEC = ModelSpec(name="m", depths=(2, 2), heads=(2, 2), dim=12, window=8, scale=2)


@given(integers(1, 60), integers(1, 30))
def test_padding_is_numpys_reflection(size: int, more: int) -> None:
    """Compare with NumPy's reflection; beyond its reach the last reflected value is repeated."""
    found = pad_index(0, size + more, size)
    if more < size:
        np.testing.assert_array_equal(found, np.pad(np.arange(size), (0, more), mode="reflect"))
    assert min(found) >= 0
    assert max(found) < size


@pytest.mark.parametrize(("size", "expected"), [(1, 8), (8, 8), (9, 16), (16, 16)])
def test_sizes_are_whole_windows(size: int, expected: int) -> None:
    assert padded_size(size, 8) == expected


@given(integers(-40, 40), integers(0, 50), sampled_from([(8, 0), (8, 4), (7, 3)]))
def test_whole_windows_are_the_fewest_that_cover(start: int, length: int, grid: tuple[int, int]) -> None:
    window, offset = grid
    lo, hi = whole_windows((start, start + length), window, offset)
    if not length:
        assert (lo, hi) == (start, start)
        return
    assert (lo + offset) % window == (hi + offset) % window == 0
    assert lo <= start < lo + window
    assert hi - window < start + length <= hi


@given(integers(1, 300), integers(0, 299), integers(1, 80))
def test_an_exact_span_never_reaches_beyond_its_halo(size: int, start: int, length: int) -> None:
    start = min(start, size - 1)
    stop = min(start + length, size)
    span = Span.of(start, stop, size, SPEC, "exact")
    reach = receptive_halo(SPEC)
    assert span.borders == (0, padded_size(size, 8))
    assert max(start - reach, 0) // 8 * 8 <= span.read[0] <= start
    assert stop <= span.read[1] <= min(padded_size(stop + reach, 8), span.borders[1])
    assert len(span.needed) == len(network_steps(SPEC))
    assert span.needed[-1] == (start, stop)
    for (lo, hi), (later_lo, later_hi) in zip(span.needed, span.needed[1:], strict=False):
        assert lo <= later_lo < later_hi <= hi  # each layer needs less than the one before
    lo, hi = span.source
    assert 0 <= lo < hi <= size
    assert len(span.padding) == span.read[1] - span.read[0]
    assert span.write == (2 * start, 2 * stop)


@given(integers(20, 200), integers(0, 19))
def test_the_mirrored_span_is_that_of_the_mirrored_image(size: int, start: int) -> None:
    span = Span.of(start, start + 1, size, SPEC, "exact", mirror=True)
    assert span.mirrored == Span.of(size - start - 1, size - start, size, SPEC, "exact")
    (lo, hi), (first, last) = span.fetched, span.mirrored.source
    assert lo <= min(span.source[0], size - last)
    assert hi >= max(span.source[1], size - first)


def test_a_halo_of_n_pixels_reads_n_pixels() -> None:
    span = Span.of(64, 96, 400, SPEC, 16)
    assert span.read == span.borders == (48, 112)


def test_halves_are_spans_of_their_own() -> None:
    span = Span.of(10, 75, 400, SPEC, "exact")
    first, second = span.split(SPEC, "exact")
    assert (first.start, first.stop, second.stop) == (10, second.start, 75)
    assert first.stop % SPEC.window == 0
    assert first == Span.of(10, first.stop, 400, SPEC, "exact")


def test_tiles_inside_are_alike_and_those_at_borders_are_not() -> None:
    side, size = 64, 64 * 20
    kinds = [Span.of(i, i + side, size, SPEC, "exact").alike(SPEC) for i in range(0, size, side)]
    assert len(set(kinds[4:-4])) == 1
    assert kinds[0] not in kinds[1:]
    assert kinds[-1] not in kinds[:-1]


def test_a_pixel_sees_the_windows_around_it() -> None:
    """One block without shift sees its window and the convolutions' pixels around it."""
    single = replace(SPEC, depths=(1,), heads=(2,))
    seen = sight(single, "exact")
    assert len(seen) == single.window
    assert all(lo <= i < hi for i, (lo, hi) in enumerate(seen))
    assert all(lo % 8 == 0 == hi % 8 for lo, hi in seen)
