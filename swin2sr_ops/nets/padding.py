"""Pad images to a size that a network takes."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

__all__ = ["pad_by_reflection"]


def pad_by_reflection(x: Tensor, right: int, below: int) -> Tensor:
    """Pad ``(..., H, W)`` by reflection, and beyond the opposite border by repeating the last pixel.

    Parameters
    ----------
    x : Tensor
    right, below : int
        Columns and rows to add.
    """
    if right or below:
        height, width = x.shape[-2:]
        near = min(right, width - 1), min(below, height - 1)  # a reflection ends at the opposite border
        x = F.pad(x, (0, near[0], 0, near[1]), "reflect")
        x = F.pad(x, (0, right - near[0], 0, below - near[1]), "replicate")
    return x
