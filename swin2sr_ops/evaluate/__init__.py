"""Measure models: by the official protocol digit by digit, with figures for microscopy, and for invented detail.

``swin2sr-ops evaluate`` is the command for it; see ``docs/evaluate.md``.
"""

from __future__ import annotations

from swin2sr_ops.evaluate.decorrelation import decorrelation_cutoff
from swin2sr_ops.evaluate.degrade import Degradation
from swin2sr_ops.evaluate.fidelity import fidelity, fidelity_map
from swin2sr_ops.evaluate.measure import evaluate
from swin2sr_ops.evaluate.metrics import luma, psnr, psnr_b, ssim
from swin2sr_ops.evaluate.microscopy import frc, frc_cutoff, si_psnr
from swin2sr_ops.evaluate.opensr import opensr_scores
from swin2sr_ops.evaluate.report import Evaluation, Scores
from swin2sr_ops.evaluate.resize import imresize
from swin2sr_ops.evaluate.scoring import Measured
from swin2sr_ops.evaluate.squirrel import Squirrel, squirrel

__all__ = [
    "Degradation",
    "Evaluation",
    "Measured",
    "Scores",
    "Squirrel",
    "decorrelation_cutoff",
    "evaluate",
    "fidelity",
    "fidelity_map",
    "frc",
    "frc_cutoff",
    "imresize",
    "luma",
    "opensr_scores",
    "psnr",
    "psnr_b",
    "si_psnr",
    "squirrel",
    "ssim",
]
