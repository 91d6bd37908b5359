"""Convert weights of colour networks for gray images, and vice versa."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from swin2sr_ops.errors import ModelError
from swin2sr_ops.hooks.dispatch import build_network, resolve_model
from swin2sr_ops.nets.network import SwinNet
from swin2sr_ops.spec import ModelSpec
from swin2sr_ops.training import train
from swin2sr_ops.training.channels import with_channels
from tests.conftest import write_model

HEADS = [("pixelshuffledirect", 2), ("pixelshuffle", 3), ("nearest+conv", 4), ("pixelshuffle_hf", 2), ("", 1)]


def networks(upsampler: str, scale: int, channels: int, other: int) -> tuple[SwinNet, SwinNet]:
    """A random network, and the same for other channels."""
    torch.manual_seed(0)
    nets = [
        SwinNet(
            ModelSpec(
                name="net", dim=8, depths=(2,), heads=(2,), num_feat=8, channels=count, scale=scale, upsampler=upsampler
            )
        ).eval()
        for count in (channels, other)
    ]
    nets[1].load_state_dict(with_channels(nets[0], other))
    return nets[0], nets[1]


def inside(image: torch.Tensor, scale: int) -> torch.Tensor:
    """Pixels of a 96 x 96 image that the border does not reach."""
    return image[..., 36 * scale : 60 * scale, 36 * scale : 60 * scale]


@torch.no_grad()
@pytest.mark.parametrize(("upsampler", "scale"), HEADS)
def test_colour_becomes_gray(upsampler: str, scale: int) -> None:
    """The gray network's result is the mean of the colour network's channels for the same gray image."""
    colour, gray = networks(upsampler, scale, 3, 1)
    x = torch.rand(1, 1, 96, 96)
    found, expected = gray(x), colour(x.expand(-1, 3, -1, -1)).mean(1, keepdim=True)
    torch.testing.assert_close(inside(found, scale), inside(expected, scale), rtol=0, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize(("upsampler", "scale"), HEADS)
def test_gray_becomes_colour(upsampler: str, scale: int) -> None:
    """All channels get the same result; a residual network keeps each channel's own image."""
    gray, colour = networks(upsampler, scale, 1, 3)
    x = torch.rand(1, 3, 96, 96)
    mean = x.mean(1, keepdim=True)
    expected = (gray(mean) - mean + x) if upsampler == "" else gray(mean).expand(-1, 3, -1, -1)
    torch.testing.assert_close(inside(colour(x), scale), inside(expected, scale), rtol=0, atol=1e-5)


def test_as_many_channels_are_its_own() -> None:
    same, _ = networks("", 1, 3, 3)
    assert all(torch.equal(value, with_channels(same, 3)[name]) for name, value in same.state_dict().items())


@torch.no_grad()
def test_a_shipped_model(tmp_path: Path, data: Path) -> None:
    """``train --channels 1``: the colour model, exported before its first step, is as good on a gray image."""
    told: list[str] = []
    out = tmp_path / "gray.safetensors"
    train(
        init="tiny-x2-rgb", channels=1, name="mine", data=data, out=tmp_path / "run", export_to=out, until=0,
        folders={"blobs": 1.0}, patch=16, log=told.append,
    )  # fmt: skip
    assert told[0] == "weights converted from 3 channel(s) to 1"
    spec = resolve_model(out)
    assert (spec.name, spec.channels, spec.advice) == ("mine", 1, "")
    assert spec.provenance["init"]["name"] == "tiny-x2-rgb"
    x = torch.nn.functional.interpolate(torch.rand(1, 1, 24, 24), scale_factor=4, mode="bicubic").clamp_(0, 1)
    colour = build_network(resolve_model("tiny-x2-rgb")).eval()(x.expand(-1, 3, -1, -1)).mean(1, keepdim=True)
    gray = build_network(spec).eval()(x)
    assert (colour - gray)[..., 32:-32, 32:-32].abs().max() < 0.01


def test_a_head_for_colour_only(tmp_path: Path, data: Path) -> None:
    write_model(tmp_path / "aux.safetensors", upsampler="pixelshuffle_aux", channels=3, num_feat=8, scale=2)
    with pytest.raises(ModelError, match="the pixelshuffle_aux head takes 3 channels"):
        train(init=tmp_path / "aux.safetensors", channels=1, data=data, out=tmp_path / "run")
