"""Describe a network for the planner and the engine: its layers in order, with reach and shift."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from swin2sr_ops.spec import ModelSpec

__all__ = ["CELL_WINDOWS", "GROUP_CELLS", "CellSpan", "Step", "cell_side", "cell_spans", "network_steps"]

#: Windows along the side of a cell, the fixed block in which the engine computes everything.
CELL_WINDOWS = 4
#: Cells in one group on an accelerator: 32,768 pixels, enough to keep it busy.
GROUP_CELLS = 32
#: Default side of a cell of a plugin's network, about, in pixels.
_FOREIGN_CELL = 256

Interval = tuple[int, int]


@dataclass(frozen=True)
class Step:
    """One layer of the network as the planner and the engine see it.

    ``kind`` selects the engine's operation (``embed``, ``window``, ``merge``, ``tail``, ``before``,
    ``head``; ``whole`` for a plugin's network, which is one layer). ``path`` names the module.
    ``reach`` is the radius in its input, in pixels. ``shift`` is the phase of a ``window`` layer's grid.
    """

    kind: str
    path: str
    reach: int = 0
    shift: int = 0

    def offset(self, window: int) -> int:
        """Distance by which this layer's grid of windows, and so of cells, starts before the first pixel."""
        return window - self.shift if self.shift else 0


@lru_cache(maxsize=64)
def network_steps(spec: ModelSpec) -> tuple[Step, ...]:
    """Return the layers of ``spec``'s network in the order in which they run."""
    if spec.reach is not None:
        return (Step("whole", spec.architecture, reach=spec.reach.halo),)
    steps = _trunk_steps(spec, "conv_first", "layers", "conv_after_body")
    if spec.upsampler == "pixelshuffle_hf":
        steps.append(Step("before", "conv_before_upsample", reach=1))
        steps += _trunk_steps(spec, "conv_first_hf", "layers_hf", "conv_after_body_hf")
    steps.append(Step("head", spec.upsampler, reach=_head_reach(spec)))
    return tuple(steps)


def _trunk_steps(spec: ModelSpec, first: str, stages: str, last: str) -> list[Step]:
    radius = 2 if spec.resi_connection == "3conv" else 1  # 3x3, 1x1, 3x3 against one 3x3
    steps = [Step("embed", first, reach=1)]
    for i, depth in enumerate(spec.depths):
        for j in range(depth):
            shift = spec.window // 2 if j % 2 else 0
            steps.append(Step("window", f"{stages}.{i}.residual_group.blocks.{j}", shift=shift))
        steps.append(Step("merge", f"{stages}.{i}", reach=radius))
    # The high-frequency branch of the official code always ends in a single convolution.
    steps.append(Step("tail", last, reach=1 if last.endswith("_hf") else radius))
    return steps


def _head_reach(spec: ModelSpec) -> int:
    """Compute the head's radius in input pixels: how far one output pixel sees to each side.

    The walk goes back from the output: a 3x3 convolution adds 1 at its resolution, and an upsampling
    by r divides by r, rounding up.
    """
    if spec.upsampler in ("", "pixelshuffledirect"):
        return 1
    factors = [3] if spec.scale == 3 else [2] * (spec.scale.bit_length() - 1)
    if spec.upsampler == "nearest+conv":
        reach = 2  # conv_last, conv_hr
        for r in factors:
            reach = -(-(reach + 1) // r)  # conv_up after the enlargement
        return reach + 1  # conv_before_upsample
    reach = 1  # conv_last
    for r in factors:
        reach = -(-reach // r) + 1  # upsample's convolution before each shuffle
    # conv_before_upsample; the auxiliary head has conv_aux and conv_after_aux as well
    return reach + (3 if spec.upsampler == "pixelshuffle_aux" else 1)


def cell_side(spec: ModelSpec) -> int:
    """Return the side of the engine's fixed block (a cell) in input pixels, a multiple of the window."""
    if spec.reach is None:
        return CELL_WINDOWS * spec.window
    return spec.reach.cell or -(-_FOREIGN_CELL // spec.window) * spec.window


@dataclass(frozen=True)
class CellSpan:
    """One axis of a cell of a plugin's network: its pixels ``[start, stop)`` come from ``[lo, hi)`` of the image."""

    start: int
    stop: int
    lo: int
    hi: int


def cell_spans(owned: Interval, borders: Interval, spec: ModelSpec) -> list[CellSpan]:
    """List the cells that cover ``owned``; each depends on the image and the model alone, not on the tile."""
    if spec.reach is None:
        raise ValueError(f"{spec.name} does not run in whole cells")
    side, halo, found = cell_side(spec), spec.reach.halo, []
    for start in range(owned[0] // side * side, owned[1], side):
        stop = min(start + side, borders[1])
        lo = (start - halo) // spec.window * spec.window
        hi = -(-(stop + halo) // spec.window) * spec.window
        found.append(CellSpan(start, stop, max(lo, borders[0]), min(hi, borders[1])))
    return found
