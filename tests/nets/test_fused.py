"""The Triton kernels against torch, without a GPU: in Triton's interpreter, in processes; and compiled for one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from swin2sr_ops.nets import fused, fused_mlp

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

BLOCK_END = """
import torch
from swin2sr_ops.nets.fused_mlp import block_end
from tests.conftest import random_net, small_spec

draw = torch.Generator().manual_seed(0)
for case in range(12):
    def one_of(*values):
        return values[torch.randint(len(values), (1,), generator=draw).item()]
    dim, ratio, architecture = one_of(4, 12, 36, 60, 180), one_of(1.0, 1.5, 2.0), one_of("swin2sr", "swinir")
    pixels, dtype = one_of((1,), (7,), (64,), (3, 49), (2, 64)), one_of(torch.float32, torch.float32, torch.bfloat16)
    spec = small_spec(architecture=architecture, dim=dim, heads=(2,), depths=(1,), mlp_ratio=ratio)
    block = random_net(spec, case).to(dtype).layers[0].residual_group.blocks[0]
    x, attended = (torch.randn(*pixels, dim, generator=draw).to(dtype) for _ in range(2))
    with torch.inference_mode():
        found = block_end(block, x, attended)
        block.double()
        u, projected = x.double(), block.attn.proj(attended.double())
        if architecture == "swin2sr":
            u = u + block.norm1(projected)
            expected = u + block.norm2(block.mlp(u))
        else:
            u = u + projected
            expected = u + block.mlp(block.norm2(u))
    assert found.dtype == dtype and found.shape == x.shape
    gap = (found.double() - expected).abs().max().item()
    assert gap < (1e-5 if dtype == torch.float32 else 5e-2), (case, dim, ratio, architecture, pixels, dtype, gap)
print("same")
"""

ENGINE = """
import torch
from swin2sr_ops.nets import blocks, fused
from swin2sr_ops.nets.engine import TileEngine
from tests.conftest import random_net, small_spec
from tests.nets.test_engine import run

calls = []
kernel = fused.window_attention
fused.window_attention = lambda *a, **k: calls.append("attention") or kernel(*a, **k)
end = blocks.block_end
blocks.block_end = lambda *a: calls.append("end") or end(*a)
for architecture, window in (("swin2sr", 8), ("swinir", 7)):
    spec = small_spec(architecture=architecture, window=window, depths=(2,), heads=(2,))
    net, image = random_net(spec), torch.rand(1, 24, 20, generator=torch.Generator().manual_seed(1))
    fused.usable = lambda *_: False
    expected = run(TileEngine(net), image, (24, 20))
    fused.usable = lambda *_: not torch.is_grad_enabled()
    whole = run(TileEngine(net, group=2), image, (24, 20))
    torch.testing.assert_close(whole, expected, rtol=0, atol=2e-5)
    assert torch.equal(run(TileEngine(net, group=2), image, (16, 20)), whole)
assert set(calls) == {"attention", "end"}
print("same")
"""


@pytest.mark.parametrize("program", [KERNEL, BLOCK_END, ENGINE], ids=["attention", "block end", "engine"])
def test_the_same_as_torch(program: str) -> None:
    environment = os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=Path(__file__).parents[2], env=environment, capture_output=True, text=True,
        timeout=500, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == "same\n"


@pytest.mark.parametrize("half", [True, False], ids=["bfloat16", "float32"])
@pytest.mark.parametrize("dim", [60, 180])
def test_compiled_for_a_gpu(dim: int, half: bool) -> None:
    """What a GPU of compute capability 9.0 would run, by Triton's own compiler: it fits, registers too."""
    from swin2sr_ops.nets.fused_mlp_kernel import block_end_kernel

    size = {60: 10, 180: 30}[dim]
    attention = {"WITH_MASK": True, "COSINE": True, "HALF": half, "PIXELS": 64, "SIZE": 16 if size == 10 else 32}
    assert_fits(fused._kernel(), attention, half, warps=fused.WARPS[half])
    widths = {"DIM": 64 if dim == 60 else 256, "PIXELS": fused_mlp.PIXELS[half], "PART": fused_mlp.PART}
    assert_fits(block_end_kernel, {"POST": True, "HALF": half, **widths}, half, warps=8)


WHOLE = ("pixels", "size", "heads", "dim", "hidden")


def assert_fits(kernel: Any, constants: dict[str, object], half: bool, warps: int) -> None:
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile

    numbers = "*bf16" if half else "*fp32"
    kinds = dict.fromkeys(constants, "constexpr") | dict.fromkeys(WHOLE, "i32") | {"eps": "fp32"}
    kinds |= {"bias": "*fp32", "mask": "*fp32", "scales": "*fp32"}
    source = ASTSource(kernel, {name: kinds.get(name, numbers) for name in kernel.arg_names}, constexprs=constants)
    found = compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": warps})
    assert found.metadata.shared <= 227 * 1024
    assert spilled(found.asm["cubin"]) <= (0 if half else 320)


def spilled(cubin: bytes) -> int:
    """Bytes of registers that a thread keeps in memory, as NVIDIA's tool reads them."""
    import triton

    tools = list(Path(triton.__file__).parent.rglob("cuobjdump"))
    if not tools:
        pytest.skip("this Triton comes without cuobjdump")
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        done = subprocess.run([tools[0], "-res-usage", file.name], capture_output=True, text=True, check=True)
    frames = re.findall(r"STACK:(\d+)", done.stdout)
    assert frames
    return max(map(int, frames))


def test_masks_of_pairs_are_torchs() -> None:
    """Whole planes that are rolled have such: what the kernel would read of them belongs to other windows."""
    qkv: Any = SimpleNamespace(is_cuda=True, dtype=torch.float32)  # all that is asked of it
    with torch.inference_mode():
        assert fused.usable(qkv)
        assert fused.usable(qkv, torch.zeros(4, 1, 1, 64))
        assert not fused.usable(qkv, torch.zeros(4, 1, 64, 64))
    assert not fused.usable(qkv)


def test_where_it_is_used() -> None:
    """On a CPU never, whatever is installed; importing it loads no Triton."""
    with torch.inference_mode():
        assert not fused.usable(torch.zeros(1, 64, 30))
    code = "import sys, swin2sr_ops.nets.engine; print('triton' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
