"""The network follows from the file, or an error asks for hints; nothing is guessed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from swin2sr_ops.errors import CheckpointError, RequestError
from swin2sr_ops.spec import ModelSpec
from swin2sr_ops.weights.arrays import split_buffers
from swin2sr_ops.weights.catalogue import BUILTIN
from swin2sr_ops.weights.infer import infer_spec
from tests.weights.helpers import TINY, TINY_IR, meta_parameters, with_buffers

#: Fields that a file does not state.
FILE_FIELDS = {"licence": "", "weights": "", "sha256": "", "size_bytes": 0, "advice": "", "halo_error": {}}

#: One of each kind: rows that differ only in training are one network.
KINDS = list({replace(spec, name="kind", **FILE_FIELDS): spec for spec in BUILTIN.values()}.values())


def _infer(state: dict[str, Tensor], **hints: Any) -> ModelSpec:
    parameters, window = split_buffers(state)
    return infer_spec(parameters, name="file", facts={"window": window} if window else {}, hints=hints)


@pytest.mark.parametrize("spec", KINDS, ids=lambda spec: spec.name)
def test_every_released_file_is_recognised(spec: ModelSpec) -> None:
    expected = replace(spec, name="file", **FILE_FIELDS)
    state = meta_parameters(spec)
    assert _infer(with_buffers(state, spec)) == expected
    assert _infer(with_buffers(state, spec, image_size=18 * spec.window)) == expected  # another training size
    assert _infer(state) == expected  # stripped of its buffers: still the shape of a released network


def test_community_network_with_window_needs_only_its_range() -> None:
    state = with_buffers(meta_parameters(TINY), TINY)
    with pytest.raises(CheckpointError, match=r"value_range.*no released network has its shape.*value_range=\.\.\."):
        _infer(state)
    assert _infer(state, value_range=1) == replace(TINY, name="file", task="lightweight_sr")


def test_stripped_swin2sr_needs_its_window_too() -> None:
    state = meta_parameters(TINY)
    with pytest.raises(CheckpointError, match="its window"):
        _infer(state, value_range=1)
    assert _infer(state, value_range=1, window=7).window == 7


def test_swinir_keeps_its_window_in_a_parameter() -> None:
    spec = replace(TINY_IR, window=5)
    assert _infer(meta_parameters(spec), value_range=1).window == 5


def test_window_of_no_released_network_is_not_assumed_to_have_its_range() -> None:
    """Users trained a Swin2SR for colour JPEG, but no released network has its shape."""
    spec = replace(BUILTIN["swin2sr-jpeg"], channels=3)
    with pytest.raises(CheckpointError, match="value_range"):
        _infer(with_buffers(meta_parameters(spec), spec))
    assert _infer(with_buffers(meta_parameters(spec), spec), value_range=255).task == "jpeg"


@pytest.mark.parametrize(
    ("hints", "words"),
    [
        ({"window": 7}, "window=7 was asked for, but the file says window=8"),
        ({"scale": 4}, "scale=4 was asked for, but the weights have scale=2"),
        ({"depths": [6, 6]}, r"depths=\[6, 6\] was asked for"),
    ],
)
def test_hints_are_checked(hints: dict[str, Any], words: str) -> None:
    for spec in (TINY, TINY_IR):
        with pytest.raises(CheckpointError, match=words):
            _infer(with_buffers(meta_parameters(spec), spec), value_range=1, **hints)


@pytest.mark.parametrize("value", [None, "x", "3", 1.5, 3.0, 0, -1, 2, True, [3]])
def test_planes_are_odd_whole_numbers(value: Any) -> None:
    with pytest.raises(RequestError, match=r"planes=.* is not possible: give an odd whole number"):
        _infer(meta_parameters(TINY), window=8, value_range=1, planes=value)


@pytest.mark.parametrize(
    ("hints", "words"),
    [
        ({"window": None}, "window=None is not possible: give a whole number"),
        ({"window": 7.5}, "window=7.5 is not possible"),
        ({"window": 0}, "window=0 is not possible"),
        ({"value_range": "x"}, "value_range='x' is not possible: give a positive number"),
        ({"value_range": float("nan")}, "value_range=nan is not possible"),
        ({"value_range": 0}, "value_range=0 is not possible"),
    ],
)
def test_other_numbers_are_checked_too(hints: dict[str, Any], words: str) -> None:
    with pytest.raises(RequestError, match=words):
        _infer(meta_parameters(TINY), **{"window": 8, "value_range": 1, **hints})


def test_numbers_may_be_those_of_numpy() -> None:
    found = _infer(meta_parameters(TINY), window=np.int64(8), value_range=np.float32(1), planes=np.int64(1))
    assert found == _infer(meta_parameters(TINY), window=8, value_range=1)


@pytest.mark.parametrize("upsampler", ["pixelshuffledirect", "pixelshuffle", "nearest+conv"])
def test_planes_that_the_file_does_not_take(upsampler: str) -> None:
    spec = replace(TINY, upsampler=upsampler, channels=1)
    with pytest.raises(CheckpointError, match=r"planes=3 was asked for, but the weights take 1 channels in all"):
        _infer(meta_parameters(spec), window=8, value_range=1, planes=3)


@pytest.mark.parametrize(("inputs", "advised"), [(3, True), (4, False), (2, False)])
def test_only_odd_planes_are_advised(inputs: int, advised: bool) -> None:
    spec = replace(TINY, upsampler="", scale=1, channels=1)
    state = meta_parameters(spec)
    state["conv_first.weight"] = torch.zeros(spec.dim, inputs, 3, 3, device="meta")
    with pytest.raises(CheckpointError, match=f"turns {inputs} channels into 1") as caught:
        _infer(state, window=8, value_range=1)
    assert (f"planes={inputs}" in str(caught.value)) == advised


def test_hints_count_if_the_file_does_not_state_them() -> None:
    spec = BUILTIN["swinir-denoise-gray-15"]
    found = _infer(meta_parameters(spec), value_range=255, task="real_sr", licence="MIT", depths=[6] * 6)
    assert (found.value_range, found.task, found.licence) == (255, "real_sr", "MIT")


def test_unknown_hints_are_refused() -> None:
    with pytest.raises(RequestError, match="colour is not a hint"):
        _infer(meta_parameters(TINY), colour="blue")


VARIANTS: dict[str, dict[str, Any]] = {
    "3conv": {"resi_connection": "3conv"},
    "no-qkv-bias": {"qkv_bias": False},
    "no-patch-norm": {"patch_norm": False},
    "mlp-4": {"mlp_ratio": 4.0},
    "hf": {"upsampler": "pixelshuffle_hf", "scale": 4},
    "aux": {"upsampler": "pixelshuffle_aux", "scale": 4},
    "x8": {"upsampler": "pixelshuffle", "scale": 8},
    "x3": {"upsampler": "pixelshuffle", "scale": 3},
    "features": {"upsampler": "pixelshuffle", "num_feat": 16},
    "nearest-x8": {"upsampler": "nearest+conv", "scale": 8},
    "gray": {"channels": 1},
    "two-channels": {"channels": 2},
    "uneven": {"depths": (3, 1, 2), "heads": (2, 3, 4)},
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("base", [TINY, TINY_IR], ids=lambda spec: spec.architecture)
def test_every_number_of_a_network_is_seen(base: ModelSpec, variant: str) -> None:
    if base.architecture == "swinir" and variant in ("hf", "aux"):
        pytest.skip("SwinIR has no such head")
    spec = replace(base, name="file", **VARIANTS[variant])
    found = _infer(with_buffers(meta_parameters(spec), spec), value_range=1)
    assert replace(found, task=spec.task) == spec


ESRGAN = ("model.0.weight", "model.1.sub.0.RDB1.conv1.0.weight", "model.1.sub.0.RDB1.conv1.0.bias")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: {name: torch.zeros(3, 3) for name in ESRGAN}, r"is an ESRGAN: it has 3 tensors such as model\.0"),
        (lambda s: {"fc.weight": torch.zeros(3, 3)}, "is another network"),
        (lambda s: {**s, "absolute_pos_embed": torch.zeros(1, 64, 12)}, "absolute position embedding"),
        (lambda s: {k.replace("conv_first.", "conv_first.1."): v for k, v in s.items()}, "pixel unshuffle"),
        (lambda s: {**s, "patch_embed.proj.weight": torch.zeros(12, 12, 2, 2)}, "2 pixels to a side"),
        (lambda s: {**s, "conv_last.weight": torch.zeros(1, 12, 3, 3)}, "turns 3 channels into 1"),
        (lambda s: {k: v for k, v in s.items() if "layers.1" not in k or "logit" not in k}, "a part is missing"),
    ],
)
def test_foreign_networks_are_named(change: Any, words: str) -> None:
    with pytest.raises(CheckpointError, match=words):
        _infer(change(meta_parameters(TINY)), value_range=1, window=8)
