"""Read a bioimage.io package: its description (0.4 or 0.5) and the network in it."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from swin2sr_ops import CheckpointError, ModelError
from swin2sr_ops.hosting import file_sha256
from swin2sr_ops_bioimageio.network import OnnxNetwork, PackageNetwork
from swin2sr_ops_bioimageio.tensors import Tensors
from swin2sr_ops_bioimageio.values import Values

__all__ = ["CODE", "Package"]

#: Set to 1, it allows packages to run the Python code that they bring.
CODE = "SWIN2SR_OPS_PACKAGE_CODE"
_FORMATS = ("torchscript", "onnx", "pytorch_state_dict")


@dataclass(frozen=True)
class Package:
    """A package whose description was read and understood.

    Attributes
    ----------
    path : Path
    sha256 : str
        Of the file; of a folder, of all its files.
    description : ModelDescr
        Of bioimageio.spec, version 0.5.
    tensors : Tensors
        Axes, sizes, channels, scale.
    values : Values
        What is done with values before and after the network.
    kind : str
        Format of the weights that are used.
    """

    path: Path
    sha256: str
    description: Any
    tensors: Tensors
    values: Values
    kind: str

    @classmethod
    def read(cls, path: Path, sha256: str = "") -> Package:
        """Read and validate a package; load no network.

        Raises
        ------
        CheckpointError
            If it is missing or damaged, or another one than ``sha256`` says.
        ModelError
            If it does not restore images in a way that can be run here.
        """
        if not path.exists():
            raise CheckpointError(f"There is no package {path}: put it back, or resolve the model again.")
        found = _digest(path)
        if sha256 and found != sha256:
            raise CheckpointError(
                f"{path} is not the package that was described: its SHA-256 begins with {found[:12]} instead of "
                f"{sha256[:12]}. Put that one back, or resolve the model again."
            )
        description = _description(path)
        if len(description.inputs) != 1 or len(description.outputs) != 1:
            raise ModelError(
                f"{path.name} has {len(description.inputs)} input(s) and {len(description.outputs)} output(s): "
                "supported is one image in and one out."
            )
        (given,), (restored,) = description.inputs, description.outputs
        tensors = Tensors.of(given, restored, path.name)
        values = Values.of(given, restored, path.name)
        return cls(path, found, description, tensors, values, _kind(description.weights, path.name))

    def network(self) -> PackageNetwork:
        """Load the network, on the CPU."""
        weights = getattr(self.description.weights, self.kind)
        try:
            model = _LOADERS[self.kind](weights)
        except Exception as exc:  # foreign files and code may raise anything
            raise ModelError(
                f"The network in {self.path.name} ({self.kind}) cannot be loaded: {type(exc).__name__}: "
                f"{' '.join(str(exc).split())[:300]}"
            ) from exc
        return PackageNetwork(model, self.tensors, self.values)


def _description(path: Path) -> Any:
    from bioimageio.spec import InvalidDescr, ValidationContext, load_description
    from bioimageio.spec.model.v0_5 import ModelDescr

    try:
        with ValidationContext(log_warnings=False, progressbar=False, perform_io_checks=False):
            found = load_description(path, format_version="latest")
    except Exception as exc:  # foreign files may raise anything
        raise ModelError(f"{path.name} cannot be read as a bioimage.io package: {type(exc).__name__}: {exc}") from exc
    if isinstance(found, InvalidDescr):
        problems = "; ".join(error.msg for detail in found.validation_summary.details for error in detail.errors)
        raise ModelError(f"{path.name} is not a valid bioimage.io package: {' '.join(problems.split())[:300]}")
    if not isinstance(found, ModelDescr):
        raise ModelError(f"{path.name} describes a {found.type}, not a model.")
    return found


def _kind(weights: Any, name: str) -> str:
    there = [kind for kind in _FORMATS if getattr(weights, kind) is not None]
    if not there:
        raise ModelError(f"{name} has weights for other libraries only: supported are {', '.join(_FORMATS)}.")
    if there == ["pytorch_state_dict"] and os.environ.get(CODE) != "1":
        raise ModelError(
            f"{name} brings Python code that builds its network. If you trust its authors, set {CODE}=1 to run it."
        )
    source = getattr(weights, there[0]).source
    if str(source).startswith(("http:", "https:")):
        raise ModelError(f"The weights of {name} lie at {source}: download the complete package.")
    return there[0]


def _digest(path: Path) -> str:
    if path.is_file():
        return file_sha256(path)
    digest = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        digest.update(f"{file.relative_to(path).as_posix()} {file_sha256(file)}\n".encode())
    return digest.hexdigest()


def _torchscript(weights: Any) -> nn.Module:
    import io
    import warnings

    import torch

    with warnings.catch_warnings():
        # torch deprecates TorchScript, since 2.14 by a FutureWarning; packages still use it.
        warnings.filterwarnings("ignore", ".*torch.jit.* is deprecated")
        content = io.BytesIO(weights.get_reader().read())
        model: nn.Module = torch.jit.load(content, map_location="cpu")  # type: ignore[no-untyped-call]
    return model


def _onnx(weights: Any) -> nn.Module:
    if weights.external_data is not None:
        raise ModelError("its weights lie in a second file, which is not supported")
    return OnnxNetwork(weights.get_reader().read())


def _state_dict(weights: Any) -> nn.Module:
    from bioimageio.core.backends.pytorch_backend import load_torch_model

    model: nn.Module = load_torch_model(weights, load_state=True, devices=["cpu"])
    return model


_LOADERS = {"torchscript": _torchscript, "onnx": _onnx, "pytorch_state_dict": _state_dict}
