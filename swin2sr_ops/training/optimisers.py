"""Apply gradients with Adam, or with Muon for the matrices of the Swin blocks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.optim import Adam, Optimizer

from swin2sr_ops.errors import RequestError

__all__ = ["Optimisers"]

#: Linear layers of attention and MLP in every Swin block, without the small network for Swin2SR's position bias.
#: A convolution with one of these names is not a matrix and uses Adam.
_MATRICES = tuple(f".{layer}.weight" for layer in ("qkv", "proj", "fc1", "fc2"))


class Optimisers:
    """Use Adam for all parameters, or Muon for the matrices of the Swin blocks and Adam for the rest.

    Muon orthogonalises the momentum of a matrix's gradient before it is applied (Jordan et al., "Muon: An optimizer
    for hidden layers in neural networks", 2024), with ``torch.optim.Muon``. A step's size is scaled to that of Adam
    (Liu et al., "Muon is scalable for LLM training", arXiv:2502.16982), so that one learning rate serves both.

    Parameters
    ----------
    parameters : iterable of (str, Parameter)
        From ``net.named_parameters()``.
    kind : str
        ``"adam"`` or ``"muon"``.

    Raises
    ------
    RequestError
        If this torch is too old to have Muon.
    """

    def __init__(self, parameters: Iterable[tuple[str, nn.Parameter]], kind: str) -> None:
        if kind == "muon" and not hasattr(torch.optim, "Muon"):
            raise RequestError(f"optimiser='muon' needs torch 2.9 or newer, this is {torch.__version__}: use 'adam'.")
        matrices: list[nn.Parameter] = []
        rest: list[nn.Parameter] = []
        for name, value in parameters:
            mine = kind == "muon" and value.ndim == 2 and name.endswith(_MATRICES)
            (matrices if mine else rest).append(value)
        self.each: list[Optimizer] = [Adam(rest, betas=(0.9, 0.99))]
        if matrices:
            self.each.append(torch.optim.Muon(matrices, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"))

    def step(self, lr: float) -> None:
        """Apply the gradients of the parameters."""
        for optimiser in self.each:
            for group in optimiser.param_groups:
                group["lr"] = lr
            optimiser.step()

    def state_dict(self) -> list[dict[str, Any]]:
        """Return all that a resume needs."""
        return [optimiser.state_dict() for optimiser in self.each]

    def load_state_dict(self, states: list[dict[str, Any]] | dict[str, Any]) -> None:
        """Load a saved state; earlier versions saved only Adam's."""
        states = [states] if isinstance(states, dict) else states
        for optimiser, state in zip(self.each, states, strict=True):
            optimiser.load_state_dict(state)
