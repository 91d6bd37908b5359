"""Initialise a network: as an interpolation of its input, or with the weights of another model."""

from __future__ import annotations

import re
from collections.abc import Iterator

import torch
from torch import Tensor

from swin2sr_ops.errors import RequestError
from swin2sr_ops.nets.network import SwinNet
from swin2sr_ops.training.channels import with_channels, with_planes

__all__ = ["start_as", "start_as_interpolation"]

_BODY = ("layers.", "conv_first.", "patch_embed.", "norm.", "conv_after_body")  # all but the head
_LAST_OF_STAGE = {"conv.weight", "conv.bias", "conv.4.weight", "conv.4.bias", "patch_embed.proj.bias"}


def start_as_interpolation(net: SwinNet) -> None:
    """Initialise a small network as an interpolation: its input, or its input enlarged bilinearly.

    A network without enlargement adds its result to its input: its last convolution keeps a tenth of its
    random weights, so that the network returns almost its input.

    With ``pixelshuffledirect``, the first feature channels carry the image through `conv_first` and the skip
    connection, and the body is zero at first. The last convolution enlarges these channels and adds a tenth of its
    random weights on the other features, through which the body learns from the first step on. Training then starts
    about 1 dB below bicubic instead of from noise, which saves a small model thousands of steps on a CPU.
    """
    spec = net.spec
    with torch.no_grad():
        weights = dict(net.named_parameters())
        if spec.upsampler == "":
            weights["conv_last.weight"].mul_(0.1)
            weights["conv_last.bias"].zero_()
        if spec.upsampler != "pixelshuffledirect":
            return
        last = "conv_after_body" if spec.resi_connection == "1conv" else "conv_after_body.4"
        for name in (f"{last}.weight", f"{last}.bias", "upsample.0.bias"):
            weights[name].zero_()
        up, first = weights["upsample.0.weight"], weights["conv_first.weight"]
        up.mul_(0.1)
        for c in range(spec.channels):
            first[c] = 0
            weights["conv_first.bias"][c] = 0
            first[c, c, 1, 1] = 1
            for phase in range(spec.scale**2):
                rows, columns = (_bilinear(p, spec.scale) for p in divmod(phase, spec.scale))
                up[c * spec.scale**2 + phase, : spec.channels] = 0
                up[c * spec.scale**2 + phase, c] = torch.outer(rows, columns)


def start_as(net: SwinNet, other: SwinNet) -> list[str]:
    """Initialise ``net`` with the weights of ``other``; return the names of parameters initialised anew.

    A head for another scale is initialised anew; with ``pixelshuffledirect`` it repeats the nearest pixels of the
    old scale. A body of another width is another network. Another number of channels is the same network
    (`with_channels`), and so is one of more planes (`with_planes`). A body with more stages starts as the same
    function: each further stage has the weights of an existing one and adds nothing yet, since its last layer is zero
    (after Chen et al., Net2Net, ICLR 2016, and the stacking of Gong et al., ICML 2019).

    Raises
    ------
    RequestError
        If parameters outside the head would be initialised anew.
    """
    theirs, own = with_planes(with_channels(other, net.spec.channels), other.spec, net.spec), net.state_dict()
    theirs.update(dict(_further_stages(theirs, len(other.spec.depths), len(net.spec.depths))))
    if {net.spec.upsampler, other.spec.upsampler} == {"pixelshuffledirect"}:
        for name in ("upsample.0.weight", "upsample.0.bias"):
            theirs[name] = _of_scale(theirs[name], net.spec.channels, other.spec.scale, net.spec.scale)
    anew = sorted(name for name, value in own.items() if name not in theirs or theirs[name].shape != value.shape)
    body = [name for name in {*anew, *(theirs.keys() - own.keys())} if name.startswith(_BODY)]
    if body:
        raise RequestError(
            f"The initial weights belong to another network than {net.spec.name!r}: {len(body)} of the body's "
            f"parameters, such as {min(body)}, are not in both or have another shape. Omit [model] in the recipe, "
            "or describe the same network there, with as many stages or more."
        )
    kept = {name: value for name, value in theirs.items() if name in own and name not in anew}
    net.load_state_dict(kept, strict=False)
    return anew


def _further_stages(state: dict[str, Tensor], stages: int, wanted: int) -> Iterator[tuple[str, Tensor]]:
    """Create stages ``stages`` to ``wanted`` of a state: copies of its stages whose last layer is zero."""
    for name, value in state.items():
        found = re.fullmatch(r"(layers(?:_hf)?)\.(\d+)\.(.+)", name)
        if found is None:
            continue
        trunk, stage, rest = found.groups()
        silent = rest in _LAST_OF_STAGE
        for i in range(stages + int(stage), wanted, stages):
            yield f"{trunk}.{i}.{rest}", torch.zeros_like(value) if silent else value.clone()


def _of_scale(head: Tensor, channels: int, old: int, new: int) -> Tensor:
    """Repeat or leave out phases of a head: each new phase is the nearest one of the old scale."""
    nearest = [int((phase + 0.5) * old / new) for phase in range(new)]
    phases = head.reshape(channels, old, old, *head.shape[1:])
    return phases[:, nearest][:, :, nearest].flatten(0, 2)


def _bilinear(phase: int, scale: int) -> Tensor:
    """Compute the weights of the left, same and right neighbour for one output phase."""
    offset = (phase + 0.5) / scale - 0.5
    return torch.tensor([max(-offset, 0.0), 1 - abs(offset), max(offset, 0.0)])
