"""A model as one ``.safetensors`` file, which restores on a CPU without torch, whatever it was before."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from swin2sr_ops.errors import ModelError
from swin2sr_ops.export.files import target_of, write_file
from swin2sr_ops.hooks.dispatch import resolve_model
from swin2sr_ops.spec import ModelSpec

__all__ = ["SavedWeights", "export_safetensors"]


@dataclass(frozen=True)
class SavedWeights:
    """Report on a saved model: its name, the file, and the file's size in bytes."""

    model: str
    path: str
    size_bytes: int

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.path}: {self.model}, {self.size_bytes / 1e6:.1f} MB, with its description; needs no torch"


def export_safetensors(
    model: str | PathLike[str] | ModelSpec,
    path: str | PathLike[str],
    *,
    overwrite: bool = False,
    **hints: Any,
) -> SavedWeights:
    """Write a model's weights in float32, with its description in the header: the pixels stay the same.

    Parameters
    ----------
    model : str, path or ModelSpec
        As in `swin2sr_ops.restore`; Swin2SR or SwinIR. A ``.pth`` file and a Hugging Face folder are read with torch.
    path : str or path
        Ends in ``.safetensors``.
    overwrite : bool
        Replace ``path`` if it exists.
    **hints
        Facts that a checkpoint lacks: ``value_range``, ``window``.

    Returns
    -------
    SavedWeights

    Raises
    ------
    RequestError, ModelError, OutputError
        A sentence says what does not fit.
    """
    import numpy as np
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    from swin2sr_ops.weights.catalogue import header_of
    from swin2sr_ops.weights.loader import load_parameters

    target = target_of(path, ".safetensors", model, overwrite=overwrite, needed=(), extra="")
    spec = resolve_model(model, **hints)
    if spec.reach is not None:
        raise ModelError(f"{spec.name} is not a Swin2SR or SwinIR network: only these can be exported.")
    arrays = {name: np.ascontiguousarray(values, np.float32) for name, values in load_parameters(spec).items()}

    def write(part: Path) -> None:
        try:
            save_file(arrays, part, metadata=header_of(spec))
        except SafetensorError as exc:  # all that can fail is writing
            raise OSError(str(exc)) from exc

    write_file(target, write)
    return SavedWeights(spec.name, str(target), target.stat().st_size)
