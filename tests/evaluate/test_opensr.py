"""The figures of opensr-test are those that its own package gives."""

from __future__ import annotations

import importlib.util
import random

import numpy as np
import pytest

from swin2sr_ops.errors import RequestError
from swin2sr_ops.evaluate.degrade import Levels
from swin2sr_ops.evaluate.opensr import OPENSR, opensr_scores
from swin2sr_ops.evaluate.scoring import Measured, scores_of

INSTALLED = importlib.util.find_spec("opensr_test") is not None


def scene(side: int = 160) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A truth, its input at half the resolution, and a result between the two; fractions of the range."""
    rng = np.random.default_rng(0)
    coarse = rng.random((side // 8, side // 8, 3)).repeat(8, 0).repeat(8, 1)
    truth = np.clip(0.7 * coarse + 0.3 * rng.random((side, side, 3)), 0, 1)
    given = truth.reshape(side // 2, 2, side // 2, 2, 3).mean((1, 3))
    result = 0.6 * truth + 0.4 * given.repeat(2, 0).repeat(2, 1)
    return result, given, truth


@pytest.mark.skipif(not INSTALLED, reason="opensr-test is not installed")
def test_the_numbers_are_those_of_the_package() -> None:
    import torch
    from opensr_test import Metrics

    result, given, truth = scene()
    lr, sr, hr = (torch.tensor(np.moveaxis(x, -1, 0), dtype=torch.float32) for x in (given, result, truth))
    expected = Metrics().compute(lr=lr, sr=sr, hr=hr)
    state = random.getstate(), torch.get_rng_state(), np.random.get_state()[1].copy()
    found = opensr_scores(result, given, truth)
    assert found == pytest.approx({name: expected[theirs] for name, theirs in OPENSR.items()}, rel=1e-6)
    shares = [found[f"opensr_{name}"] for name in ("improvement", "omission", "hallucination")]
    assert sum(shares) == pytest.approx(1, abs=1e-5)
    assert random.getstate() == state[0]
    assert torch.equal(torch.get_rng_state(), state[1])
    np.testing.assert_array_equal(np.random.get_state()[1], state[2])


@pytest.mark.skipif(not INSTALLED, reason="opensr-test is not installed")
def test_they_are_figures_of_an_evaluation() -> None:
    """In fractions of the data range: the same image in 8 bits and as reflectances has the same figures."""
    result, given, truth = scene()
    measured = Measured("a", 2, given * 255, truth * 255, Levels(0.0, 255.0), None)
    found = scores_of(measured, result * 255, 0, False, ("opensr_spatial",))
    assert {name: found[name] for name in OPENSR} == pytest.approx(opensr_scores(result, given, truth), rel=1e-3)
    with pytest.raises(RequestError, match="at least 128 px"):
        opensr_scores(*scene(96))


@pytest.mark.skipif(INSTALLED, reason="opensr-test is installed")
def test_without_the_package_the_extra_is_named() -> None:
    with pytest.raises(RequestError, match=r"need the package opensr-test.*swin2sr-ops\[opensr\]"):
        opensr_scores(*scene())
