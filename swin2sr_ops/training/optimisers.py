"""Who turns gradients into steps: Adam, or Muon for the Swin blocks' matrices."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.optim import Adam, Optimizer

from swin2sr_ops.errors import RequestError

__all__ = ["Optimisers"]

#: Linear layers of attention and MLP in every Swin block; not the small network that makes Swin2SR's position bias.
#: A convolution of that name, which is no matrix, stays Adam's.
_MATRICES = tuple(f".{layer}.weight" for layer in ("qkv", "proj", "fc1", "fc2"))


class Optimisers:
    """Adam for all parameters, or Muon for the matrices of the Swin blocks and Adam for the rest.

    Muon makes the momentum of a matrix's gradient orthogonal before it is applied (Jordan et al., "Muon: An optimizer
    for hidden layers in neural networks", 2024), by ``torch.optim.Muon``; a step's size is scaled to that of Adam
    (Liu et al., "Muon is scalable for LLM training", arXiv:2502.16982), so that one learning rate serves both.

    Parameters
    ----------
    parameters : iterable of (str, Parameter)
        As ``net.named_parameters()`` gives them.
    kind : str
        ``"adam"`` or ``"muon"``.

    Raises
    ------
    RequestError
        If torch is older than its Muon.
    """

    def __init__(self, parameters: Iterable[tuple[str, nn.Parameter]], kind: str) -> None:
        if kind == "muon" and not hasattr(torch.optim, "Muon"):
            raise RequestError(f"optimiser='muon' needs torch 2.9 or newer, this is {torch.__version__}: say 'adam'.")
        matrices: list[nn.Parameter] = []
        rest: list[nn.Parameter] = []
        for name, value in parameters:
            mine = kind == "muon" and value.ndim == 2 and name.endswith(_MATRICES)
            (matrices if mine else rest).append(value)
        self.each: list[Optimizer] = [Adam(rest, betas=(0.9, 0.99))]
        if matrices:
            self.each.append(torch.optim.Muon(matrices, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"))

    def step(self, lr: float) -> None:
        """Apply the gradients that the parameters hold."""
        for optimiser in self.each:
            for group in optimiser.param_groups:
                group["lr"] = lr
            optimiser.step()

    def state_dict(self) -> list[dict[str, Any]]:
        """All that going on needs."""
        return [optimiser.state_dict() for optimiser in self.each]

    def load_state_dict(self, states: list[dict[str, Any]] | dict[str, Any]) -> None:
        """Go on from a state; runs of earlier versions kept Adam's alone."""
        states = [states] if isinstance(states, dict) else states
        for optimiser, state in zip(self.each, states, strict=True):
            optimiser.load_state_dict(state)
