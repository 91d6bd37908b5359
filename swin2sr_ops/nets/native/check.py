"""Whether the kernels work on this machine: asked before anybody gets them who did not ask for them."""

from __future__ import annotations

import logging
from functools import lru_cache
from threading import Lock

import torch

from swin2sr_ops.errors import RequestError
from swin2sr_ops.nets.engine import TileEngine
from swin2sr_ops.nets.native.build import library
from swin2sr_ops.nets.network import SwinNet
from swin2sr_ops.plan import TilePlan
from swin2sr_ops.spec import ModelSpec

__all__ = ["CHECK", "obstacle"]

_log = logging.getLogger(__name__)

#: The small network's name.
CHECK = "check"

_SIDE = 20  # windows that are whole, and windows that the border cuts
_MOST = 2e-5  # kernels that sum in another order differ by about 1e-6
_lock = Lock()  # random numbers are the process's


@lru_cache(maxsize=1)
def obstacle() -> str:
    """Why the kernels are of no use here; empty where they are.

    They are built, and give for a small network what torch gives. That is for a compiler which nobody has tried:
    wrong numbers are found before they are anybody's pixels.
    """
    try:
        library()
    except RequestError as exc:
        return str(exc)
    spec = ModelSpec(name=CHECK, dim=28, depths=(2,), heads=(2,), upsampler="", scale=1, channels=1)
    with _lock, torch.random.fork_rng(devices=[]), torch.inference_mode():
        torch.manual_seed(0)
        net = SwinNet(spec).eval()
        image = torch.rand(1, _SIDE, _SIDE)
    tile = next(iter(TilePlan(spec, _SIDE, _SIDE, (_SIDE, _SIDE))))
    padded = image[:, tile.y.padding][:, :, tile.x.padding]
    ours, theirs = (TileEngine(net, kernels=kernels).run(padded, tile)["image"] for kernels in ("native", "torch"))
    apart = float((ours - theirs).abs().max())
    if not apart <= _MOST:
        _log.warning("the kernels that this machine's compiler built differ from torch's by %.1g: left unused", apart)
        return "what the C compiler built differs from torch"
    return ""
