"""Networks of other projects for comparison: spandrel's copy of the official code, and transformers'.

Both import torchvision, of which nothing is used. Its wheel registers operators when it loads a
compiled library; beside a CPU build of torch that library does not load and the import fails. Then
the two operators that it decorates are declared here and the import tried again: they are never called.
"""

from __future__ import annotations

import importlib
import sys
from functools import lru_cache
from types import ModuleType
from typing import Any

import pytest
import torch

from swin2sr_ops.spec import ModelSpec

_NMS = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_LIBRARY: list[torch.library.Library] = []  # operators live as long as this object


@lru_cache(maxsize=1)
def _mend_torchvision() -> None:
    try:
        importlib.import_module("torchvision")
    except ImportError:
        return  # its callers raise an error
    except RuntimeError:  # operator torchvision::nms does not exist
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            library.define(name + _NMS)
        _LIBRARY.append(library)
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]


def _import(name: str) -> ModuleType:
    _mend_torchvision()
    module: ModuleType = pytest.importorskip(name, exc_type=ImportError)
    return module


def _settings(spec: ModelSpec) -> dict[str, Any]:
    """Return the settings that both libraries call by the same names."""
    return {
        "embed_dim": spec.dim,
        "depths": list(spec.depths),
        "num_heads": list(spec.heads),
        "window_size": spec.window,
        "mlp_ratio": spec.mlp_ratio,
        "upscale": spec.scale,
        "img_range": spec.value_range,
        "upsampler": spec.upsampler,
        "resi_connection": spec.resi_connection,
    }


def spandrel_network(spec: ModelSpec, image_size: int = 16) -> torch.nn.Module:
    """The official network of ``spec`` as spandrel carries it, randomly initialised.

    ``image_size`` is the training size, which the official code needs for its buffers.
    """
    family = "Swin2SR" if spec.architecture == "swin2sr" else "SwinIR"
    module = _import(f"spandrel.architectures.{family}.__arch.{family}")
    network: torch.nn.Module = getattr(module, family)(
        img_size=max(image_size // spec.window, 2) * spec.window,
        in_chans=spec.channels,
        **_settings(spec),
    )
    return network.eval()


def transformers_network(spec: ModelSpec, image_size: int = 16) -> Any:
    """The network of ``spec`` as transformers carries it, randomly initialised."""
    module = _import("transformers.models.swin2sr")
    config = module.Swin2SRConfig(
        image_size=max(image_size // spec.window, 2) * spec.window,
        num_channels=spec.channels,
        **_settings(spec),
    )
    return module.Swin2SRForImageSuperResolution(config).eval()


def perturb(network: torch.nn.Module, seed: int = 0, amount: float = 0.02) -> None:
    """Move every parameter off its initial value: zero biases and unit norms would hide mistakes."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += amount * torch.randn(parameter.shape, generator=generator)
