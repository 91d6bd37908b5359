"""Steps of a bioimage.io description as functions; `bioimageio.spec` itself is not needed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from swin2sr_ops_bioimageio.network import PackageNetwork
from swin2sr_ops_bioimageio.values import Values
from torch import nn

from swin2sr_ops.hosting import find_reach


def described(kind: str, **kwargs: Any) -> tuple[SimpleNamespace, SimpleNamespace]:
    """An input with one step, and an output that takes it back."""
    data = SimpleNamespace(type="float32", range=(None, None))
    step = SimpleNamespace(id=kind, kwargs=SimpleNamespace(**kwargs))
    return SimpleNamespace(data=data, preprocessing=[step]), SimpleNamespace(data=data, postprocessing=[])


@pytest.mark.parametrize(
    ("kind", "kwargs"),
    [
        ("scale_linear", {"gain": 2.0, "offset": -0.5}),
        ("scale_linear", {"gain": [2.0], "offset": [-0.5]}),
        ("fixed_zero_mean_unit_variance", {"mean": 0.25, "std": 0.5}),
        ("fixed_zero_mean_unit_variance", {"mean": [0.25], "std": [0.5]}),
    ],
)
def test_numbers_keep_the_proof(kind: str, kwargs: dict[str, Any]) -> None:
    """A linear step sees no neighbours: the halo of two convolutions stays proven, and the values are right."""
    values = Values.of(*described(kind, **kwargs), "a network")
    x = torch.rand(1, 1, 4, 4)
    torch.testing.assert_close(values.before[0](x), 2 * x - 0.5)
    net = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.Conv2d(3, 1, 3, padding=1)).eval()
    tensors: Any = SimpleNamespace(given="bcyx", restored="bcyx", scale=1, minimum=1, multiple=1, fixed=0)
    network = PackageNetwork(net, tensors, values)
    found = find_reach(network, 1, model=network.model, call=network.call, name="a network")
    assert found.reach.exact
    assert found.reach.halo == 2


def test_numbers_per_channel() -> None:
    gains = {"gain": [2.0, 3.0], "offset": [0.0, 1.0]}
    (step,) = Values.of(*described("scale_linear", **gains), "a network").before
    found = step(torch.ones(1, 2, 2, 2))
    assert found[0, :, 0, 0].tolist() == [2.0, 4.0]
