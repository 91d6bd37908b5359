"""Watch the risk of a run on noisy images: remember the best weights, say when to stop, and what was gained."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

__all__ = ["Watch"]


@dataclass
class Watch:
    """The weights of a run to keep, by their risk.

    The initial weights are kept until others are better by more than the uncertainty of the difference: its standard
    error over the held-out parts. So noise does not choose.

    Attributes
    ----------
    patience : int
        Saves without a smaller risk after which the run stops; 0: it never does.
    first, seen, lowest, best : float or None
        Risk before the first step, the last one, the smallest one, and that of the weights to keep.
    parts : list of float
        Risk on each held-out part before the first step.
    step : int
        Step of the weights to keep.
    at : int
        Step of the last risk.
    waited : int
        Saves since the smallest risk.
    weights : dict
        The averaged weights to keep.
    """

    patience: int
    first: float | None = None
    seen: float | None = None
    lowest: float | None = None
    best: float | None = None
    parts: list[float] = field(default_factory=list)
    step: int = 0
    at: int = 0
    waited: int = 0
    weights: dict[str, Tensor] = field(default_factory=dict)

    @property
    def stops(self) -> bool:
        """True if the risk has not fallen for so long that more steps would learn the noise."""
        return bool(self.patience) and self.waited >= self.patience

    def see(self, risks: ArrayLike, step: int, weights: dict[str, Tensor]) -> None:
        """Note the risk of the averaged weights at a step, on each held-out part."""
        parts = np.asarray(risks, np.float64)
        self.seen = risk = float(parts.mean())
        self.at = step
        if self.first is None:
            self.first, self.parts = risk, parts.tolist()
            self._keep(risk, step, weights)
        elif self.best is not None and risk < self.best and self._surely_better(parts):
            self._keep(risk, step, weights)
        self.waited = self.waited + 1 if self.lowest is not None and risk >= self.lowest else 0
        self.lowest = risk if self.lowest is None else min(self.lowest, risk)

    @property
    def keeps_first(self) -> bool:
        """True if no trained weights are better than the initial ones."""
        return self.best == self.first

    def verdict(self, noisy: str) -> str:
        """Say what the initial weights being kept means, and what to do; ``noisy`` is how the run learned."""
        if not self.at:
            return "the initial weights are kept: the risk of trained ones has not been estimated yet"
        more = "more images" + ("" if noisy == "repeats" else ", or with --noisy repeats if there are several frames")
        return (
            "the initial weights are kept: no trained ones had a risk on the held-out parts that is lower by more than"
            f" its uncertainty ({self.first:.5g} at first, {self.lowest:.5g} at lowest); train on {more}"
        )

    def _surely_better(self, parts: NDArray[np.float64]) -> bool:
        less = np.asarray(self.parts) - parts
        return bool(less.mean() > less.std() / np.sqrt(less.size))

    def _keep(self, risk: float, step: int, weights: dict[str, Tensor]) -> None:
        self.best, self.step = risk, step
        self.weights = {name: value.detach().clone() for name, value in weights.items()}

    def state_dict(self) -> dict[str, Any]:
        """Return all that a resume needs."""
        return {name: value for name, value in vars(self).items() if name != "patience"}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load a saved state."""
        for name, value in state.items():
            setattr(self, name, value)
