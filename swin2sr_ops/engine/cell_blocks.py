"""The Swin blocks of a network on cells: squares of 4 x 4 windows, always of one shape."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from swin2sr_ops.engine.cells import Cuts
from swin2sr_ops.geometry.plan import CELL_WINDOWS
from swin2sr_ops.geometry.steps import network_steps
from swin2sr_ops.nets.blocks import SwinBlock
from swin2sr_ops.nets.network import SwinNet

if TYPE_CHECKING:
    from swin2sr_ops.engine.openvino import CompiledBlocks

__all__ = ["CellBlocks"]


class CellBlocks:
    """A network's blocks, with all that depends on its weights and on no tile.

    Parameters
    ----------
    net : SwinNet
    group : int
        Cells that are computed together.
    half : bool
        Keep the constants of attention in bfloat16.
    """

    def __init__(self, net: SwinNet, group: int, *, half: bool = False) -> None:
        self.net, self.spec, self.group = net, net.spec, group
        self.cell = CELL_WINDOWS * net.spec.window
        self.compiled: CompiledBlocks | None = None
        with torch.inference_mode():
            self.constants = {
                step.path: attrgetter(step.path)(net).attn.constants()
                for step in network_steps(net.spec)
                if step.kind == "window"
            }
        if half:
            self.constants = {path: found.half() for path, found in self.constants.items()}
        self._masks: dict[tuple[int, ...], Tensor] = {}

    def block(self, path: str, tokens: Tensor, cuts: Sequence[Cuts]) -> Tensor:
        """Run the Swin block at ``path`` on cells' windows ``(16 n, P, C)``; ``cuts`` gives the pixels outside."""
        constants = self.constants[path]
        mask = None
        if any(map(any, cuts)):
            mask = torch.cat([self.key_mask(one, constants.bias) for one in cuts])
        if self.compiled is not None:
            return self.compiled.run(path, tokens, mask)
        block: SwinBlock = attrgetter(path)(self.net)
        return block.tokens(tokens, constants, mask)

    def key_mask(self, cuts: Cuts, like: Tensor) -> Tensor:
        """Mask the ``cuts`` (top, bottom, left, right) pixels of a cell that lie outside: ``(16, 1, 1, P)``."""
        if cuts not in self._masks:
            w, n = self.spec.window, CELL_WINDOWS
            top, bottom, left, right = cuts
            inside = torch.zeros(self.cell, self.cell, dtype=torch.bool)
            inside[top : self.cell - bottom, left : self.cell - right] = True
            inside = inside.view(n, w, n, w).transpose(1, 2).reshape(n * n, w * w)
            # A window that lies outside as a whole may attend to itself: its result is never kept.
            hidden = ~inside & inside.any(1, keepdim=True)
            mask = torch.zeros(hidden.shape).masked_fill_(hidden, float("-inf"))
            self._masks[cuts] = mask.to(like)[:, None, None, :]
        return self._masks[cuts]
