"""Read ``.safetensors`` files as NumPy arrays: no torch is needed for them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from swin2sr_ops.errors import CheckpointError
from swin2sr_ops.weights import huggingface
from swin2sr_ops.weights.catalogue import read_header
from swin2sr_ops.weights.sniff import EXPECTED

__all__ = ["read_arrays", "split_buffers", "without_prefix"]

T = TypeVar("T")  # a tensor or an array

_PREFIXES = ("module.", "netG.", "_orig_mod.")

#: Computed from shapes, never learned; files of other training sizes differ in them.
_BUFFERS = ("attn_mask", "relative_position_index", "relative_coords_table")


def read_arrays(path: Path) -> tuple[dict[str, NDArray[np.float32]], dict[str, Any]]:
    """Read the parameters in a file under the official names, float32, and the facts that it states beside them.

    Parameters
    ----------
    path : Path
        A ``.safetensors`` file of anyone's.

    Raises
    ------
    CheckpointError
        If it is damaged.
    """
    header = read_header(path)
    raw = without_prefix(_arrays(path, header))
    if not raw:
        raise CheckpointError(f"{path} contains no tensors; {EXPECTED}.")
    if huggingface.is_hugging_face(raw):
        raw = huggingface.official_names(raw)
    parameters, window = split_buffers(raw)
    # Half-precision files hold rounded weights, not other arithmetic.
    found = {name: np.ascontiguousarray(values, np.float32) for name, values in parameters.items()}
    return found, {"window": window} if window else {}


def _arrays(path: Path, header: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    found: dict[str, NDArray[Any]] = {}
    try:
        with safe_open(path, "np") as file, path.open("rb") as bytes_of:
            start = 8 + int.from_bytes(bytes_of.read(8), "little")
            for name in file.keys():  # noqa: SIM118  (no mapping)
                entry = header[name]
                if entry["dtype"] != "BF16":
                    found[name] = file.get_tensor(name)
                    continue
                first, last = entry["data_offsets"]  # NumPy has no bfloat16, the upper half of a float32
                bytes_of.seek(start + first)
                upper = np.frombuffer(bytes_of.read(last - first), "<u2").astype(np.uint32) << 16
                found[name] = upper.view(np.float32).reshape(entry["shape"])
    except (SafetensorError, TypeError, ValueError, LookupError) as exc:
        raise CheckpointError(f"{path} is not a readable safetensors file ({exc}): fetch it again.") from exc
    return found


def without_prefix(tensors: Mapping[str, T]) -> dict[str, T]:
    """Remove what training programs put before all names."""
    for prefix in _PREFIXES:
        if tensors and all(name.startswith(prefix) for name in tensors):
            return without_prefix({name.removeprefix(prefix): tensor for name, tensor in tensors.items()})
    return dict(tensors)


def split_buffers(raw: Mapping[str, T]) -> tuple[dict[str, T], int]:
    """Separate the parameters from the buffers; return the window that these state, 0 where they were stripped."""
    window = 0
    parameters = {}
    for name, tensor in raw.items():
        kind, shape = name.rsplit(".", 1)[-1], tuple(getattr(tensor, "shape", ()))
        if kind not in _BUFFERS:
            parameters[name] = tensor
        elif kind == "relative_coords_table":  # (1, 2w - 1, 2w - 1, 2)
            window = (shape[1] + 1) // 2
        else:  # (w^2, w^2) and (windows, w^2, w^2)
            window = math.isqrt(shape[-1])
    return parameters, window
