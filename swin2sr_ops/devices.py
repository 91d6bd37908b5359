"""Devices, precisions and the memory that is free on them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from swin2sr_ops.errors import RequestError

if TYPE_CHECKING:
    import torch

__all__ = ["ITEMSIZE", "choose_device", "choose_dtype", "free_memory", "free_memory_cpu", "is_out_of_memory"]

#: Bytes per feature value.
ITEMSIZE = {"auto": 4, "float32": 4, "float64": 8, "bfloat16": 2}


def check_precision(precision: str) -> str:
    """Refuse an unknown precision with a sentence."""
    if precision not in ITEMSIZE:
        raise RequestError(
            f"precision={precision!r} is not one of {', '.join(ITEMSIZE)}. float16 is not offered: "
            "the classical models overflow it and give black images."
        )
    return precision


def choose_device(device: str) -> torch.device:
    """``auto`` is CUDA, then Apple MPS, then Intel XPU, then the CPU; a device that is not there is refused."""
    import torch

    if device == "auto":
        for name in ("cuda", "mps", "xpu"):
            module = getattr(torch.backends, name, None) if name == "mps" else getattr(torch, name, None)
            if module is not None and module.is_available():
                return torch.device(name)
        return torch.device("cpu")
    try:
        found = torch.device(device)
        torch.empty(1, device=found)
    except (RuntimeError, AssertionError, NotImplementedError) as exc:
        raise RequestError(
            f"device={device!r} cannot be used here ({str(exc).splitlines()[0]}). "
            "Give 'auto', 'cpu', or a device that torch sees, such as 'cuda:0'."
        ) from exc
    return found


def choose_dtype(precision: str) -> torch.dtype:
    """``auto`` is float32: the only precision whose result is the reference on every device."""
    import torch

    name = "float32" if check_precision(precision) == "auto" else precision
    dtype: torch.dtype = getattr(torch, name)
    return dtype


def free_memory_cpu() -> int:
    """Bytes of RAM this process may still take: what the machine has available, or its container."""
    import psutil

    available: int = psutil.virtual_memory().available
    for limit, used in _CGROUP_FILES:
        try:
            text = Path(limit).read_text().strip()
            if text.isdigit():
                available = min(available, int(text) - int(Path(used).read_text()))
        except OSError:
            continue
    return max(available, 0)


_CGROUP_FILES = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


def free_memory(device: torch.device) -> int:
    """Bytes free on ``device`` now."""
    import torch

    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        # What torch holds but does not use can be used.
        return int(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))
    return free_memory_cpu()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` says that the device, or the machine, has no memory left."""
    import torch

    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    # The CPU allocator has no error class of its own.
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
