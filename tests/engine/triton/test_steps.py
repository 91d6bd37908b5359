"""Compare the Triton kernels with torch in Triton's interpreter, in processes of their own."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from swin2sr_ops import Restorer
from swin2sr_ops.engine import selftest as check
from swin2sr_ops.engine.select import choose_engine, why_engine
from swin2sr_ops.engine.tile_engine import TileEngine
from swin2sr_ops.errors import RequestError
from swin2sr_ops.spec import ModelSpec, Reach
from tests.conftest import random_net, small_spec
from tests.engine.test_tile_engine import run

triton = pytest.importorskip("triton", reason="Triton is not installed")

BLOCK = """
import torch
from swin2sr_ops.geometry.steps import network_steps
from swin2sr_ops.engine.triton import steps as fused
from swin2sr_ops.engine.tile_engine import TileEngine
from swin2sr_ops.engine.kernel_run import Box
from tests.conftest import random_net, small_spec

draw = torch.Generator().manual_seed(0)
for case in range(14):
    def one_of(*values):
        return values[torch.randint(len(values), (1,), generator=draw).item()]
    (dim, heads), window = one_of((4, 1), (12, 2), (30, 3), (60, 6), (180, 6)), one_of(7, 8)
    architecture, half = one_of("swin2sr", "swinir"), one_of(False, False, True)
    spec = small_spec(
        architecture=architecture, dim=dim, heads=(heads,), depths=(1,), window=window, mlp_ratio=one_of(1.0, 1.5, 2.0)
    )
    net = random_net(spec, case)
    engine = TileEngine(net, half=half, kernels="triton")
    path = next(step.path for step in network_steps(spec) if step.kind == "window")
    down, across = one_of(1, 2), one_of(1, 3)
    # The plane is larger, and the image ends somewhere in its windows.
    plane = torch.randn(down * window + 3, across * window + 2, dim, generator=draw)
    plane = plane.bfloat16() if half else plane
    inside = Box(one_of(-9, 0, 3), down * window - one_of(-5, 0, 2), one_of(-1, 2), across * window - one_of(-1, 4))
    given, found = plane.clone(), plane.clone()
    with torch.inference_mode():
        fused.FusedSteps(net, engine.blocks.constants).windows(path, found, down, across, inside)
        y, x = torch.meshgrid(torch.arange(down * window), torch.arange(across * window), indexing="ij")
        seen = (y >= inside.top) & (y < inside.bottom) & (x >= inside.left) & (x < inside.right)
        def windows(t):
            t = t.view(down, window, across, window, -1).transpose(1, 2)
            return t.reshape(down * across, window**2, -1)
        mask = torch.zeros(down * across, 1, 1, window**2, dtype=torch.float64)
        mask.masked_fill_(~windows(seen[..., None])[:, None, None, :, 0], float("-inf"))
        block = net.double().layers[0].residual_group.blocks[0]
        tokens = windows(given[: down * window, : across * window].double())
        expected = block.tokens(tokens, block.attn.constants(), mask)
        expected = expected.view(down, across, window, window, -1).transpose(1, 2)
        expected = expected.reshape(down * window, across * window, -1)
    rest = given.clone()
    rest[: down * window, : across * window][seen] = found[: down * window, : across * window][seen]
    assert torch.equal(rest, found), "only the image's pixels are written"
    gap = (found[: down * window, : across * window][seen].double() - expected[seen]).abs().max().item()
    size = expected[seen].abs().max().item()
    assert gap < (2e-5 if not half else 0.02 * max(size, 1)), (case, dim, heads, window, architecture, half, gap)
print("same")
"""

CONVOLUTIONS = """
import torch
from torch.nn import functional as F
from swin2sr_ops.engine.triton import steps as fused
from swin2sr_ops.engine.kernel_run import Box, Place
from swin2sr_ops.engine.tile_engine import TileEngine
from tests.conftest import random_net, small_spec

draw = torch.Generator().manual_seed(0)

def one_of(*values):
    return values[torch.randint(len(values), (1,), generator=draw).item()]

def planes(*channels):
    return [torch.randn(rows + 4, columns + 3, c, generator=draw) for c in channels]

def written(plane):
    return plane[1 : rows + 1, 1 : columns + 1]

def convolved(module, plane):
    pixels = plane.double().permute(2, 0, 1)[None, :, : rows + 2, : columns + 2]
    module = module if isinstance(module, torch.nn.Sequential) else [module]
    found = F.conv2d(pixels, module[0].weight, module[0].bias)
    for rest in module[1:]:
        found = rest(found)
    return found[0].permute(1, 2, 0)

def compare(found, expected, half):
    gap, size = (found.double() - expected).abs().max().item(), expected.abs().max().item()
    assert gap < (2e-5 if not half else 0.02) * max(size, 1), (case, kind, dim, half, gap, size)

