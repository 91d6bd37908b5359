"""Whether our kernels work on this machine: asked before anybody gets them who did not ask for them.

A compiler or a GPU that nobody has tried must cost speed, not pixels: kernels that cannot be built, or that give other
numbers than torch for a small network, are left unused.
"""

from __future__ import annotations

import logging
import os
import time
from copy import deepcopy
from dataclasses import replace
from functools import lru_cache
from threading import Lock

import torch

from swin2sr_ops.engine.native.build import find_compiler, library
from swin2sr_ops.engine.tile_engine import TileEngine
from swin2sr_ops.errors import RequestError
from swin2sr_ops.geometry.plan import TilePlan
from swin2sr_ops.nets.network import SwinNet
from swin2sr_ops.spec import ModelSpec

__all__ = ["CHECK", "native_obstacle", "triton_obstacle"]

_log = logging.getLogger(__name__)

#: The small network's name.
CHECK = "check"

_SMALL = ModelSpec(name=CHECK, dim=28, depths=(2,), heads=(2,), upsampler="", scale=1, channels=1)
_SIDE = 20  # windows that are whole, and windows that the border cuts
# Kernels that sum in another order differ by about 1e-6 (by 5e-3 in bfloat16, where a feature has 8 bits).
_MOST = {False: 2e-5, True: 3e-2}
_lock = Lock()  # random numbers are the process's


@lru_cache(maxsize=1)
def native_obstacle() -> str:
    """Why the kernels in C are of no use here; empty where they are. They are built, if they are not yet."""
    try:
        library()
    except RequestError as exc:
        if _has_compiler():  # who has none, and named none, needs no note with every run
            _log.warning("the next engine computes: %s", exc)
        return str(exc)
    if _differs("native", _SMALL, "cpu", half=False):
        return "what the C compiler built differs from torch"
    return ""


def _has_compiler() -> bool:
    try:
        find_compiler()
    except RequestError:
        return bool(os.environ.get("CC", "").strip())
    return True


def triton_obstacle(spec: ModelSpec, device: torch.device, dtype: torch.dtype) -> str:
    """Why the Triton kernels are of no use for a network on a GPU; empty where they are.

    They are compiled for a network with one stage of two blocks and the network's own sizes: what a GPU has no room
    for depends on them. Of heads, that is for those that the kernels compute.
    """
    direct = spec.upsampler == "pixelshuffledirect"
    small = replace(
        _SMALL,
        channels=spec.channels,
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
    return _triton_obstacle(small, str(device), dtype == torch.bfloat16)


@lru_cache(maxsize=32)
def _triton_obstacle(small: ModelSpec, device: str, half: bool) -> str:
    began = time.monotonic()
    try:
        if _differs("triton", small, device, half=half):
            return "what Triton compiled differs from torch"
    # Whatever it is, a driver's error or a compiler's: torch may still do.
    except Exception as exc:  # noqa: BLE001
        return str(exc) if isinstance(exc, RequestError) else f"{type(exc).__name__}: {exc}"
    if (took := time.monotonic() - began) > 1:  # Triton keeps what it has compiled, in its own cache
        _log.info("compiled and tried kernels for %s in %.1f s", device, took)
    return ""


def _differs(kernels: str, small: ModelSpec, device: str, *, half: bool) -> bool:
    """Whether ``kernels`` give other numbers than torch for a small network with random weights."""
    with _lock, torch.random.fork_rng(devices=[]), torch.inference_mode():
        torch.default_generator.manual_seed(0)
        net, image = SwinNet(small).eval(), torch.rand(small.channels, _SIDE, _SIDE)
        tile = next(iter(TilePlan(small, _SIDE, _SIDE, (_SIDE, _SIDE))))
        padded = image[:, tile.y.padding][:, :, tile.x.padding].to(device)
        ours, theirs = (
            TileEngine(deepcopy(net).to(device), half=half, kernels=name).run(padded, tile)["image"].float()
            for name in (kernels, "torch")
        )
    apart = float((ours - theirs).abs().max())
    if apart <= _MOST[half]:
        return False
    _log.warning("%s kernels differ from torch's by %.1g on %s: left unused", kernels, apart, device)
    return True
