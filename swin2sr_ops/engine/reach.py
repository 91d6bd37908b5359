"""Find how far a foreign network sees: proven from its layers, else measured."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor, nn

from swin2sr_ops.engine.reach_measured import Restoring, activation_bytes, measured_reach
from swin2sr_ops.engine.reach_proven import proven_sight
from swin2sr_ops.spec import Reach

__all__ = ["FoundReach", "find_reach"]

_log = logging.getLogger(__name__)
#: Halo in pixels above which an exact result costs many times the cell.
_FAR = 64


@dataclass(frozen=True)
class FoundReach:
    """The fields of a `ModelSpec` that say how far its network sees.

    Attributes
    ----------
    window : int
    reach : Reach
    halo_error : dict
    advice : str
        A sentence about how the halo was found.
    """

    window: int
    reach: Reach
    halo_error: dict[str, float] = field(default_factory=dict)
    advice: str = ""


def find_reach(
    network: Restoring,
    channels: int,
    *,
    model: nn.Module,
    call: Callable[[nn.Module, Tensor], Tensor],
    name: str,
    multiple: int = 1,
    minimum: int = 1,
    window: int = 1,
    traced: bool = True,
) -> FoundReach:
    """Prove how far a network sees, or measure it (minutes for a large network).

    Parameters
    ----------
    network : Restoring
        Takes images of any size.
    channels : int
    model, call
        The module inside and how it is called; the proof traces them.
    name : str
        For the note that a measurement begins.
    multiple, minimum : int
        The sides of the module's input are multiples of the first and at least the second.
    window : int
        Side of the attention windows; 1 if unknown.
    traced : bool
        False if the module's layers cannot be seen: nothing can be proven then, and its memory is unknown.
    """
    memory = activation_bytes(network, channels, max(64, minimum)) if traced else 0
    sight = proven_sight(call, model) if traced else None
    if sight is not None and sight.step * network.scale == 1:
        halo = math.ceil(sight.reach)
        # A cell at the image's end is at least as wide as its halo: it must not need more padding than the image.
        if multiple % sight.coarsest == 0 and halo + 1 >= minimum:
            side = math.lcm(multiple, 8)
            reach = Reach(halo=halo, exact=True, multiple=multiple, cell=_cell(side), pixel_bytes=memory)
            advice = f"Convolutions only: its halo of {halo} px is proven from its layers."
            if halo > _FAR:
                advice += " A shorter halo, such as 32, is much faster and almost equal."
            return FoundReach(side, reach, advice=advice)
    _log.warning("Measuring the halo of %s, once for this file: this may take some minutes.", name)
    trial = measured_reach(network, channels, math.lcm(multiple, window, 8))
    reach = Reach(halo=trial.halo, multiple=multiple, cell=_cell(trial.window), pixel_bytes=memory)
    error = trial.errors[str(trial.halo)]
    advice = (
        f"Approximate: its halo was measured, not proven. With {trial.halo} px around each cell of "
        f"{reach.cell} px, expect errors of about {error:.1g} of the full range."
    )
    return FoundReach(trial.window, reach, trial.errors, advice)


def _cell(window: int) -> int:
    return -(-256 // window) * window
