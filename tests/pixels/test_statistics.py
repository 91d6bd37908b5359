"""Channels without contrast are named: incomplete files often read as constant."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from swin2sr_ops.pixels.statistics import Statistics, note_constant


def looked_at(*channels: list[float]) -> dict[int, Statistics]:
    return {n: Statistics.of(np.array(values, "f4"), None) for n, values in enumerate(channels)}


@pytest.mark.parametrize(
    ("channels", "says"),
    [
        ([[0, 0], [0, 0]], "All valid pixels of the image have the value 0"),
        ([[3, 3]], "of the image have the value 3"),
        ([[0, 1], [7, 7]], "of channel 1 have the value 7"),
        ([[2, 2], [0, 1], [7, 7]], "of channels 0, 2 have one value in each channel"),
        ([[np.nan, np.nan], [5, 5]], "of the image have the value 5"),  # one has no pixel at all
    ],
)
def test_constant_channels_are_named(channels: list[list[float]], says: str) -> None:
    with pytest.warns(UserWarning, match=says):
        note_constant(looked_at(*channels))


def test_contrast_gets_no_note() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        note_constant(looked_at([0, 1], [np.nan, np.nan]))


def test_the_note_says_that_it_is_from_a_sample() -> None:
    with pytest.warns(UserWarning, match="All sampled pixels"):
        note_constant(looked_at([0, 0]), sampled=True)
