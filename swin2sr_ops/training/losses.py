"""Compute the losses of the Swin2SR paper (Conde et al., arXiv:2209.11345, section 3.2), weighted by ``[loss]``.

With y the clean patch and y' the network's result:

================  =============================================================================
``l1``            mean |y - y'|
``charbonnier``   mean sqrt((y - y')^2 + 0.001^2) (Lai et al., CVPR 2017)
``psnr``          mean over patches of 10 log10(mean (y - y')^2 + 1e-5): a decibel counts equally in
                  a clean and in a noisy patch (Chen et al., HINet, CVPRW 2021; floor 1e-8)
``auxiliary``     mean |D(y) - D(y')|, D the bicubic reduction by the model's scale; if the network
                  has the auxiliary head, also mean |D(y) - aux| of that head's output
``hf``            mean |HF(y) - HF(y')|, HF(z) = z - z * b, b a Gaussian of 5 x 5 pixels
================  =============================================================================

The paper states neither the weights nor the Gaussian's width; docs/loss-study.md compares some.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from swin2sr_ops.training.degrade import bicubic_reduce

__all__ = ["TEACHER_SHARE", "auxiliary", "charbonnier", "high_frequency", "loss_of", "psnr"]

#: Share of the loss that compares with a teacher's outputs, if the recipe states none.
TEACHER_SHARE = 0.5
_HF_SIGMA = 2.0  # pixels: the best of 0.5, 1 and 2 (docs/loss-study.md)


def loss_of(
    outputs: Mapping[str, Tensor],
    target: Tensor,
    weights: Mapping[str, float],
    scale: int,
    taught: Tensor | None = None,
) -> Tensor:
    """Compute the weighted sum of a recipe's losses.

    Parameters
    ----------
    outputs : mapping of str to Tensor
        Result of `SwinNet.outputs`: ``image`` ``(B, C, H scale, W scale)``, and possibly ``aux`` ``(B, C, H, W)``.
    target : Tensor
        Clean patches ``(B, C, H scale, W scale)`` in 0..1.
    weights : mapping of str to float
        ``l1``, ``charbonnier``, ``psnr``, ``auxiliary``, ``hf``; losses of weight zero are not computed. With
        ``taught`` also ``teacher``: the share of the sum that compares with it; a half if it is left out.
    scale : int
        Scale of the model.
    taught : Tensor, optional
        The teacher's outputs, in the shape of ``target``.
    """
    if taught is not None:
        share = weights.get("teacher", TEACHER_SHARE)
        theirs = _sum(outputs, taught, weights, scale)
        return theirs if share == 1 else torch.lerp(_sum(outputs, target, weights, scale), theirs, share)
    return _sum(outputs, target, weights, scale)


def _sum(outputs: Mapping[str, Tensor], target: Tensor, weights: Mapping[str, float], scale: int) -> Tensor:
    image = outputs["image"]
    total = image.new_zeros(())
    for name, weight in weights.items():
        if not weight or name == "teacher":
            continue
        if name == "l1":
            total = total + weight * F.l1_loss(image, target)
        elif name == "charbonnier":
            total = total + weight * charbonnier(image, target)
        elif name == "psnr":
            total = total + weight * psnr(image, target)
        elif name == "auxiliary":
            total = total + weight * auxiliary(image, target, scale, outputs.get("aux"))
        else:
            total = total + weight * high_frequency(image, target)
    return total


def charbonnier(image: Tensor, target: Tensor, eps: float = 1e-3) -> Tensor:
    """Compute ``mean sqrt((y - y')^2 + eps^2)``: L1 with a rounded minimum (Lai et al., CVPR 2017)."""
    return ((image - target) ** 2 + eps**2).sqrt().mean()


def psnr(image: Tensor, target: Tensor, floor: float = 1e-5) -> Tensor:
    """Compute ``10 log10(mean (y - y')^2 + floor)``, averaged over patches; gains above 50 dB hardly count."""
    errors = ((image - target) ** 2).mean((1, 2, 3))
    return 10 * torch.log10(errors + floor).mean()


def auxiliary(image: Tensor, target: Tensor, scale: int, aux: Tensor | None = None) -> Tensor:
    """Compute ``mean |D(y) - D(y')|``, D the bicubic reduction; plus ``mean |D(y) - aux|`` of the auxiliary head."""
    small = bicubic_reduce(target, scale)
    loss = F.l1_loss(bicubic_reduce(image, scale), small)
    return loss if aux is None else loss + F.l1_loss(aux[..., : small.shape[-2], : small.shape[-1]], small)


def high_frequency(image: Tensor, target: Tensor) -> Tensor:
    """Compute ``mean |HF(y) - HF(y')|`` with ``HF(z) = z - z * b``, b a Gaussian of 5 x 5 pixels."""
    # HF is linear, so HF(y) - HF(y') = HF(y - y').
    return _details(image - target).abs().mean()


def _details(z: Tensor) -> Tensor:
    side = torch.exp(-0.5 * (torch.arange(-2.0, 3.0, device=z.device) / _HF_SIGMA) ** 2)
    kernel = torch.outer(side, side).to(z.dtype)
    kernel = (kernel / kernel.sum()).expand(z.shape[1], 1, 5, 5)
    return z - F.conv2d(F.pad(z, (2,) * 4, mode="reflect"), kernel, groups=z.shape[1])
