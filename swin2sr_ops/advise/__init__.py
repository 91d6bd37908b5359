"""Recommend a model for an image from its noise, JPEG blocks, sharpness and range, measured on samples.

``swin2sr-ops advise`` is the command for it; see ``docs/evidence.md``.
"""

from __future__ import annotations

from swin2sr_ops.advise.api import AdviceReport, advise
from swin2sr_ops.advise.measure import Measured
from swin2sr_ops.advise.recommend import Advice
from swin2sr_ops.pixels.noise import Noise

__all__ = ["Advice", "AdviceReport", "Measured", "Noise", "advise"]
