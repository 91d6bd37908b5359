"""Save a model as one ``.safetensors`` file with its description in the header."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from swin2sr_ops.errors import CheckpointError, OutputError
from swin2sr_ops.io.storage.moves import replacing
from swin2sr_ops.spec import ModelSpec
from swin2sr_ops.weights.catalogue import header_of
from swin2sr_ops.weights.loader import check_parameters

__all__ = ["save_model"]


def save_model(
    path: str | os.PathLike[str],
    model: nn.Module | Mapping[str, Tensor],
    spec: ModelSpec,
    *,
    dtype: torch.dtype = torch.float16,
) -> Path:
    """Write a model to a ``.safetensors`` file with ``spec`` in its header.

    Parameters
    ----------
    path : path-like
        Output file; an existing file is replaced atomically once the new one is complete.
    model : Module or mapping of str to Tensor
        Network or its parameters.
    spec : ModelSpec
        Description of the model, its training (`ModelSpec.provenance`) and its measurements. ``weights``,
        ``sha256`` and ``size_bytes`` are left out, since they describe a file.
    dtype : torch.dtype
        Type of the stored numbers. Half precision halves the file; inference computes in float32 either way.

    Raises
    ------
    CheckpointError
        If the parameters are not those of ``spec``, or some are not finite in ``dtype``.
    """
    path = Path(path)
    state = model.state_dict() if isinstance(model, nn.Module) else model
    check_parameters(state, spec, "the model to save")
    tensors = {name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in state.items()}
    broken = [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]
    if broken:
        raise CheckpointError(f"{spec.name} is not saved: {', '.join(broken[:3])} would not be finite in {dtype}.")
    with replacing(path) as part:
        try:
            save_file(tensors, part, metadata=header_of(spec))
        except SafetensorError as exc:  # all that can fail is writing: the tensors were checked
            raise OutputError(
                f"{str(path)!r} cannot be written: {exc}. Free some space, or choose another place."
            ) from exc
    return path
