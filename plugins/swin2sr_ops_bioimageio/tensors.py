"""Translate the tensors of a description: order of axes, sizes that the network takes, channels, scale, halo."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from swin2sr_ops import ModelError

__all__ = ["Tensors"]

_LETTERS = {"batch": "b", "channel": "c", "y": "y", "x": "x"}


@dataclass(frozen=True)
class Tensors:
    """Shapes that a network takes and returns.

    Attributes
    ----------
    given, restored : str
        Axes of its input and output, letters of ``bcyx`` in the network's order.
    channels, scale : int
    minimum, multiple : int
        Sides of the input are ``minimum`` plus a multiple of ``multiple``.
    fixed : int
        The only side of its input; 0 if there are several.
    halo : int
        Stated input pixels to crop; 0 if none are.
    """

    given: str
    restored: str
    channels: int
    scale: int
    minimum: int = 1
    multiple: int = 1
    fixed: int = 0
    halo: int = 0

    @classmethod
    def of(cls, given: Any, restored: Any, name: str) -> Tensors:
        """Translate the descriptions of a network's input and output.

        Raises
        ------
        ModelError
            If the network does not map a plane of 1 or 3 channels to one of as many.
        """
        order, after = _letters(given, name), _letters(restored, name)
        axes, results = _by_letter(given), _by_letter(restored)
        channels = _count(axes.get("c"))
        if channels not in (1, 3) or _count(results.get("c")) != channels:
            raise ModelError(
                f"{name} maps {channels} to {_count(results.get('c'))} channels: supported are 1 or 3, with as many"
                " output channels as input channels."
            )
        sizes = {_size(axes[a].size, name) for a in "yx"}
        scales = {_scale(results[a], axes[a], name) for a in "yx"}
        if len(sizes) > 1 or len(scales) > 1:
            raise ModelError(f"{name} treats rows and columns differently, which is not supported.")
        (scale,), ((minimum, step),) = scales, sizes
        halo = max(int(getattr(results[a], "halo", 0) or 0) for a in "yx")
        return cls(
            order, after, channels, scale, minimum, max(step, 1), 0 if step else minimum, -(-halo // scale)
        )  # fmt: skip


def _letters(tensor: Any, name: str) -> str:
    found = "".join(_LETTERS.get(axis.type if axis.type != "space" else str(axis.id), "?") for axis in tensor.axes)
    if "?" in found or not {"y", "x"} <= set(found):
        axes = ", ".join(str(axis.id) for axis in tensor.axes)
        raise ModelError(f"{name} has a tensor with the axes {axes}: supported are planes, y and x with channels.")
    return found


def _by_letter(tensor: Any) -> dict[str, Any]:
    return {_LETTERS[axis.type if axis.type != "space" else str(axis.id)]: axis for axis in tensor.axes}


def _count(axis: Any) -> int:
    return 1 if axis is None else len(axis.channel_names)


def _size(size: Any, name: str) -> tuple[int, int]:
    """Return the smallest side and the step; a step of 0 if there is one side only."""
    if isinstance(size, int):
        return size, 0
    if hasattr(size, "step"):
        return int(size.min), int(size.step)
    raise ModelError(f"The sides of {name}'s input depend on each other, which is not supported.")


def _scale(restored: Any, given: Any, name: str) -> int:
    size = restored.size
    if isinstance(size, int):
        found = Fraction(size, given.size) if isinstance(given.size, int) else Fraction(0)
    elif hasattr(size, "axis_id") and not size.offset:
        found = Fraction(given.scale / restored.scale).limit_denominator(64)
    else:
        found = Fraction(0)
    if found.denominator != 1 or found < 1:
        raise ModelError(f"{name} does not return a whole number of pixels for each pixel: this is not supported.")
    return int(found)
