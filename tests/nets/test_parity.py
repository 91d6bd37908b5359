"""Our networks give the official code's numbers: all heads, both families, random weights.

The reference is spandrel's copy of the official code (it differs from it in formatting only), and
transformers' port for the heads in which that is right. Two ways of running ours are held against
it: the plain forward pass and the tile engine with the image as a single tile.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from swin2sr_ops.engine.tile_engine import TileEngine
from swin2sr_ops.geometry.plan import TilePlan
from swin2sr_ops.nets.network import SwinNet
from swin2sr_ops.spec import ModelSpec
from swin2sr_ops.weights.huggingface import official_names
from tests.nets.reference import perturb, spandrel_network, transformers_network

TOLERANCE = 1e-5  # of full range, in float32; the largest measured is 3.5e-6 (M), the median below 1e-6

SMALL = ModelSpec(name="small", dim=30, depths=(2, 2), heads=(3, 3))
MEDIUM = ModelSpec(name="medium")
LARGE = replace(MEDIUM, name="large", dim=240, depths=(6,) * 9, heads=(8,) * 9, resi_connection="3conv")
JPEG = {"upsampler": "", "scale": 1, "window": 7, "value_range": 255.0}

HEADS: dict[str, dict[str, object]] = {
    "pixelshuffle-x2": {"scale": 2},
    "pixelshuffle-x3": {"scale": 3},
    "pixelshuffle-x4": {"scale": 4},
    "pixelshuffle-x8": {"scale": 8},
    "direct-x2": {"upsampler": "pixelshuffledirect", "scale": 2},
    "direct-x3": {"upsampler": "pixelshuffledirect", "scale": 3},
    "direct-x4": {"upsampler": "pixelshuffledirect", "scale": 4},
    "nearest-x2": {"upsampler": "nearest+conv", "scale": 2},
    "nearest-x4": {"upsampler": "nearest+conv", "scale": 4},
    "aux-x4": {"upsampler": "pixelshuffle_aux", "scale": 4},
    "hf-x2": {"upsampler": "pixelshuffle_hf", "scale": 2},
    "hf-x4": {"upsampler": "pixelshuffle_hf", "scale": 4},
    "jpeg-gray": {**JPEG, "channels": 1},
    "jpeg-color": {**JPEG, "channels": 3},
    "denoise-gray": {"upsampler": "", "scale": 1, "channels": 1},
    "denoise-color": {"upsampler": "", "scale": 1, "channels": 3},
    "gray-x2": {"scale": 2, "channels": 1},
    "gray-direct-x2": {"upsampler": "pixelshuffledirect", "scale": 2, "channels": 1},
    "3conv-x2": {"scale": 2, "dim": 60, "resi_connection": "3conv"},
    "3conv-denoise": {"upsampler": "", "scale": 1, "dim": 60, "resi_connection": "3conv"},
    "uneven-stages": {"upsampler": "pixelshuffledirect", "depths": (3, 1, 2), "heads": (2, 3, 5)},
}


def _specs() -> list[ModelSpec]:
    specs = []
    for architecture in ("swin2sr", "swinir"):
        for name, changes in HEADS.items():
            if architecture == "swinir" and name.startswith(("aux", "hf")):
                continue  # heads of Swin2SR alone
            if architecture == "swin2sr" and name == "nearest-x2":
                continue  # the official Swin2SR asserts x4 here
            specs.append(replace(SMALL, name=f"{architecture}-{name}", architecture=architecture, **changes))
        specs.append(replace(MEDIUM, name=f"{architecture}-M", architecture=architecture))
    light = replace(MEDIUM, dim=60, depths=(6,) * 4, heads=(6,) * 4, upsampler="pixelshuffledirect")
    specs += [replace(light, name=f"{a}-S", architecture=a) for a in ("swin2sr", "swinir")]
    specs.append(replace(LARGE, name="swinir-L", architecture="swinir", upsampler="nearest+conv", scale=4))
    return specs


SPECS = _specs()


def _ours(spec: ModelSpec, parameters: dict[str, Tensor]) -> SwinNet:
    net = SwinNet(spec)
    net.load_state_dict(parameters)  # strict: these are the official names, all of them
    return net.eval()


def _sizes(spec: ModelSpec) -> list[tuple[int, int]]:
    w = spec.window
    if sum(spec.depths) > 10:  # true sizes: few pixels, they are slow
        return [(2 * w, w)] if spec.name == "swinir-L" else [(3 * w, 2 * w)]
    aligned, ragged = (5 * w, 3 * w), (2 * w + 3, 5 * w - 1)
    return [aligned] if spec.upsampler == "pixelshuffle_aux" else [aligned, ragged]


def _image(spec: ModelSpec, size: tuple[int, int]) -> Tensor:
    return torch.rand(1, spec.channels, *size, generator=torch.Generator().manual_seed(1))


def _engine(net: SwinNet, image: Tensor) -> dict[str, Tensor]:
    """The whole image as one tile."""
    height, width = image.shape[-2:]
    (tile,) = TilePlan(net.spec, height, width, (height, width))
    padded = image[0][:, tile.y.padding][:, :, tile.x.padding]
    return {name: value[None] for name, value in TileEngine(net).run(padded, tile).items()}


def _close(found: Tensor, expected: Tensor) -> None:
    assert found.shape == expected.shape
    assert expected.std() > 1e-3, "a constant result would prove nothing"
    assert (found - expected).abs().max().item() <= TOLERANCE


@torch.inference_mode()
def _reference(reference: torch.nn.Module, spec: ModelSpec, image: Tensor) -> dict[str, Tensor]:
    """All outputs of the official code, by our names."""
    seen: list[Tensor] = []
    if spec.upsampler == "pixelshuffle_aux":  # spandrel drops the second output; take it where it arises
        hook = reference.conv_aux.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    result = reference(image)
    if spec.upsampler == "pixelshuffle_hf":
        return dict(zip(("base", "image", "hf"), result, strict=True))
    if not seen:
        return {"image": result}
    hook.remove()
    return {"image": result, "aux": seen[0] / spec.value_range + reference.mean}


@pytest.mark.filterwarnings("ignore:torch.meshgrid")
@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_equals_official_code(spec: ModelSpec) -> None:
    """At multiples of the window and between them.

    The auxiliary head is compared at multiples only: at other sizes the official network enlarges
    the *padded* image to the size of the unpadded one, which moves its pixels. The official script
    never lets that happen (it pads before), and ours does not do it.
    """
    reference = spandrel_network(spec)
    perturb(reference)
    net = _ours(spec, {name: value.detach() for name, value in reference.named_parameters()})
    for size in _sizes(spec):
        image = _image(spec, size)
        expected = _reference(reference, spec, image)
        with torch.inference_mode():
            plain = net.outputs(image)
        tiled = _engine(net, image)
        assert plain.keys() == tiled.keys() == expected.keys()
        for name, value in expected.items():
            _close(plain[name], value)
            _close(tiled[name], value)


@pytest.mark.filterwarnings("ignore:torch.meshgrid")
@pytest.mark.parametrize("spec", [SPECS[0], next(s for s in SPECS if s.architecture == "swinir")], ids=lambda s: s.name)
def test_gradients_equal_those_of_official_code(spec: ModelSpec) -> None:
    """Training has its own code for attention: compare its result and all gradients in float64."""
    reference = spandrel_network(spec)
    perturb(reference)
    net = _ours(spec, {name: value.detach() for name, value in reference.named_parameters()}).double().train()
    image = _image(spec, (3 * spec.window, 2 * spec.window)).double()
    reference = reference.double().eval()  # without its stochastic depth
    expected, found = reference(image), net(image)
    assert (found - expected).abs().max().item() < 1e-6
    weights = torch.randn(expected.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    (expected * weights).sum().backward()
    (found * weights).sum().backward()
    theirs = dict(reference.named_parameters())
    for name, parameter in net.named_parameters():
        ours, wanted = parameter.grad, theirs[name].grad
        assert ours is not None
        assert wanted is not None
        assert (ours - wanted).abs().max() <= 1e-5 * wanted.abs().max() + 1e-9, name


@pytest.mark.filterwarnings("ignore:torch.meshgrid")
def test_auxiliary_head_keeps_pixels_in_place_off_the_window_grid() -> None:
    """Ours differs from the official code: padding by the caller and cropping afterwards gives the same."""
    spec = next(spec for spec in SPECS if spec.upsampler == "pixelshuffle_aux")
    reference = spandrel_network(spec)
    perturb(reference)
    net = _ours(spec, {name: value.detach() for name, value in reference.named_parameters()})
    image = _image(spec, (19, 29))
    padded = torch.nn.functional.pad(image, (0, 3, 0, 5), mode="reflect")
    expected = _reference(reference, spec, padded)["image"][..., : 19 * 4, : 29 * 4]
    with torch.inference_mode():
        _close(net(image), expected)
    _close(_engine(net, image)["image"], expected)


TRANSFORMERS_HEADS = ("pixelshuffle-x2", "pixelshuffle-x4", "direct-x2", "direct-x3", "direct-x4", "nearest-x4")


@pytest.mark.parametrize("head", TRANSFORMERS_HEADS)
def test_equals_transformers(head: str) -> None:
    """Compare the heads that the port computes correctly; it raises at sizes that are not multiples of the window.

    Its auxiliary head enlarges pixels without subtracting the mean, and its ``upsampler=""``
    adds the mean twice, so neither is a reference.
    """
    spec = replace(SMALL, name=head, **HEADS[head])
    reference = transformers_network(spec)
    perturb(reference)
    net = _ours(spec, official_names({name: value.detach() for name, value in reference.named_parameters()}))
    image = _image(spec, (24, 40))
    with torch.inference_mode():
        expected = reference(image).reconstruction
        _close(net(image), expected)
    _close(_engine(net, image)["image"], expected)
