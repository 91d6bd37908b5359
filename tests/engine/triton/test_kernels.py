"""The Triton kernels as they would be launched on a GPU: compilations, their number, and memory."""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch

from swin2sr_ops.engine.tile_engine import TileEngine
from swin2sr_ops.engine.triton import steps as fused
from swin2sr_ops.geometry.plan import TilePlan
from tests.conftest import random_net, small_spec
from tests.engine.test_tile_engine import run

triton = pytest.importorskip("triton", reason="Triton is not installed")

OF_TILES = ("begin", "width", "across", "above", "before", "rows", "columns", "top", "bottom", "left", "right")


@pytest.mark.parametrize("half", [True, False], ids=["bfloat16", "float32"])
@pytest.mark.parametrize("dim", [60, 180])
@pytest.mark.parametrize("v2", [True, False], ids=["swin2sr", "swinir"])
def test_compiled_for_a_gpu(dim: int, half: bool, v2: bool) -> None:
    """Triton's compiler builds them for compute capability 9.0: shared memory and registers suffice."""
    from swin2sr_ops.engine.triton import kernels

    (heads, size), width = {60: (6, 16), 180: (6, 32)}[dim], {60: 64, 180: 256}[dim]
    stages = {"PRECISION": "bf16" if half else "ieee", "PART": fused.PART, "dim": dim, "DIM": width}
    block = stages | {"V2": v2, "WINDOW": 8, "ROWS": 64}
    assert_fits(kernels.attention_kernel, block | {"heads": heads, "SIZE": size}, half, warps=fused.WARPS[half])
    assert_fits(kernels.block_end_kernel, block | {"hidden": 2 * dim, "PIXELS": fused.PIXELS[half]}, half)
    merge = stages | {"HIGH": fused.HIGH[half], "WIDE": fused.WIDE}
    assert_fits(kernels.stage_end_kernel, merge | {"EMBED": v2}, half)
    # Around the stages, everything except the planes is float32.
    around = merge | {"PRECISION": "tf32" if half else "ieee", "HIGH": fused.HIGH[False]}
    assert_fits(kernels.trunk_end_kernel, around | {"inputs": 3}, False, source=half)
    entrance = around | {"inputs": 3, "NORM": True, "EMBED": v2, "KEEP": False}
    assert_fits(kernels.entrance_kernel, entrance, False, target=half)
    head = {name: value for name, value in around.items() if name != "DIM"}
    head |= {"ADD": not v2, "channels": 3, "scale": 2 if v2 else 1, "OUT": 16}
    assert_fits(kernels.head_kernel, head, False)


NUMBERS = {"eps": "fp32", "slope": "fp32", "bias": "*fp32", "scales": "*fp32"}


def assert_fits(kernel: Any, constants: dict[str, object], half: bool, warps: int = 8, **halves: bool) -> None:
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile

    numbers = "*bf16" if half else "*fp32"
    kinds = NUMBERS | dict.fromkeys(OF_TILES, "i32") | dict.fromkeys(constants, "constexpr")
    kinds |= {name: "*bf16" for name, short in halves.items() if short}
    kinds = {name: kinds.get(name, numbers) for name in kernel.arg_names}
    # As in a launch: addresses are multiples of 16 bytes.
    aligned = {(i,): [["tt.divisibility", 16]] for i, kind in enumerate(kinds.values()) if kind.startswith("*")}
    source = ASTSource(kernel, kinds, constexprs=constants, attrs=aligned)
    found = compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": warps})
    assert found.metadata.shared <= 99 * 1024  # the limit of workstation GPUs
    assert spilled(found.asm["cubin"]) <= 200
    # Weights are copied asynchronously during products, which needs pieces of at least 4 bytes.
    assert "cp.async" in found.asm["ptx"]


def spilled(cubin: bytes) -> int:
    """Return the bytes of spilled registers per thread, by NVIDIA's tool."""
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


class Launches:
    """Record what Triton would compile a kernel for, without running it."""

    def __init__(self, kernel: Any, told: set[tuple[object, ...]]) -> None:
        self.kernel, self.told = kernel, told

    def __getitem__(self, grid: tuple[int, ...]) -> Any:
        return self.launch

    def launch(self, *args: Any, **given: Any) -> None:
        given |= dict(zip(self.kernel.arg_names, args, strict=False))
        kinds: list[object] = [self.kernel.__name__]
        for parameter in self.kernel.params:
            value = given[parameter.name]
            if isinstance(value, torch.Tensor):
                kinds.append((value.dtype, value.data_ptr() % 16))
            elif not parameter.do_not_specialize:
                kinds.append(value)
        self.told.add(tuple(kinds))


@pytest.mark.parametrize("window", [7, 8])
def test_one_kernel_for_all_tiles(window: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compilation depends on the network only: another compilation might sum in another order."""
    from swin2sr_ops.engine.triton import kernels

    told: set[tuple[object, ...]] = set()
    names = [name for name in kernels.__all__ if name.endswith("_kernel")]
    assert len(names) == 6
    for name in names:
        monkeypatch.setattr(kernels, name, Launches(getattr(kernels, name), told))
    net = random_net(small_spec(window=window, depths=(2,), heads=(2,), architecture="swinir", channels=3))
    engine, found = TileEngine(net, kernels="triton", group=2), []
    for tile in ((90, 80), (33, 80), (90, 17), (16, 16), (9, 41)):
        run(engine, torch.rand(3, 90, 80), tile)
        found.append(told.copy())
        told.clear()
    assert {kind[0] for kind in found[0]} == set(names)
    assert all(kinds == found[0] for kinds in found)


@pytest.mark.parametrize(("dim", "changes"), [(60, {}), (180, {"upsampler": "pixelshuffle", "scale": 4})])
def test_memory(dim: int, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A trunk's input is not in memory while its stages run, nor are their planes while the head runs."""
    from swin2sr_ops.engine.triton import kernels

    for name in kernels.__all__:
        monkeypatch.setattr(kernels, name, Launches(getattr(kernels, name), set()))
    monkeypatch.setattr(fused, "WINDOWS", 64)
    spec, side = small_spec(dim=dim, depths=(2, 2), heads=(6, 6), channels=3, **changes), 256
    engine = TileEngine(random_net(spec), kernels="triton", group=2, half=True)
    (tile,) = TilePlan(spec, side, side, (side, side))
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        engine.run(torch.rand(3, side, side), tile)
    now = most = 0
    events = profile.profiler.kineto_results.events()  # type: ignore[union-attr]
    for event in sorted((e for e in events if e.name() == "[memory]"), key=lambda e: e.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    bytes_of_a_pixel = most / (side + 2 * 4 * spec.window) ** 2  # with a margin
    # One plane in half precision, one in float32 and the input, or the result.
    assert bytes_of_a_pixel < 1.15 * (6 * dim + 12 + (192 if changes else 48)), bytes_of_a_pixel