def only(plane, given):
    rest = given.clone()
    written(rest).copy_(written(plane))
    assert torch.equal(rest, plane), "only these pixels are written"

for case in range(30):
    kind, half = ("embed", "merge", "tail", "head", "embed_hf")[case % 5], one_of(False, False, True)
    (dim, heads), channels = one_of((4, 1), (12, 2), (30, 3), (60, 6), (180, 6)), one_of(1, 3)
    upsampler, scale = one_of(("", 1), ("pixelshuffledirect", 2), ("pixelshuffledirect", 3))
    architecture = one_of("swin2sr", "swinir")
    if kind == "embed_hf":
        architecture, upsampler, scale = "swin2sr", "pixelshuffle_hf", 2
    net = random_net(small_spec(
        architecture=architecture, dim=dim, heads=(heads,), depths=(1,), channels=channels,
        upsampler=upsampler, scale=scale, patch_norm=one_of(True, False),
    ), case)
    engine = TileEngine(net, half=half, kernels="triton")
    rows, columns = one_of(1, 5, 16), one_of(1, 7, 17)
    place = Place(rows, columns, Box(-one_of(0, 3, 12), rows + one_of(0, 4), -one_of(0, 5), columns + one_of(0, 2)))
    steps, exact = fused.FusedSteps(net, engine.blocks.constants), net.double()
    stages = torch.bfloat16 if half else torch.float32
    with torch.inference_mode():
        if kind in ("embed", "embed_hf"):
            path = "conv_first_hf" if kind == "embed_hf" else "conv_first"
            source, first, plane = planes(net.spec.num_feat if kind == "embed_hf" else channels, dim, dim)
            plane = plane.to(stages)
            before = first.clone(), plane.clone()
            steps.begin(path, place, source[1:, 1:], plane[1:, 1:], first[1:, 1:])
            expected = convolved(getattr(exact, path), source)
            compare(written(first), expected, False)
            compare(written(plane), exact.patch_embed(expected), half)
            only(first, before[0])
            only(plane, before[1])
            again = before[1].clone()
            steps.begin(path, place, source[1:, 1:], again[1:, 1:])
            assert torch.equal(again, plane), "whether the features are kept or not"
        elif kind == "merge":
            source, target = (t.to(stages) for t in planes(dim, dim))
            given = target.clone()
            steps.end("layers.0", place, source[1:, 1:], target[1:, 1:])
            stage = exact.layers[0]
            added = stage.patch_embed(convolved(stage.conv, source))
            compare(written(target), written(given).double() + added, half)
            only(target, given)
        elif kind == "tail":
            source, image, target = planes(dim, channels, dim)
            source, given = source.to(stages), target.clone()
            assert steps.again("conv_after_body")
            steps.end("conv_after_body", place, source[1:, 1:], target[1:, 1:], image[1:, 1:])
            normal = exact.norm(source.double())
            y, x = torch.meshgrid(*(torch.arange(n) - 1 for n in source.shape[:2]), indexing="ij")
            inside = place.inside
            seen = (y >= inside.top) & (y < inside.bottom) & (x >= inside.left) & (x < inside.right)
            last = convolved(exact.conv_after_body, normal * seen[..., None])
            compare(written(target), last + convolved(exact.conv_first, image), False)
            only(target, given)
        else:
            source, image = planes(dim, channels)
            found = torch.full((channels, rows * scale, columns * scale), 7.0)
            steps.head(upsampler, place, source[1:, 1:], image[1:, 1:], found)
            last = exact.upsample[0] if upsampler else exact.conv_last
            expected = F.pixel_shuffle(convolved(last, source).permute(2, 0, 1), scale)
            compare(found, expected if upsampler else expected + written(image).permute(2, 0, 1), False)
print("same")
"""

ENGINE = """
import torch
from swin2sr_ops.engine.triton import steps as fused
from swin2sr_ops.engine.tile_engine import TileEngine
from tests.conftest import random_net, small_spec
from tests.engine.test_tile_engine import run

for architecture, window, upsampler in (("swin2sr", 8, "pixelshuffledirect"), ("swinir", 7, "pixelshuffle")):
    spec = small_spec(architecture=architecture, window=window, depths=(2,), heads=(2,), upsampler=upsampler)
    net, image = random_net(spec), torch.rand(1, 20, 12, generator=torch.Generator().manual_seed(1))
    expected = run(TileEngine(net), image, (20, 12))
    whole = run(TileEngine(net, group=2, kernels="triton"), image, (20, 12))
    torch.testing.assert_close(whole, expected, rtol=0, atol=2e-5)
    assert not torch.equal(whole, expected)  # others have computed it
    fused.WINDOWS = 4
    tiled = run(TileEngine(net, group=2, kernels="triton"), image, (16, 12), streamed=window == 7)
    assert torch.equal(tiled, whole)
    fused.WINDOWS = 2048
