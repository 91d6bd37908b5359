"""Scores of opensr-test: is a super-resolved scene consistent, what did it add, and how much of that is right?"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swin2sr_ops.errors import RequestError

__all__ = ["OPENSR", "opensr_scores"]

#: Figure -> name in opensr-test.
OPENSR = {
    "opensr_reflectance": "reflectance",
    "opensr_spectral": "spectral",
    "opensr_spatial": "spatial",
    "opensr_synthesis": "synthesis",
    "opensr_improvement": "im_metric",
    "opensr_omission": "om_metric",
    "opensr_hallucination": "ha_metric",
}


def opensr_scores(result: NDArray[Any], given: NDArray[Any], truth: NDArray[Any]) -> dict[str, float]:
    """Compute the figures of opensr-test with its own package and its default settings.

    Consistency compares the input with the reduced result: ``reflectance`` (mean absolute difference), ``spectral``
    (angle in degrees) and ``spatial`` (shift in pixels). ``synthesis`` is how much the result differs from the enlarged
    input. Correctness compares it with the truth, after both are brought to the same histogram and place:
    ``improvement``, ``omission`` and ``hallucination`` are shares that sum to 1. After Aybar, Montero, Contreras,
    Donike, Kalaitzis and Gomez-Chova, "A comprehensive benchmark for optical remote sensing image super-resolution",
    IEEE GRSL 2024.

    Parameters
    ----------
    result, given, truth : ndarray
        ``(H scale, W scale, C)``, ``(H, W, C)`` and ``(H scale, W scale, C)``, in one unit between 0 and 1, such as
        reflectance. With fewer than three channels only the first one is aligned.

    Raises
    ------
    RequestError
        opensr-test is not installed, or the images are too small for it.
    """
    try:
        import torch
        from opensr_test import Metrics
    except (ImportError, RuntimeError) as exc:  # a torchvision of another torch raises the latter
        raise RequestError(
            f"The opensr figures need the package opensr-test, which cannot be loaded ({exc}): pip install"
            " 'swin2sr-ops[opensr]', with the torchvision that belongs to the installed torch."
        ) from exc
    if min(truth.shape[:2]) < 128:
        raise RequestError(
            f"opensr-test cannot align images of {truth.shape[0]} x {truth.shape[1]} px, because it cuts 16 px at each"
            " border: give images of at least 128 px."
        )
    lr, sr, hr = (
        torch.from_numpy(np.ascontiguousarray(np.moveaxis(image, -1, 0), np.float32))
        for image in (given, result, truth)
    )
    with _own_random_state():
        found = Metrics().compute(lr=lr, sr=sr, hr=hr)
    return {name: float(found[theirs]) for name, theirs in OPENSR.items()}


@contextmanager
def _own_random_state() -> Iterator[None]:
    """Restore the random states that opensr-test seeds for the whole process."""
    import torch

    before, legacy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(before)
        np.random.set_state(legacy)
