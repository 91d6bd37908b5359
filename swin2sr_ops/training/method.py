"""Choose how a run learns from single noisy images, where its method is ``auto``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from swin2sr_ops.errors import RequestError
from swin2sr_ops.io.base import ImageSource
from swin2sr_ops.nets.network import SwinNet
from swin2sr_ops.training.noisy import NoisySampler
from swin2sr_ops.training.recipe import Recipe

__all__ = ["AUTO", "SURE_RATE", "removed_share", "with_method"]

#: The method that stands for the better one of ``sure`` and ``blind``.
AUTO = "auto"
#: Learning rate of ``sure``; with that of the other methods it gained nothing.
SURE_RATE = 1e-4
#: Share of the measured noise that the initial model removes if the measure is right. Of 10 noisy frames the shipped
#: models remove 0.82 to 1.04 of it. Of clean images whose fine texture is measured as noise they remove less, and of
#: those with next to no noise several times as much (benchmarks/noisy_method.py).
_PLAUSIBLE = (0.75, 1.25)


def with_method(recipe: Recipe, data: Path | ImageSource, start: SwinNet | None) -> Recipe:
    """Return a recipe of ``blind`` with ``sure`` instead, where that suits the images and the initial model.

    ``sure`` and the risk rely on the same measure of the noise. If it is wrong, nothing else would notice.
    """
    share = None if start is None else removed_share(recipe, data, start)
    suits = share is not None and _PLAUSIBLE[0] <= share <= _PLAUSIBLE[1]
    return replace(recipe, noisy="sure") if suits else recipe


def removed_share(recipe: Recipe, data: Path | ImageSource, start: SwinNet) -> float | None:
    """Return how much of the measured noise's variance a model removes; None if the noise cannot be measured.

    Parameters
    ----------
    recipe : Recipe
        Of a run on noisy images, by any method.
    data : path or ImageSource
        As for `NoisySampler`.
    start : SwinNet
        The initial model.
    """
    if start.spec.inputs != recipe.spec.inputs or recipe.spec.planes > 1:
        return None
    try:
        sampler = NoisySampler(replace(recipe, noisy="sure"), data)
    except RequestError:  # the run says it, if its own method cannot use the images either
        return None
    net = start.eval()
    return sampler.removed(lambda x: net(x).float(), torch.device("cpu"))