print("same")
"""

CHECK = """
import torch
from swin2sr_ops.engine import selftest as check
from swin2sr_ops.engine.triton import steps as fused
from swin2sr_ops.engine.selftest import triton_obstacle
from tests.conftest import small_spec

check._SIDE = 12  # the interpreter is slow
told = []
check._log.info = lambda text, *args: told.append(text % args)
CPU = torch.device("cpu")
kinds = [
    (small_spec(dim=30, heads=(3, 3)), torch.float32),
    (small_spec(dim=36, heads=(3, 3), resi_connection="3conv"), torch.bfloat16),
    (small_spec(architecture="swinir", window=7, qkv_bias=False), torch.float32),
    (small_spec(planes=3), torch.float32),
    (small_spec(planes=3, upsampler="", scale=1), torch.float32),
]
for spec, dtype in kinds:
    assert triton_obstacle(spec, CPU, dtype) == ""
assert told[0].startswith("compiled and tested kernels for cpu in ")
block = fused.FusedSteps.windows

def wrong(self, path, plane, *args):
    block(self, path, plane, *args)
    plane[:1, :1] += 3

fused.FusedSteps.windows = wrong
for dtype in (torch.float32, torch.bfloat16):
    told = triton_obstacle(small_spec(dim=8), CPU, dtype)
    assert told == "the result of the Triton kernels differs from torch's", told
print("same")
"""


@pytest.mark.parametrize(
    "program", [BLOCK, CONVOLUTIONS, ENGINE, CHECK], ids=["block", "convolutions", "engine", "check"]
)
def test_the_same_as_torch(program: str) -> None:
    environment = os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=Path(__file__).parents[3], env=environment, capture_output=True, text=True,
        timeout=500, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == "same\n"


GPU, CPU = torch.device("cuda:0"), torch.device("cpu")


def test_where_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is used on a CUDA GPU if it fits and works, never elsewhere; choosing does not load Triton."""
    told = [""]
    monkeypatch.setattr(check, "triton_obstacle", lambda *_: told[0])
    spec, foreign = small_spec(), ModelSpec(name="theirs", architecture="dncnn", scale=1, reach=Reach(halo=16))
    name = f"triton {importlib.metadata.version('triton')}"
    assert choose_engine("auto", GPU, torch.float32, spec) == choose_engine("triton", GPU, torch.bfloat16, spec) == name
    assert choose_engine("torch", GPU, torch.float32, spec) == "torch"
    for device, dtype, other in (
        (CPU, torch.float64, spec),
        (torch.device("mps"), torch.float32, spec),
        (GPU, torch.float64, spec),
        (GPU, torch.float32, foreign),
        (GPU, torch.float32, small_spec(dim=264, heads=(2, 2))),
    ):
        assert choose_engine("auto", device, dtype, other) == "torch"
    told[0] = "out of resource: shared memory"
    assert choose_engine("auto", GPU, torch.float32, spec) == "torch"
    assert why_engine("auto", GPU, torch.float32, spec) == "out of resource: shared memory"
    code = "import sys, swin2sr_ops.engine.tile_engine, swin2sr_ops.engine.triton.steps; print('triton' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_requests_that_are_refused(gray_model: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RequestError, match="computes in float32 or bfloat16, not float64"):
        Restorer(gray_model, engine="triton", precision="float64")
    with pytest.raises(RequestError, match="runs on a CUDA GPU, not on cpu: give device='cuda', or another engine"):
        Restorer(gray_model, engine="triton", device="cpu").network.place()
    with pytest.raises(RequestError, match="supports at most 256 feature channels, 'small' has 264: give 'torch'"):
        choose_engine("triton", GPU, torch.float32, small_spec(name="small", dim=264, heads=(2, 2)))

    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr("swin2sr_ops.engine.select.version", missing)
    assert choose_engine("auto", GPU, torch.float32, gray_model) == "torch"
    with pytest.raises(RequestError, match="Triton, which comes with torch for CUDA: it is not installed here"):
        Restorer(gray_model, engine="triton")


def test_a_device_that_triton_does_not_know() -> None:
    """Without a compiler, with an old GPU, or as here without a GPU: an error message instead of Triton's traceback."""
    engine = TileEngine(random_net(small_spec()), kernels="triton")
    with pytest.raises(RequestError, match=r"engine='triton' cannot run on cpu here \(.+\): give engine='torch'"):
        run(engine, torch.rand(1, 16, 16), (16, 16))
    assert "cannot run on cpu here" in check.triton_obstacle(small_spec(), CPU, torch.float32)
    if not torch.cuda.is_available():
        assert check.triton_obstacle(small_spec(), GPU, torch.float32)
