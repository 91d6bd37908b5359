"""Select who computes a training step's Swin blocks: torch, or this package's kernels."""

from __future__ import annotations

import torch

from swin2sr_ops.engine.native.build import origin
from swin2sr_ops.engine.native.learning import learn_natively
from swin2sr_ops.errors import RequestError
from swin2sr_ops.nets.network import SwinNet

__all__ = ["ENGINES", "use_engine"]

ENGINES = ("auto", "torch", "native")


def use_engine(net: SwinNet, engine: str, device: torch.device, *, amp: bool) -> str:
    """Prepare ``net`` for training with ``engine``; return a line that states the choice and its reason.

    ``auto`` selects the kernels if they can run: on a CPU with a C compiler, in float32. Their gradients
    equal torch's except for the last bits.

    Raises
    ------
    RequestError
        If the kernels are requested but cannot run.
    """
    if engine not in ENGINES:
        raise RequestError(f"engine={engine!r} is not one of {', '.join(ENGINES)}.")
    obstacle = _obstacle(engine, device, amp)
    if engine == "torch" or (engine == "auto" and obstacle):
        return "trained with torch" + (f": {obstacle}" if engine == "auto" and device.type == "cpu" else "")
    if obstacle:
        raise RequestError(f"engine='native' cannot train here: {obstacle}. Choose 'auto' or 'torch'.")
    return f"trained with native kernels ({learn_natively(net)})"


def _obstacle(engine: str, device: torch.device, amp: bool) -> str:
    if device.type != "cpu":
        return f"the native kernels run on the CPU, not on {device}"
    if amp:
        return "the native kernels compute in float32, not with amp"
    if engine == "auto":
        try:
            origin()
        except RequestError:
            return "there is no C compiler for the native kernels, which are faster"
    return ""
