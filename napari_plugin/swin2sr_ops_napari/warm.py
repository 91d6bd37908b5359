"""Load torch in a thread without holding up the window."""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

__all__ = ["load_torch"]

_LIBRARIES = {"linux": "libtorch_cpu.so", "darwin": "libtorch_cpu.dylib"}


def load_torch() -> None:
    """Import torch, its largest library first, if it is needed: the package's own kernels compute without it.

    While Python imports a library, it holds its lock: of torch's hundreds of megabytes, for 0.2 s and more, in
    which no window moves. Called through `ctypes`, the loader does not hold it, and the import finds the library
    there. Only the part of torch that knows nothing of Python may be loaded so.
    """
    from swin2sr_ops.hosting import needs_torch

    if "torch" in sys.modules or not needs_torch():
        return
    with suppress(OSError, AttributeError, TypeError):
        _load_library()
    import torch  # noqa: F401


def _load_library() -> None:
    name, spec = _LIBRARIES.get(sys.platform), find_spec("torch")
    if name is None or spec is None or not spec.submodule_search_locations:
        return
    path = Path(spec.submodule_search_locations[0]) / "lib" / name
    if path.is_file():
        opened = ctypes.CDLL(None).dlopen
        opened.argtypes, opened.restype = [ctypes.c_char_p, ctypes.c_int], ctypes.c_void_p
        opened(os.fsencode(path), os.RTLD_NOW)
