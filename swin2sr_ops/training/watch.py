"""Watch the risk estimate of a run on noisy images: remember the best weights, and say when to stop."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

__all__ = ["Watch"]


@dataclass
class Watch:
    """The best weights of a run so far, by their risk.

    Attributes
    ----------
    patience : int
        Saves without a smaller risk after which the run stops; 0: it never does.
    first, seen, best : float or None
        Risk before the first step, the last one, and the smallest one.
    step : int
        Step of the smallest one.
    waited : int
        Saves since then.
    weights : dict
        The averaged weights of that step.
    """

    patience: int
    first: float | None = None
    seen: float | None = None
    best: float | None = None
    step: int = 0
    waited: int = 0
    weights: dict[str, Tensor] = field(default_factory=dict)

    @property
    def stops(self) -> bool:
        """True if the risk has not fallen for so long that more steps would learn the noise."""
        return bool(self.patience) and self.waited >= self.patience

    def see(self, risk: float, step: int, weights: dict[str, Tensor]) -> None:
        """Note the risk of the averaged weights at a step."""
        self.seen = risk
        if self.first is None:
            self.first = risk
        if self.best is None or risk < self.best:
            self.best, self.step, self.waited = risk, step, 0
            self.weights = {name: value.detach().clone() for name, value in weights.items()}
        else:
            self.waited += 1

    def state_dict(self) -> dict[str, Any]:
        """Return all that a resume needs."""
        return {name: value for name, value in vars(self).items() if name != "patience"}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load a saved state."""
        for name, value in state.items():
            setattr(self, name, value)
