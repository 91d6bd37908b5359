"""Fidelity: a contradiction of the input is found in its place."""

from __future__ import annotations

import numpy as np
import pytest

from swin2sr_ops.errors import RequestError
from swin2sr_ops.evaluate import fidelity, fidelity_map, imresize
from swin2sr_ops.evaluate.degrade import jpeg


@pytest.fixture
def truth() -> np.ndarray:
    y, x = np.mgrid[:48, :64]
    return (127 + 90 * np.sin(y / 5) * np.cos(x / 6)).round().astype("u1")


def test_invented_detail_is_found_in_its_place(truth: np.ndarray) -> None:
    given = imresize(truth, (24, 32))
    right = fidelity_map(truth, given, 2)
    assert right.shape == (24, 32)
    assert right.dtype == np.float32
    assert right.max() <= 1  # the rounding of the input, twice
    wrong = truth.copy()
    wrong[20:28, 30:38] += 40
    found = fidelity_map(wrong, given, 2)
    assert found[11:13, 16:18] == pytest.approx(40, abs=2)
    far = np.ones_like(found, bool)
    far[8:16, 13:21] = False
    np.testing.assert_array_equal(found[far], right[far])
    assert fidelity(truth, given, 2) > 50 > 35 > fidelity(wrong, given, 2)


def test_details_that_the_input_cannot_contain_are_not_a_contradiction(truth: np.ndarray) -> None:
    """A checkerboard of single pixels vanishes in the reduction: fidelity does not prove that it is right."""
    board = np.where(np.indices(truth.shape).sum(0) % 2, 20, -20)
    found = fidelity_map(truth.astype(float) + board, imresize(truth.astype(float), (24, 32)), 2)
    assert found[3:-3, 3:-3].max() < 1e-6


def test_other_degradations(truth: np.ndarray) -> None:
    colour = np.stack([truth, truth // 2, 255 - truth], -1)
    assert fidelity_map(colour, jpeg(colour, 10), 1, "jpeg:10").max() == 0
    assert fidelity_map(colour, colour, 1, "jpeg:10").max() > 5
    both = jpeg(imresize(colour, (24, 32)), 30)
    assert fidelity_map(colour, both, 2, "bicubic+noise:5+jpeg:30").max() == 0
    removed = fidelity_map(truth, truth.astype("f4") + 7, 1, "noise:25")
    np.testing.assert_array_equal(removed, np.full(truth.shape, 7, "f4"))
    gray = fidelity_map(truth, jpeg(truth[..., None], 10)[..., 0], 1, "jpeg:10")
    assert gray.max() == 0


def test_shapes_must_fit(truth: np.ndarray) -> None:
    with pytest.raises(
        RequestError, match=r"shape \(48, 64\) does not belong to an input of shape \(48, 64\) at scale 2"
    ):
        fidelity_map(truth, truth, 2)
