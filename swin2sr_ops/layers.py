"""A network as the planner and the engine see it: its layers in order, with reach and shift."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from swin2sr_ops.spec import ModelSpec

__all__ = ["Step", "network_steps"]


@dataclass(frozen=True)
class Step:
    """One layer of the network as the planner and the engine see it.

    ``kind`` says what the engine does (``embed``, ``window``, ``merge``, ``tail``, ``before``,
    ``head``), ``path`` names the module, ``reach`` is how many pixels further it looks in its
    input, ``shift`` the phase of a ``window`` layer's grid.
    """

    kind: str
    path: str
    reach: int = 0
    shift: int = 0

    def offset(self, window: int) -> int:
        """How far this layer's grid of windows, and so of cells, starts before the first pixel."""
        return window - self.shift if self.shift else 0


@lru_cache(maxsize=64)
def network_steps(spec: ModelSpec) -> tuple[Step, ...]:
    """Return the layers of ``spec``'s network in the order in which they run."""
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
    """Input pixels that one output pixel of the head sees to each side of its own.

    Walks the head back from the output: a 3x3 convolution adds 1 at its resolution, and going
    back through an upsampling by r divides by r, rounding up.
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
