"""Muon for the matrices of the blocks, Adam for the rest; runs with only Adam can be resumed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from swin2sr_ops.errors import RequestError
from swin2sr_ops.nets.network import SwinNet
from swin2sr_ops.spec import ModelSpec
from swin2sr_ops.training.optimisers import Optimisers
from swin2sr_ops.training.recipe import Recipe
from tests.training.conftest import MUON
from tests.training.test_training import assert_same, train


def network(architecture: str) -> SwinNet:
    torch.manual_seed(0)
    return SwinNet(ModelSpec(name="t", architecture=architecture, channels=1, dim=12, depths=(2, 1), heads=(2, 2)))


@MUON
@pytest.mark.parametrize("architecture", ["swin2sr", "swinir"])
def test_muon_has_the_blocks_matrices(architecture: str) -> None:
    """Four for each of three blocks; every parameter is stepped by exactly one of the two."""
    net = network(architecture)
    adam, other = Optimisers(net.named_parameters(), "muon").each
    names = {id(value): name for name, value in net.named_parameters()}
    taken = [[names[id(p)] for group in o.param_groups for p in group["params"]] for o in (adam, other)]
    assert len(taken[1]) == 3 * 4
    assert {name.rsplit(".", 2)[-2] for name in taken[1]} == {"qkv", "proj", "fc1", "fc2"}
    assert sorted(taken[0] + taken[1]) == sorted(names.values())


@MUON
def test_a_step_is_orthogonal_and_as_large_as_adams() -> None:
    """From zero momentum: the singular values of a step are near each other, its mean square near (0.2 lr)^2."""
    net = network("swin2sr")
    name = "layers.0.residual_group.blocks.0.mlp.fc1.weight"
    weight = dict(net.named_parameters())[name]
    before = weight.detach().clone()
    torch.manual_seed(1)
    weight.grad = torch.randn_like(weight) @ torch.diag(torch.logspace(0, -1, weight.shape[1]))
    Optimisers(net.named_parameters(), "muon").step(0.01)
    change = before - weight.detach()
    values = torch.linalg.svdvals(change)
    assert torch.linalg.cond(weight.grad) > 5
    assert values[-1] > values[0] / 2
    assert 0.1 < change.square().mean().sqrt() / 0.01 < 0.3


def test_runs_of_earlier_versions_are_resumed(recipe: Recipe, data: Path, tmp_path: Path) -> None:
    """Their state is that of Adam only, and their recipe names no optimiser."""
    whole = train(recipe, data, tmp_path / "whole")
    train(recipe, data, tmp_path / "parts", until=3)
    file = tmp_path / "parts" / "state.pt"
    state = torch.load(file, weights_only=True)
    torch.save(state | {"optimiser": state["optimiser"][0]}, file)
    kept = tmp_path / "parts" / "recipe.json"
    kept.write_text(kept.read_text().replace(' "optimiser": "adam",\n', ""))
    assert "optimiser" not in kept.read_text()
    parts = train(recipe, data, tmp_path / "parts")
    assert_same(dict(parts.net.state_dict()), dict(whole.net.state_dict()))


def test_torch_without_muon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.optim, "Muon", raising=False)
    with pytest.raises(RequestError, match=r"needs torch 2\.9 or newer.*use 'adam'"):
        Optimisers(network("swin2sr").named_parameters(), "muon")
