"""Convert stored pixels to the network's values on a device, and back; a GPU copies while it computes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from swin2sr_ops.engine.arrays import storage_limits
from swin2sr_ops.engine.devices import choose_dtype
from swin2sr_ops.pixels.intensity import IntensityMap

if TYPE_CHECKING:
    import torch

__all__ = ["to_device", "to_host", "to_network", "to_storage", "to_units"]


def to_network(
    region: NDArray[Any], ends: IntensityMap, device: torch.device, wide: torch.dtype, precision: str
) -> torch.Tensor:
    """Map stored pixels to 0..1 in ``wide`` arithmetic, and put them on ``device``, float32 or wider."""
    import torch

    stored = torch.from_numpy(np.ascontiguousarray(region, region.dtype.newbyteorder("=")))
    # The storage type crosses the bus if the device supports it; Apple's supports no float64.
    x = stored.to(wide) if device.type == "mps" else to_device(stored, device).to(wide)
    x = (x - ends.lo) / (ends.width or 1.0)
    return x.to(torch.promote_types(choose_dtype(precision), torch.float32)).to(device)


def to_units(y: torch.Tensor, ends: IntensityMap, wide: torch.dtype) -> torch.Tensor:
    """Map the network's values back to stored units, in ``wide`` arithmetic."""
    y = y.cpu() if y.device.type == "mps" else y
    return y.to(wide) * ends.width + ends.lo


def to_storage(y: torch.Tensor, dtype: np.dtype[Any]) -> torch.Tensor:
    """Round and clip values in stored units to ``dtype``; float16 is float32 until it leaves."""
    import torch

    y = y.clamp(*storage_limits(dtype)) if dtype.kind == "f" else y.round().clamp(*storage_limits(dtype))
    kind: torch.dtype = getattr(torch, "float32" if dtype.name == "float16" else dtype.name)
    return y.to(kind)


def to_device(x: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Copy ``x`` from host memory to ``device``; work queued there later waits for the copy."""
    import torch

    if device.type != "cuda":
        return x.to(device)
    with torch.cuda.stream(_stream(device, "up")):
        found = x.pin_memory().to(device, non_blocking=True)
    here = torch.cuda.current_stream(device)
    here.wait_stream(_stream(device, "up"))
    found.record_stream(here)  # its memory is not reused for the next upload before it has been read
    return found


def to_host(x: torch.Tensor) -> Callable[[], torch.Tensor]:
    """Start to copy ``x`` to host memory; the returned function waits for the copy.

    The copy waits for all work that is queued on the device so far, but not for later work.
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
def _stream(device: torch.device, direction: str) -> torch.cuda.Stream:
    """Return the stream of one direction, so that up- and downloads do not wait for each other."""
    import torch

    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
