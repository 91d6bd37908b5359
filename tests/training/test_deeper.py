"""A deeper network starts as the same function as the given shallower one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from swin2sr_ops.errors import RequestError
from swin2sr_ops.nets.network import SwinNet
from swin2sr_ops.spec import ModelSpec
from swin2sr_ops.training import Recipe, train
from swin2sr_ops.training.start import start_as
from tests.conftest import write_model

KINDS = [("swin2sr", "1conv"), ("swin2sr", "3conv"), ("swinir", "1conv"), ("swinir", "3conv")]


def network(depths: tuple[int, ...], seed: int = 0, **others: object) -> SwinNet:
    torch.manual_seed(seed)
    spec = ModelSpec(**{"name": "net", "dim": 8, "depths": depths, "heads": (2,) * len(depths), "channels": 1} | others)
    net = SwinNet(spec).eval()
    with torch.no_grad():  # zero biases would hide mistakes
        for value in net.parameters():
            value.add_(0.05 * torch.randn_like(value))
    return net


@pytest.mark.parametrize(("architecture", "closing"), KINDS)
@pytest.mark.parametrize("depths", [(2, 2, 2), (2, 2, 2, 2), (2, 2, 2, 2, 2)])
def test_it_begins_as_the_same_function(architecture: str, closing: str, depths: tuple[int, ...]) -> None:
    others = {"architecture": architecture, "resi_connection": closing, "scale": 2, "upsampler": "pixelshuffledirect"}
    shallow, deep = network((2, 2), 1, **others), network(depths, 2, **others)
    assert start_as(deep, shallow) == []
    x = torch.rand(2, 1, 16, 24)
    torch.testing.assert_close(deep(x), shallow(x), rtol=0, atol=0)


def test_the_new_stages_learn_from_the_first_step() -> None:
    """A stage that adds nothing must still get gradients."""
    shallow, deep = network((2,), 1), network((2, 2), 2)
    start_as(deep, shallow)
    optimiser = torch.optim.Adam(deep.parameters(), lr=1e-3)
    block = deep.layers[1].residual_group.blocks[0].mlp.fc1.weight
    before = block.detach().clone()
    for _ in range(2):  # the first opens the stage's last layer, the second reaches its blocks
        optimiser.zero_grad()
        deep(torch.rand(1, 1, 16, 16)).square().mean().backward()
        optimiser.step()
    assert not torch.equal(block, before)


def test_a_note_describes_the_start(tmp_path: Path, data: Path) -> None:
    spec = write_model(tmp_path / "two.safetensors")
    model = {k: v for k, v in spec.to_dict().items() if k not in ("weights", "sha256", "size_bytes", "reach")}
    deeper = model | {"name": "deep", "depths": (2, 2, 2), "heads": (2, 2, 2)}
    recipe = Recipe(model=deeper, folders={"blobs": 1.0}, patch=16)
    told: list[str] = []
    train(recipe, init=tmp_path / "two.safetensors", data=data, out=tmp_path / "run", until=0, log=told.append)
    assert told[0] == (
        "the first 2 of 3 stages have the weights of small, the others are copies of them that add nothing yet"
    )


@pytest.mark.parametrize("depths", [(2,), (4, 4), (1, 1)])
def test_fewer_stages_or_other_depths_are_refused(depths: tuple[int, ...]) -> None:
    """No part of a given network is left out silently."""
    with pytest.raises(RequestError, match=r"another network than 'net': \d+ of the body's.*stages or more"):
        start_as(network(depths), network((2, 2)))


@pytest.mark.parametrize(("old", "new"), [(2, 4), (2, 8), (2, 3), (4, 2)])
def test_a_head_of_another_scale_repeats_the_nearest_pixels(old: int, new: int) -> None:
    one, other = (
        network((2, 2), scale, scale=scale, upsampler="pixelshuffledirect", channels=3) for scale in (old, new)
    )
    assert start_as(other, one) == []
    x = torch.rand(2, 3, 16, 24)
    nearest = [[int((i % new + 0.5) * old / new) + i // new * old for i in range(side * new)] for side in (16, 24)]
    torch.testing.assert_close(other(x), one(x)[:, :, nearest[0]][..., nearest[1]], rtol=0, atol=0)
