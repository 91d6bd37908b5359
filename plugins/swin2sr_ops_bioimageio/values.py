"""Translate what a description does with values: only steps that do not depend on the rest of the image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from swin2sr_ops import ModelError

__all__ = ["Values"]

Step = Callable[[Tensor], Tensor]
_WHOLE = {
    "zero_mean_unit_variance": "the mean of the image",
    "scale_mean_variance": "the mean of the image",
    "scale_range": "percentiles of the image",
    "softmax": "other channels",
}


@dataclass(frozen=True)
class Values:
    """Steps between the intensities in 0..1 that enter and leave here, and those of the network.

    Attributes
    ----------
    before, after : tuple of functions
    raw : bool
        True if the network takes stored intensities, so that the range must be 0 to 1, which changes nothing.
    percentiles : (float, float) or None
        Those that the package maps to 0 and 1.
    """

    before: tuple[Step, ...]
    after: tuple[Step, ...]
    raw: bool = False
    percentiles: tuple[float, float] | None = None

    @classmethod
    def of(cls, given: Any, restored: Any, name: str) -> Values:
        """Translate the preprocessing of an input and the postprocessing of an output.

        Raises
        ------
        ModelError
            If a step depends on the whole image: its result would depend on how the image is cut.
        """
        steps = [step for step in given.preprocessing if step.id != "ensure_dtype"]
        percentiles, raw = None, False
        low, high = _limits(given)
        if steps and steps[0].id == "scale_range":
            kwargs = steps.pop(0).kwargs
            percentiles = (float(kwargs.min_percentile), float(kwargs.max_percentile))
            low, high = 0.0, 1.0  # the range of a run does the same, for the whole image
        elif low is None or high is None:
            raw = bool(steps)  # constants in units of the stored values
            low, high = 0.0, 1.0
        before = [_unit(high - low, low)] if (low, high) != (0.0, 1.0) else []
        before += [_step(step, name) for step in steps]
        after = [_step(step, name) for step in restored.postprocessing if step.id != "ensure_dtype"]
        if (low, high) != (0.0, 1.0):
            after.append(_unit(1 / (high - low), -low / (high - low)))
        return cls(tuple(before), tuple(after), raw, percentiles)


def _limits(tensor: Any) -> tuple[float | None, float | None]:
    """Return the smallest and the largest value of a tensor, if they are stated or its type says them."""
    data = tensor.data if not isinstance(tensor.data, (list, tuple)) else tensor.data[0]
    low, high = getattr(data, "range", (None, None))
    if np.issubdtype(np.dtype(data.type), np.integer):
        limits = np.iinfo(data.type)
        low, high = limits.min if low is None else low, limits.max if high is None else high
    return (None, None) if low is None or high is None else (float(low), float(high))


def _unit(gain: float, offset: float) -> Step:
    """Return the step ``x * gain + offset``, which `find_reach` can trace."""
    return lambda x: x * gain + offset


def _step(step: Any, name: str) -> Step:
    kwargs = step.kwargs
    if step.id == "scale_linear":
        return _linear(_number(kwargs.gain), _number(kwargs.offset))
    if step.id == "fixed_zero_mean_unit_variance":
        mean, std = np.asarray(kwargs.mean, float), np.asarray(kwargs.std, float)
        return _linear(_number((1 / std).tolist()), _number((-mean / std).tolist()))
    if step.id == "clip" and getattr(kwargs, "min_percentile", None) is getattr(kwargs, "max_percentile", None):
        return lambda x: x.clamp(kwargs.min, kwargs.max)
    if step.id == "sigmoid":
        return torch.sigmoid
    why = f", which depends on {_WHOLE[step.id]}" if step.id in _WHOLE else ""
    raise ModelError(f"{name} has a step {step.id}{why}: tiles of the image cannot be computed with it.")


def _number(value: Any) -> Any:
    """Return the number that a list of one element holds; pass on others."""
    return value[0] if isinstance(value, (list, tuple)) and len(value) == 1 else value


def _linear(gain: Any, offset: Any) -> Step:
    """Return the step ``x * gain + offset``; lists are per channel."""
    if not isinstance(gain, (list, tuple)) and not isinstance(offset, (list, tuple)):
        return _unit(float(gain), float(offset))  # numbers only: tensors made inside a step would end the proof

    def step(x: Tensor) -> Tensor:
        a, b = (torch.as_tensor(n, dtype=x.dtype, device=x.device) for n in (gain, offset))
        a, b = (n.reshape(1, -1, 1, 1) if n.ndim else n for n in (a, b))
        return x * a + b

    return step
