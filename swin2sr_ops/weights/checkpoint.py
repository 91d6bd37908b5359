"""Read a checkpoint of any origin into parameters under the official names.

Supported are the authors' ``.pth`` files (and those of KAIR, BasicSR, Lightning), Hugging Face folders, other
programs' ``.safetensors`` files, and this package's own ``.safetensors`` with the model's description in the
header. Nothing is ever unpickled: ``torch.load`` runs with ``weights_only=True``.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from swin2sr_ops.errors import CheckpointError
from swin2sr_ops.io.storage.paths import unreadable, user_path
from swin2sr_ops.spec import ModelSpec
from swin2sr_ops.weights import huggingface
from swin2sr_ops.weights.arrays import split_buffers, without_prefix
from swin2sr_ops.weights.catalogue import read_header, spec_of_header
from swin2sr_ops.weights.digest import file_sha256
from swin2sr_ops.weights.sniff import DAMAGE, EXPECTED, check_torch_file

__all__ = ["Checkpoint", "read_checkpoint", "read_tensors"]

#: Keys under which training programs store the parameters; the papers measure the averaged ones (EMA).
_WRAPPERS = ("params_ema", "params-ema", "params", "state_dict", "model_state_dict", "model", "net")


@dataclass(frozen=True)
class Checkpoint:
    """Contents of a checkpoint file or folder.

    Attributes
    ----------
    path : Path
        The file or folder.
    parameters : dict of str to Tensor
        Learned tensors under the official names, float32, on the CPU.
    facts : dict
        Fields of `ModelSpec` that the file states beside its parameters: the window, derived from the
        buffers; for a Hugging Face folder, all fields in its ``config.json``.
    spec : ModelSpec or None
        Description in the header, if this package wrote the file.
    sha256 : str
        SHA-256 of the file; for a folder, of its weight file.
    """

    path: Path
    parameters: dict[str, Tensor]
    facts: dict[str, Any] = field(default_factory=dict)
    spec: ModelSpec | None = None
    sha256: str = ""


def read_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Read a checkpoint file or Hugging Face folder.

    Parameters
    ----------
    path : path-like
        ``.pth``, ``.pt``, ``.ckpt``, ``.bin``, ``.safetensors``, or a folder with ``config.json``.

    Raises
    ------
    CheckpointError
        If it is missing or is not a checkpoint; the message says what the file is instead.
    """
    path = Path(os.path.realpath(user_path(path)))
    if not path.exists():
        raise CheckpointError(f"There is no file {path}; {EXPECTED}.")
    if reason := unreadable(path, str(path)):
        raise CheckpointError(reason)
    if path.is_dir():
        raw, facts, digest = huggingface.read_folder(path, read_tensors)
        return _checkpoint(path, raw, facts, None, digest)
    spec = spec_of_header(read_header(path), path) if path.suffix == ".safetensors" else None
    return _checkpoint(path, read_tensors(path), {}, spec, file_sha256(path))


def _checkpoint(
    path: Path, raw: Mapping[str, Tensor], facts: dict[str, Any], spec: ModelSpec | None, digest: str
) -> Checkpoint:
    if huggingface.is_hugging_face(raw):
        raw = huggingface.official_names(raw)
    parameters, window = split_buffers(raw)
    if window:
        facts = {"window": window, **facts}
    # Always store contiguous float32: a half-precision file holds rounded weights but asks for no other arithmetic.
    parameters = {name: tensor.to(torch.float32).contiguous() for name, tensor in parameters.items()}
    return Checkpoint(path, parameters, facts, spec, digest)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of one file as a flat dictionary, without wrappers and prefixes."""
    if path.suffix == ".safetensors":
        read_header(path)  # describes the damage of a damaged file in one sentence
        try:
            loaded: Any = load_file(path)
        except SafetensorError as exc:
            raise CheckpointError(f"{path} is not a readable safetensors file ({exc}): fetch it again.") from exc
    else:
        loaded = _torch_load(path)
    found = _unwrap(loaded, path)
    tensors = {name: value for name, value in found.items() if isinstance(value, Tensor)}
    if not tensors:
        some = ", ".join(map(str, list(found)[:4])) or "nothing"
        raise CheckpointError(f"{path} contains no tensors, only {some}; {EXPECTED}.")
    return without_prefix(tensors)


def _torch_load(path: Path) -> object:
    check_torch_file(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as exc:
        raise CheckpointError(
            f"{path} is a pickle that holds more than tensors, or is damaged, and is not loaded: it could run "
            f"any code. Save its state_dict alone, best as .safetensors. ({str(exc).splitlines()[0][:200]})"
        ) from exc
    except DAMAGE as exc:
        raise CheckpointError(f"{path} is damaged or truncated ({type(exc).__name__}): fetch it again.") from exc


def _unwrap(loaded: object, path: Path) -> Mapping[str, Any]:
    """Return the innermost dictionary: behind a known key, or the only dictionary inside."""
    if not isinstance(loaded, Mapping):
        raise CheckpointError(f"{path} holds a {type(loaded).__name__}, not a dictionary of tensors; {EXPECTED}.")
    for key in _WRAPPERS:
        if isinstance(loaded.get(key), Mapping):
            return _unwrap(loaded[key], path)
    inner = [value for value in loaded.values() if isinstance(value, Mapping)]
    if len(inner) == 1 and not any(isinstance(value, Tensor) for value in loaded.values()):
        return _unwrap(inner[0], path)
    return loaded
