"""A network as the kernels want it: what each of its steps needs, prepared once."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swin2sr_ops.engine.native.heads import Head
from swin2sr_ops.engine.native.kernels import Block, Stage
from swin2sr_ops.engine.native.planes import aligned
from swin2sr_ops.engine.native.weights import Conv, Norm, Weights
from swin2sr_ops.engine.parallel import Spares
from swin2sr_ops.geometry.steps import network_steps
from swin2sr_ops.spec import ModelSpec

__all__ = ["NativeNetwork"]

#: Mean of DIV2K, subtracted from three-channel inputs by the official code.
_RGB_MEAN = (0.4488, 0.4371, 0.4040)


class NativeNetwork:
    """The steps of a network, with their weights packed.

    Parameters
    ----------
    spec : ModelSpec
        A Swin2SR or SwinIR network.
    parameters : mapping of str to ndarray
        Its weights under the official names.
    """

    def __init__(self, spec: ModelSpec, parameters: Mapping[str, NDArray[Any]]) -> None:
        self.spec = spec
        self._weights = weights = Weights(spec, parameters)
        self.kernels = weights.kernels
        self.mean = np.array(_RGB_MEAN if spec.channels == 3 else (0.0,) * spec.channels, np.float32)
        self.blocks: dict[str, Block] = {}
        self.stages: dict[str, Stage] = {}  # ends of stages and trunks that are one convolution
        self.ends: dict[str, tuple[Norm | None, list[Conv]]] = {}  # the others
        self.entrances: dict[str, tuple[Conv, Conv | None, Norm | None]] = {}
        for step in network_steps(spec):
            if step.kind == "window":
                stage = int(step.path.split(".")[1])
                self.blocks[step.path] = weights.block(step.path, spec.heads[stage])
            elif step.kind == "embed":
                self.entrances[step.path] = self._entrance(step.path)
            elif step.kind == "merge":
                self._prepare_end(step.path, f"{step.path}.conv", f"{step.path}.patch_embed.proj")
            elif step.kind == "tail":
                self._prepare_end(step.path, step.path, "", "norm")
            elif step.kind == "before":
                self.before = weights.conv(f"{step.path}.0", 0.01)
        self.head = Head(weights)
        sizes = [self.kernels.swin_scratch(ctypes.byref(block)) for block in self.blocks.values()]
        sizes += [self.kernels.swin_stage_scratch(ctypes.byref(stage)) for stage in self.stages.values()]
        self.scratch = Spares(lambda: aligned(max(sizes)))

    def _entrance(self, path: str) -> tuple[Conv, Conv | None, Norm | None]:
        """Prepare a trunk's first convolution, and the embedding that both trunks share."""
        weights = self._weights
        conv = weights.conv(path) if weights.has(path) else weights.conv(f"{path}.0", 0.01)
        embed = weights.conv("patch_embed.proj") if weights.has("patch_embed.proj") else None
        return conv, embed, weights.norm("patch_embed.norm") if weights.has("patch_embed.norm") else None

    def _prepare_end(self, path: str, conv: str, embed: str, norm: str = "") -> None:
        weights = self._weights
        if weights.has(conv):
            self.stages[path] = weights.stage(conv, embed, norm)
            return
        convs = [weights.conv(f"{conv}.0", 0.2), weights.conv(f"{conv}.2", 0.2), weights.conv(f"{conv}.4")]
        if weights.has(embed):
            convs.append(weights.conv(embed))
        self.ends[path] = weights.norm(norm) if norm else None, convs
