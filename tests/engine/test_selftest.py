"""The self-test tests the network that will run: with as many planes as the given one takes."""

from __future__ import annotations

import pytest
import torch

from swin2sr_ops.engine import selftest
from swin2sr_ops.spec import ModelSpec
from tests.conftest import small_spec


@pytest.mark.parametrize("upsampler", ["", "pixelshuffledirect"])
def test_kernels_are_tested_with_all_planes(upsampler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tested: list[ModelSpec] = []
    monkeypatch.setattr(selftest, "_triton_obstacle", lambda small, device, half: tested.append(small) or "")
    scale = 2 if upsampler else 1
    spec = small_spec(channels=1, planes=3, upsampler=upsampler, scale=scale)
    assert selftest.triton_obstacle(spec, torch.device("cpu"), torch.float32) == ""
    (small,) = tested
    assert (small.planes, small.inputs) == (3, 3)
    assert selftest._differs("torch", small, "cpu", half=False) is False  # the image has what the network takes
