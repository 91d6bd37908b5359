"""Test this package's kernels on this machine before ``auto`` uses them.

An untested compiler or GPU may cost speed, but not pixels: kernels that cannot be built, or that give other
numbers than torch for a small network, are not used.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from copy import deepcopy
from dataclasses import replace
from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from swin2sr_ops.engine.native.build import library, origin
from swin2sr_ops.errors import RequestError
from swin2sr_ops.geometry.plan import TilePlan
from swin2sr_ops.spec import ModelSpec
from swin2sr_ops.weights.shapes import parameter_shapes

if TYPE_CHECKING:
    import torch

__all__ = ["CHECK", "native_obstacle", "triton_obstacle"]

_log = logging.getLogger(__name__)

#: Name of the small network.
CHECK = "check"

_SMALL = ModelSpec(name=CHECK, dim=28, depths=(2,), heads=(2,), upsampler="", scale=1, channels=1)
#: With every kind of kernel, for `native_digest`.
_FIXED = replace(_SMALL, upsampler="pixelshuffle_aux", scale=2, channels=3, num_feat=20)
_RECORDED = "1d399801721a4944"
_SIDE = 20  # gives complete windows, and windows that the border crops
# Another order of summation differs by about 1e-6 (by 5e-3 in bfloat16, where a feature has 8 bits).
_MOST = {False: 2e-5, True: 3e-2}
_lock = Lock()  # the random number generator belongs to the process


@lru_cache(maxsize=1)
def native_obstacle() -> str:
    """Return why the C kernels cannot be used here; empty if they can. Build them if necessary."""
    try:
        library()
    except RequestError as exc:
        if _has_compiler():  # without a compiler, and without $CC, a note at every run would not help
            _log.warning("falling back to the next engine: %s", exc)
        return str(exc)
    # The kernels' bits are the same on every machine. If these are not, torch says how far off they are.
    if native_digest() != _RECORDED and _differs("native", _SMALL, "cpu", half=False):
        return "the result of the C kernels differs from torch's"
    return ""


def native_digest() -> str:
    """Compute a small network of fixed numbers with the kernels, and hash the result; torch has no part in it."""
    from swin2sr_ops.engine.native.engine import NativeEngine

    weights = {}
    for i, (name, shape) in enumerate(parameter_shapes(_FIXED).items()):
        around = 2.0 if name.endswith("logit_scale") else float(".norm" in f".{name}" and name.endswith("weight"))
        weights[name] = _numbers(shape, i) + np.float32(around)
    image = _numbers((_FIXED.channels, _SIDE, _SIDE), 1000) * 2 + np.float32(0.5)
    tile = next(iter(TilePlan(_FIXED, _SIDE, _SIDE, (_SIDE, _SIDE))))
    padded = image[:, tile.y.padding][:, :, tile.x.padding]
    result = NativeEngine(_FIXED, weights).run(padded, tile, threads=1)
    return hashlib.sha256(result.tobytes()).hexdigest()[:16]


def _numbers(shape: tuple[int, ...], seed: int) -> NDArray[np.float32]:
    """Return numbers without a pattern, between -0.25 and 0.25, that no library's generator decides."""
    index = np.arange(np.prod(shape), dtype=np.uint64) + np.uint64(seed * 7919 + 1)
    mixed = index * np.uint64(2654435761) % np.uint64(1 << 32) * np.uint64(40503) % np.uint64(1 << 16)
    return ((mixed.astype(np.float64) - 32768) / 131072).astype(np.float32).reshape(shape)


def _has_compiler() -> bool:
    try:
        origin()
    except RequestError:
        return bool(os.environ.get("CC", "").strip())
    return True


def triton_obstacle(spec: ModelSpec, device: torch.device, dtype: torch.dtype) -> str:
    """Return why the Triton kernels cannot be used for a network on a GPU; empty if they can.

    They are compiled for a network with one stage of two blocks and the given network's sizes, since these decide if
    they fit the GPU. The head is included if the kernels compute it.
    """
    direct = spec.upsampler == "pixelshuffledirect"
    small = replace(
        _SMALL,
        channels=spec.channels,
        planes=spec.planes,
        upsampler="pixelshuffledirect" if direct else "",
        scale=spec.scale if direct else 1,
        architecture=spec.architecture,
        dim=spec.dim,
        heads=spec.heads[:1],
        window=spec.window,
        mlp_ratio=spec.mlp_ratio,
        qkv_bias=spec.qkv_bias,
        resi_connection=spec.resi_connection,
    )
    return _triton_obstacle(small, str(device), str(dtype) == "torch.bfloat16")


@lru_cache(maxsize=32)
def _triton_obstacle(small: ModelSpec, device: str, half: bool) -> str:
    began = time.monotonic()
    try:
        if _differs("triton", small, device, half=half):
            return "the result of the Triton kernels differs from torch's"
    # Any error of a driver or a compiler: torch may still work.
    except Exception as exc:  # noqa: BLE001
        return str(exc) if isinstance(exc, RequestError) else f"{type(exc).__name__}: {exc}"
    if (took := time.monotonic() - began) > 1:  # Triton has its own cache of compiled kernels
        _log.info("compiled and tested kernels for %s in %.1f s", device, took)
    return ""


def _differs(kernels: str, small: ModelSpec, device: str, *, half: bool) -> bool:
    """Return True if ``kernels`` and torch differ for a small network with random weights."""
    import torch

    from swin2sr_ops.engine.tile_engine import TileEngine
    from swin2sr_ops.nets.network import SwinNet

    with _lock, torch.random.fork_rng(devices=[]), torch.inference_mode():
        torch.default_generator.manual_seed(0)
        net, image = SwinNet(small).eval(), torch.rand(small.inputs, _SIDE, _SIDE)
        tile = next(iter(TilePlan(small, _SIDE, _SIDE, (_SIDE, _SIDE))))
        padded = image[:, tile.y.padding][:, :, tile.x.padding].to(device)
        ours, theirs = (
            TileEngine(deepcopy(net).to(device), half=half, kernels=name).run(padded, tile)["image"].float()
            for name in (kernels, "torch")
        )
    apart = float((ours - theirs).abs().max())
    if apart <= _MOST[half]:
        return False
    _log.warning("%s kernels differ from torch's by %.1g on %s: not used", kernels, apart, device)
    return True
