"""Who computes a training step's Swin blocks: torch, or our own kernels."""

from __future__ import annotations

import torch

from swin2sr_ops.engine.native.build import find_compiler
from swin2sr_ops.engine.native.learning import learn_natively
from swin2sr_ops.errors import RequestError
from swin2sr_ops.nets.network import SwinNet

__all__ = ["ENGINES", "use_engine"]

ENGINES = ("auto", "torch", "native")


def use_engine(net: SwinNet, engine: str, device: torch.device, *, amp: bool) -> str:
    """Prepare ``net`` for training by ``engine``; gives a line about what was chosen, and why.

    ``auto`` takes the kernels where they can be had: on a CPU with a C compiler, in float32. Gradients are
    torch's but for the last bits.

    Raises
    ------
    RequestError
        If the kernels are asked for where they do not run.
    """
    if engine not in ENGINES:
        raise RequestError(f"engine={engine!r} is not one of {', '.join(ENGINES)}.")
    obstacle = _obstacle(engine, device, amp)
    if engine == "torch" or (engine == "auto" and obstacle):
        return "trained by torch" + (f": {obstacle}" if engine == "auto" and device.type == "cpu" else "")
    if obstacle:
        raise RequestError(f"engine='native' cannot train here: {obstacle}. Leave it at 'auto', or say 'torch'.")
    return f"trained by our own kernels ({learn_natively(net)})"


def _obstacle(engine: str, device: torch.device, amp: bool) -> str:
    if device.type != "cpu":
        return f"our own kernels run on the CPU, not on {device}"
    if amp:
        return "our own kernels compute in float32, not with amp"
    if engine == "auto":
        try:
            find_compiler()
        except RequestError:
            return "no C compiler was found, for our own kernels, which are faster"
    return ""
