"""Measure held-out images during training: PSNR, and a picture."""

from __future__ import annotations

import math
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from swin2sr_ops.evaluate.metrics import psnr
from swin2sr_ops.io.storage.moves import replace_path
from swin2sr_ops.training.data import PatchSampler, training_images

__all__ = ["Validation"]

_PATCH = 128  # input pixels: the centre of each image
_MOST = 24  # images, evenly spaced: a validation must take less time than the steps between two
_ROWS = 8


class Validation:
    """Measure a network on the centre of held-out images, whose inputs are made like those of the training.

    Parameters
    ----------
    folder : path
        Images, or pairs if the recipe has them; they must not be training images.
    sampler : PatchSampler
        Makes the inputs.
    """

    def __init__(self, folder: Path, sampler: PatchSampler) -> None:
        spec = sampler.spec
        pairs = training_images(sampler.recipe, folder, (spec.window + 2 * sampler.margin) * spec.scale)
        step = max(1, math.ceil(len(pairs) / _MOST))
        self._cases = sampler.held_out(pairs[::step], _PATCH)
        self.scale = spec.scale
        #: PSNR of the bicubically enlarged input: the value that a model must exceed.
        self.baseline = fmean([_psnr(_enlarged(_own(x, y), self.scale), y) for x, y in self._cases])

    def measure(self, net: nn.Module, device: torch.device, picture: Path) -> float:
        """Return the mean PSNR in dB of all channels in 0..1; write input, result and truth side by side."""
        scores, rows = [], []
        with torch.inference_mode():
            for source, target in self._cases:
                result = net(source.to(device)).float().cpu()
                scores.append(_psnr(result, target))
                rows.append([_enlarged(_own(source, target), self.scale), result, target])
        temporary = picture.with_suffix(".tmp.png")
        _sheet(rows[:_ROWS]).save(temporary)
        replace_path(temporary, picture)
        return fmean(scores)


def _own(x: Tensor, target: Tensor) -> Tensor:
    """Return the input without neighbouring planes: these come after the plane itself."""
    return x[:, : target.shape[1]]


def _enlarged(x: Tensor, scale: int) -> Tensor:
    return x if scale == 1 else F.interpolate(x, scale_factor=scale, mode="bicubic", align_corners=False)


def _psnr(result: Tensor, target: Tensor) -> float:
    return psnr(result[0].clamp(0, 1).numpy(), target[0].numpy(), peak=1.0)


def _sheet(rows: list[list[Tensor]]) -> Image.Image:
    side = max(t.shape[-2] for row in rows for t in row), max(t.shape[-1] for row in rows for t in row)
    sheet = np.full((len(rows) * (side[0] + 4), 3 * (side[1] + 4), 3), 255, np.uint8)
    for i, row in enumerate(rows):
        for j, tensor in enumerate(row):
            pixels = _shown(tensor)
            top, left = i * (side[0] + 4), j * (side[1] + 4)
            sheet[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
    return Image.fromarray(sheet)


def _shown(tensor: Tensor) -> NDArray[np.uint8]:
    shown = tensor[0, : 3 if tensor.shape[1] >= 3 else 1]  # the first three of many bands
    pixels = (shown.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    return np.broadcast_to(pixels, (*pixels.shape[:2], 3))
