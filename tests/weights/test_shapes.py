"""The list of parameters agrees with the network's."""

from __future__ import annotations

import pytest

from swin2sr_ops.hooks.models import list_models
from swin2sr_ops.spec import ModelSpec
from swin2sr_ops.weights.loader import empty_network
from swin2sr_ops.weights.shapes import parameter_shapes
from tests.conftest import small_spec
from tests.engine.test_tile_engine import HEADS


def check(spec: ModelSpec) -> None:
    expected = {name: tuple(tensor.shape) for name, tensor in empty_network(spec).state_dict().items()}
    found = parameter_shapes(spec)
    assert found == expected
    assert list(found) == list(expected)


@pytest.mark.parametrize(("upsampler", "scale"), HEADS)
@pytest.mark.parametrize("resi", ["1conv", "3conv"])
def test_all_heads_and_ends(upsampler: str, scale: int, resi: str) -> None:
    for architecture in ("swin2sr", "swinir"):
        if architecture == "swin2sr" or upsampler not in ("pixelshuffle_aux", "pixelshuffle_hf"):
            changes = {"upsampler": upsampler, "scale": scale, "resi_connection": resi, "channels": 3}
            check(small_spec(architecture=architecture, **changes))
            check(small_spec(architecture=architecture, qkv_bias=False, patch_norm=False, window=7, **changes))


def test_models_with_a_name() -> None:
    for spec in {spec.to_dict()["dim"]: spec for spec in list_models()}.values():
        check(spec)
