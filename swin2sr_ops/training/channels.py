"""Convert the weights of a network for another number of channels, or of neighbouring planes."""

from __future__ import annotations

import torch
from torch import Tensor

from swin2sr_ops.errors import RequestError
from swin2sr_ops.nets.network import SwinNet, channel_mean
from swin2sr_ops.spec import ModelSpec

__all__ = ["with_channels", "with_planes"]


def with_channels(net: SwinNet, channels: int) -> dict[str, Tensor]:
    """Return the state dict of ``net`` for images of ``channels`` channels; unchanged if it has as many.

    A colour network becomes a network whose result is the mean of the three results for a gray image. A
    one-channel network becomes one that gives its result for the mean of three channels three times; without
    enlargement, the result is still added to each channel. If a mean is subtracted (for RGB), the zeros beyond
    the image's border represent another value than before, so pixels near the border differ.
    """
    state, spec = dict(net.state_dict()), net.spec
    if channels == spec.channels:
        return state
    if spec.planes > 1:
        raise RequestError(
            f"{spec.name!r} takes {spec.planes} planes of one channel, and the model to train has {channels} channels:"
            " start from a model of single planes."
        )
    mean, other = net.mean.flatten(), channel_mean(channels).flatten().to(net.mean)  # (C,), (C',)
    weight = state["conv_first.weight"]  # (dim, C, 3, 3)
    state["conv_first.weight"] = weight.sum(1, keepdim=True).repeat(1, channels, 1, 1) / channels
    state["conv_first.bias"] = state["conv_first.bias"] + weight.sum((2, 3)) @ (other.mean() - mean) * spec.value_range

    # A residual that is added to an image has no mean of its own.
    image = (mean.mean() - other)[:, None] * spec.value_range
    lasts = {"conv_last": image * (spec.upsampler != ""), "conv_last_hf": image * 0}
    if spec.upsampler == "pixelshuffledirect":
        lasts = {"upsample.0": image}
    for name, offset in lasts.items():
        if f"{name}.weight" in state:
            weight, bias = (state[f"{name}.{part}"].unflatten(0, (spec.channels, -1)) for part in ("weight", "bias"))
            state[f"{name}.weight"] = weight.mean(0).repeat(channels, 1, 1, 1)  # (C' scale scale or C', dim, 3, 3)
            state[f"{name}.bias"] = (bias.mean(0) + offset).flatten()
    return state


def with_planes(state: dict[str, Tensor], old: ModelSpec, new: ModelSpec) -> dict[str, Tensor]:
    """Return the state of a network of ``old`` for as many planes as ``new`` has: planes that come in add nothing yet.

    The plane itself comes first, so planes that are left out are the farthest ones.
    """
    if old.planes == new.planes:
        return state
    first = state["conv_first.weight"]  # (dim, planes, 3, 3)
    kept = first[:, : new.inputs]
    more = kept.new_zeros(len(kept), new.inputs - kept.shape[1], *kept.shape[2:])
    return state | {"conv_first.weight": torch.cat([kept, more], 1)}
