"""The Triton kernel against torch's attention, without a GPU: in Triton's interpreter, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from swin2sr_ops.nets import fused

pytest.importorskip("triton", reason="Triton is not installed")

KERNEL = """
import math, torch
from torch.nn import functional as F
from swin2sr_ops.nets.fused import window_attention

draw = torch.Generator().manual_seed(0)
for case in range(40):
    def one_of(*values):
        return values[torch.randint(len(values), (1,), generator=draw).item()]
    side, heads, size = one_of(7, 8), one_of(1, 3, 6), one_of(5, 10, 16, 30)
    windows, cosine, masked = one_of(1, 2, 5), one_of(True, False), one_of(True, False)
    dtype = one_of(torch.float32, torch.float32, torch.bfloat16)
    pixels = side * side
    qkv = torch.randn(windows, pixels, 3 * heads * size, generator=draw).to(dtype)
    bias = torch.randn(1, heads, pixels, pixels, generator=draw).to(dtype)
    mask = None
    if masked:
        hidden = torch.rand(windows, 1, 1, pixels, generator=draw) < 0.5
        hidden[..., 0] = False
        mask = torch.zeros(hidden.shape).masked_fill(hidden, -math.inf).to(dtype)
    scale = torch.rand(heads, 1, 1, generator=draw) * 20 if cosine else size**-0.5
    found = window_attention(qkv, bias, mask, scale, heads, cosine=cosine)
    assert found.dtype == dtype and found.shape == (windows, pixels, heads * size)
    q, k, v = qkv.double().view(windows, pixels, 3, heads, size).permute(2, 0, 3, 1, 4)
    if cosine:
        q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
    logits = (q * scale) @ k.transpose(-1, -2) + bias.double() + (0 if mask is None else mask.double())
    expected = (logits.softmax(-1) @ v).transpose(1, 2).flatten(2)
    gap = (found.double() - expected).abs().max().item()
    assert gap < (1e-5 if dtype == torch.float32 else 3e-2), (case, side, heads, size, cosine, masked, dtype, gap)
print("same")
"""

ENGINE = """
import torch
from swin2sr_ops.nets import fused
from swin2sr_ops.nets.engine import TileEngine
from tests.conftest import random_net, small_spec
from tests.nets.test_engine import run

calls = []
kernel = fused.window_attention
fused.window_attention = lambda *a, **k: calls.append(1) or kernel(*a, **k)
for architecture, window in (("swin2sr", 8), ("swinir", 7)):
    spec = small_spec(architecture=architecture, window=window, depths=(2,), heads=(2,))
    net, image = random_net(spec), torch.rand(1, 40, 34, generator=torch.Generator().manual_seed(1))
    fused.usable = lambda qkv: False
    expected = run(TileEngine(net), image, (40, 34))
    fused.usable = lambda qkv: not torch.is_grad_enabled()
    whole = run(TileEngine(net, group=2), image, (40, 34))
    torch.testing.assert_close(whole, expected, rtol=0, atol=2e-5)
    assert torch.equal(run(TileEngine(net, group=2), image, (24, 34)), whole)
assert calls
print("same")
"""


@pytest.mark.parametrize("program", [KERNEL, ENGINE], ids=["kernel", "engine"])
def test_the_same_as_torch(program: str) -> None:
    environment = os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=Path(__file__).parents[2], env=environment, capture_output=True, text=True,
        timeout=500, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == "same\n"


def test_where_it_is_used() -> None:
    """On a CPU never, whatever is installed; importing it loads no Triton."""
    with torch.inference_mode():
        assert not fused.usable(torch.zeros(1, 64, 30))
    code = "import sys, swin2sr_ops.nets.engine; print('triton' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
