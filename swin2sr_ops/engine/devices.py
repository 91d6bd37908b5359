"""Choose devices and precisions, and query their free memory."""

from __future__ import annotations

import ctypes
import platform
import sys
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from swin2sr_ops.errors import RequestError
from swin2sr_ops.geometry.plan import ITEMSIZE

if TYPE_CHECKING:
    import torch

__all__ = [
    "CPU",
    "Cpu",
    "auto_precision",
    "check_precision",
    "choose_device",
    "choose_dtype",
    "free_memory",
    "free_memory_cpu",
    "gpu_is_possible",
    "is_out_of_memory",
    "torch_device",
    "torch_version",
]


@dataclass(frozen=True)
class Cpu:
    """The CPU as a device, with what `torch.device` says of itself: it needs no torch."""

    type: str = "cpu"
    index: None = None

    def __str__(self) -> str:
        return self.type


CPU = Cpu()


def check_precision(precision: str) -> str:
    """Reject an unknown precision with one sentence."""
    if precision not in ITEMSIZE:
        raise RequestError(
            f"precision={precision!r} is not one of {', '.join(ITEMSIZE)}. float16 is not offered: "
            "the classical models overflow it and give black images."
        )
    return precision


def choose_device(device: str) -> torch.device | Cpu:
    """Resolve a device; ``auto`` is CUDA, then Apple MPS, then Intel XPU, then the CPU. Reject a missing device.

    torch is imported only where another device than the CPU is wanted, or may be there.
    """
    if device == "cpu" or (device == "auto" and "torch" not in sys.modules and not gpu_is_possible()):
        return CPU
    import torch

    if device == "auto":
        for name in ("cuda", "mps", "xpu"):
            module = getattr(torch.backends, name, None) if name == "mps" else getattr(torch, name, None)
            if module is not None and module.is_available():
                device = name
                break
        else:
            return CPU
    try:
        found = torch.device(device)
        torch.zeros(1, device=found).cpu()  # devices such as "meta" return no pixels
        if found.type == "cuda" and found.index is None:  # "cuda" and "cuda:0" must share one network
            found = torch.device("cuda", torch.cuda.current_device())
    except (RuntimeError, AssertionError, NotImplementedError) as exc:
        sentence = str(exc).splitlines()[0].split(". ")[0]
        why = (
            "" if sentence.startswith("Expected one of") else f" ({sentence})"
        )  # torch's list of all that it ever knew
        raise RequestError(
            f"device={device!r} cannot be used here{why}. Give 'auto', or one that torch sees here: "
            f"{', '.join(devices_here())}."
        ) from exc
    return CPU if found.type == "cpu" else found


def torch_version() -> str:
    """Return the version of the installed torch; empty without one, where this package's own kernels compute."""
    try:
        return version("torch")
    except PackageNotFoundError:
        return ""


@lru_cache(maxsize=1)
def gpu_is_possible() -> bool:
    """Tell whether torch might find a GPU here; if not, it need not be imported to ask."""
    found = torch_version()
    build = found.partition("+")[2]
    if not found or build == "cpu":
        return False
    if sys.platform == "darwin":
        return platform.machine() == "arm64"
    if build and not build.startswith("cu"):  # for GPUs of AMD or Intel
        return True
    try:  # NVIDIA's driver, without which torch finds no GPU of theirs
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    return True


def torch_device(device: torch.device | Cpu) -> torch.device:
    """Return the device as torch knows it."""
    import torch

    return torch.device(str(device))


def devices_here() -> list[str]:
    """List the devices that torch sees on this machine."""
    import torch

    found = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    found += ["mps"] if torch.backends.mps.is_available() else []
    return found + [f"xpu:{i}" for i in range(torch.xpu.device_count() if hasattr(torch, "xpu") else 0)]


def auto_precision(device: str, *, foreign: bool = False) -> str:
    """Resolve ``precision="auto"`` on ``device``: bfloat16 on CUDA GPUs with fast bfloat16, else float32.

    A plugin's network is computed in float32, since only its author knows if less is enough. So is
    everything on a device that exists on a worker but not here.
    """
    try:
        found = choose_device(device)
    except RequestError:
        return "float32"
    if found.type != "cuda" or foreign:
        return "float32"
    import torch

    # Before compute capability 8.0 (Ampere) bfloat16 is emulated; AMD GPUs that report that number have it.
    return "bfloat16" if torch.cuda.get_device_capability(torch_device(found)) >= (8, 0) else "float32"


def choose_dtype(precision: str) -> torch.dtype:
    """Return the dtype of a resolved precision (not ``auto``)."""
    import torch

    dtype: torch.dtype = getattr(torch, check_precision(precision))
    return dtype


def free_memory_cpu() -> int:
    """Return how many bytes of RAM this process may still use, by the machine's and its container's limits."""
    import psutil

    available: int = psutil.virtual_memory().available
    for folder in _cgroups():
        try:
            limit = (folder / "memory.max").read_text(encoding="utf-8").strip()
            stat = dict(line.split() for line in (folder / "memory.stat").read_text(encoding="utf-8").splitlines())
            used = int((folder / "memory.current").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if limit.isdigit():
            # The limit counts cached files as used, but they are freed on demand.
            available = min(available, int(limit) - used + int(stat.get("inactive_file", 0)))
    return max(available, 0)


def _cgroups() -> list[Path]:
    """List this process's control group (v2) and its parents: each may have a limit."""
    root = Path("/sys/fs/cgroup")
    try:
        own = Path("/proc/self/cgroup").read_text(encoding="utf-8").split("::", 1)[1].strip().lstrip("/")
    except (OSError, IndexError):
        return [root]
    folder = root / own
    return [folder, *(p for p in folder.parents if p.is_relative_to(root))]


def free_memory(device: torch.device | Cpu) -> int:
    """Return the bytes that are free on ``device`` now."""
    if device.type == "cuda":
        import torch

        gpu = torch_device(device)
        free, _ = torch.cuda.mem_get_info(gpu)
        # Memory that torch has reserved but not allocated is free too.
        return int(free + torch.cuda.memory_reserved(gpu) - torch.cuda.memory_allocated(gpu))
    return free_memory_cpu()


def is_out_of_memory(error: BaseException) -> bool:
    """Return True if ``error`` says that the device, or the machine, is out of memory."""
    if isinstance(error, MemoryError):
        return True
    torch = sys.modules.get("torch")
    if torch is None:  # who has not imported it has not raised its errors
        return False
    if isinstance(error, torch.OutOfMemoryError):
        return True
    # The allocators of the CPU (Linux, Windows), Apple's MPS and cuBLAS have no error class of their own.
    signs = ("can't allocate memory", "not enough memory", "out of memory", "alloc_failed")
    return isinstance(error, RuntimeError) and any(text in str(error).lower() for text in signs)
