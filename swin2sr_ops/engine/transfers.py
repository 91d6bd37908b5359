"""Pixels to and from a GPU while it computes: on streams of their own, through pinned memory."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

__all__ = ["fetch", "to_device"]


def to_device(x: torch.Tensor, device: torch.device) -> torch.Tensor:
    """``x``, of this machine's memory, on ``device``: there when what the device is given next begins."""
    import torch

    if device.type != "cuda":
        return x.to(device)
    with torch.cuda.stream(_stream(device, "up")):
        found = x.pin_memory().to(device, non_blocking=True)
    here = torch.cuda.current_stream(device)
    here.wait_stream(_stream(device, "up"))
    found.record_stream(here)  # its memory is not given to the next upload before it has been used
    return found


def fetch(x: torch.Tensor) -> Callable[[], torch.Tensor]:
    """Begin to copy ``x`` to this machine's memory; what is returned waits for it.

    The copy comes after all that the device has been given so far, and waits for nothing that it is given later.
    """
    import torch

    if x.device.type != "cuda":
        return x.cpu
    side = _stream(x.device, "down")
    side.wait_stream(torch.cuda.current_stream(x.device))
    host = torch.empty(x.shape, dtype=x.dtype, pin_memory=True)
    with torch.cuda.stream(side):
        host.copy_(x, non_blocking=True)
    x.record_stream(side)
    copied = side.record_event()

    def waited() -> torch.Tensor:
        copied.synchronize()
        return host

    return waited


@cache
def _stream(device: torch.device, way: str) -> torch.cuda.Stream:
    """One a direction: the two do not wait for each other."""
    import torch

    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
