"""Our kernels in training: torch's result and gradients, for any sizes of the network."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis.strategies import integers, sampled_from

from swin2sr_ops.engine.native.learning import learn_natively
from swin2sr_ops.errors import RequestError
from swin2sr_ops.nets.network import SwinNet
from swin2sr_ops.training import kernels
from swin2sr_ops.training.kernels import use_engine
from tests.conftest import NATIVE, random_net, small_spec

CPU = torch.device("cpu")


def random_trained(**changes: object) -> SwinNet:
    return random_net(small_spec(**({"depths": (2,), "heads": (2,)} | changes))).train().requires_grad_(True)


def derivatives(net: SwinNet, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """The result for ``x``, and the gradients of an uneven sum of its sines by ``x`` and by all weights."""
    x = x.to(next(net.parameters())).requires_grad_()
    net.zero_grad()
    y = net.outputs(x)["image"]
    (y.sin() * torch.linspace(0, 1, y.numel(), dtype=y.dtype).view(y.shape)).sum().backward()
    assert x.grad is not None
    gradients = {name: p.grad for name, p in net.named_parameters() if p.grad is not None}
    return {"result": y.detach(), "input": x.grad, **gradients}


def assert_like_float64(net: SwinNet, x: torch.Tensor) -> None:
    """Result and gradients of the kernels lie no further from float64 than a few times torch's float32 does."""
    native = copy.deepcopy(net)
    learn_natively(native)
    exact, plain, found = (derivatives(n, x) for n in (copy.deepcopy(net).double(), net, native))
    assert found.keys() == exact.keys()
    largest = max(truth.abs().max() for truth in exact.values())
    for name, truth in exact.items():
        size = truth.abs().max() + 1e-3 * largest
        error, torchs = ((of[name].double() - truth).abs().max() for of in (found, plain))
        # Heads of three channels have short queries, and lose a digit where these are divided by their length.
        assert error <= 2e-5 * size + 4 * torchs, name
    assert any(not torch.equal(found[name], plain[name]) for name in found), "torch computed both"


@NATIVE
@settings(max_examples=40)
@given(
    architecture=sampled_from(["swin2sr", "swinir"]),
    window=sampled_from([4, 5, 7, 8, 12]),
    heads=integers(1, 4),
    size=integers(3, 18),
    ratio=sampled_from([1.0, 1.5, 2.0, 4.0]),
    qkv_bias=sampled_from([True, False]),
    batch=integers(1, 3),
    height=integers(8, 33),
    width=integers(8, 33),
    threads=integers(1, 4),
)
@example(  # the largest error that was found, 9.5e-6
    architecture="swin2sr", window=5, heads=4, size=3, ratio=2.0, qkv_bias=True, batch=2, height=18, width=21, threads=1
)
def test_gradients(
    architecture: str, window: int, heads: int, size: int, ratio: float, qkv_bias: bool, batch: int, height: int,
    width: int, threads: int,
) -> None:  # fmt: skip
    net = random_trained(
        architecture=architecture, window=window, heads=(heads,), dim=heads * size, mlp_ratio=ratio, qkv_bias=qkv_bias
    )
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert_like_float64(net, torch.rand(batch, net.spec.channels, height, width))
    finally:
        torch.set_num_threads(before)


@NATIVE
def test_same_again() -> None:
    """To the last bit, with as many threads: a run that is resumed ends as if it had not been stopped."""
    net = random_trained()
    learn_natively(net)
    x = torch.rand(3, net.spec.channels, 24, 32)
    first, second = derivatives(net, x), derivatives(net, x)
    for name in first:
        assert torch.equal(first[name], second[name]), name


@NATIVE
def test_evaluation_is_torchs() -> None:
    net = random_trained()
    plain = copy.deepcopy(net)
    learn_natively(net)
    x = torch.rand(1, net.spec.channels, 24, 32)
    with torch.no_grad():
        assert torch.equal(net(x), plain(x))


@NATIVE
def test_engine_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    net = random_trained()
    assert use_engine(net, "auto", CPU, amp=False).startswith("trained with native kernels (")
    assert use_engine(net, "torch", CPU, amp=False) == "trained with torch"
    assert use_engine(net, "auto", torch.device("meta"), amp=False) == "trained with torch"
    assert "float32, not with amp" in use_engine(net, "auto", CPU, amp=True)

    def none() -> None:
        raise RequestError("none")

    monkeypatch.setattr(kernels, "origin", none)
    assert "there is no C compiler" in use_engine(net, "auto", CPU, amp=False)


def test_networks_that_the_kernels_do_not_support() -> None:
    net = random_trained()
    with pytest.raises(RequestError, match="not one of auto, torch, native"):
        use_engine(net, "openvino", CPU, amp=False)
    with pytest.raises(RequestError, match="float32, not with amp"):
        use_engine(net, "native", CPU, amp=True)
    with pytest.raises(RequestError, match="run on the CPU, not on meta"):
        use_engine(net, "native", torch.device("meta"), amp=False)
