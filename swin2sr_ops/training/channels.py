"""Convert the weights of a colour network for single channels, and those of a one-channel network for colour."""

from __future__ import annotations

from torch import Tensor

from swin2sr_ops.nets.network import SwinNet, channel_mean

__all__ = ["with_channels"]


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
