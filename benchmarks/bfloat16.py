"""Would bfloat16 pay on a processor that has instructions for it? Three measurements behind docs/benchmarks.md.

    python benchmarks/bfloat16.py [--repeats 9] [--weights FOLDER]

*Products*: a block of 6 x 64 sums in registers, operands in the first-level cache, by fused multiply-adds of float32
and by the instruction for pairs of bfloat16 (AVX-512 BF16, ``vdpbf16ps``). *Networks*: the kernels as they are, and
built with half of every product left out: no bfloat16 version could be faster, for it must convert its operands as
well. *Error*: PSNR between a network whose stages compute in bfloat16 (as on GPUs; torch) and one in float32. CPU
time, one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
#: Side of the image in pixels, for each network.
SIDES = {
    "nano-x2-gray": 160, "tiny-x2-rgb": 128, "small-x1-rgb": 96, "small-x2-rgb": 96, "swin2sr-lightweight-x2": 96,
    "swin2sr-classical-x4": 40,
}  # fmt: skip
MICRO = """
#include <immintrin.h>
#include <stdio.h>
#include <time.h>
static float a[6 * DEPTH], b[DEPTH * 64], c[6 * 64];
static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec + 1e-9 * t.tv_nsec;
}
#define BLOCK(name, steps, product) \\
    __attribute__((noinline)) static void name(void) \\
    { \\
        __m512 s[6][4]; \\
        for (int i = 0; i < 24; i++) s[i / 4][i % 4] = _mm512_setzero_ps(); \\
        for (int k = 0; k < steps; k++) { \\
            __m512 w[4]; \\
            for (int j = 0; j < 4; j++) w[j] = _mm512_loadu_ps(b + k * 64 + 16 * j); \\
            for (int i = 0; i < 6; i++) { \\
                __m512 x = _mm512_set1_ps(a[k * 6 + i]); \\
                for (int j = 0; j < 4; j++) s[i][j] = product; \\
            } \\
        } \\
        for (int i = 0; i < 24; i++) _mm512_storeu_ps(c + 16 * i, s[i / 4][i % 4]); \\
    }
BLOCK(full, DEPTH, _mm512_fmadd_ps(x, w[j], s[i][j]))
BLOCK(pairs, DEPTH / 2, _mm512_dpbf16_ps(s[i][j], (__m512bh)x, (__m512bh)w[j]))
int main(void)
{
    for (int i = 0; i < 6 * DEPTH; i++) a[i] = 1e-3f * i;
    for (int i = 0; i < 64 * DEPTH; i++) b[i] = 1e-3f;
    for (int r = 0; r < 30; r++)
        for (int kind = 0; kind < 2; kind++) {
            double began = now();
            for (int n = 0; n < 10000; n++) kind ? pairs() : full();
            printf("%g ", 2.0 * 6 * 64 * DEPTH * 10000 / (now() - began) / 1e9);
        }
    return c[0] == 12345;
}
"""


def products(depth: int) -> tuple[float, float]:
    """Return GFLOP/s in float32 and in bfloat16."""
    with TemporaryDirectory() as folder:
        source, program = Path(folder, "micro.c"), Path(folder, "micro")
        source.write_text(MICRO, encoding="utf-8")
        compiler = ["gcc", "-O3", "-march=native", f"-DDEPTH={depth}", str(source), "-o", str(program)]
        subprocess.run(compiler, check=True)
        rates = [float(word) for word in subprocess.run([program], capture_output=True, check=True).stdout.split()]
    return median(rates[::2]), median(rates[1::2])


def child(name: str) -> None:
    """Print the CPU seconds of one tile, with random weights of a usual size."""
    from swin2sr_ops.engine.native.engine import NativeEngine
    from swin2sr_ops.geometry.plan import TilePlan
    from swin2sr_ops.weights.catalogue import find
    from swin2sr_ops.weights.shapes import parameter_shapes

    spec, side, rng = find(name), SIDES[name], np.random.default_rng(0)
    shapes = parameter_shapes(spec).items()
    engine = NativeEngine(spec, {key: rng.standard_normal(shape, np.float32) * 0.05 for key, shape in shapes})
    (tile,) = TilePlan(spec, side, side, (side, side))
    image = rng.random((spec.channels, side, side), np.float32)[:, tile.y.padding][:, :, tile.x.padding]
    took = []
    for _ in range(3):
        began = time.process_time()
        engine.run(image, tile, threads=1)
        took.append(time.process_time() - began)
    print(json.dumps(min(took[1:])))


def seconds(root: Path, name: str) -> float:
    """Return the CPU seconds that a network takes with the package in ``root``, in a process of its own."""
    words = [sys.executable, __file__, "--child", name]
    done = subprocess.run(
        words, env=os.environ | {"PYTHONPATH": str(root)}, capture_output=True, encoding="utf-8", check=True
    )
    return float(done.stdout.splitlines()[-1])


def halved(folder: Path) -> Path:
    """Copy the package, with kernels that leave out every second product."""
    shutil.copytree(ROOT / "swin2sr_ops", folder / "swin2sr_ops")
    native = folder / "swin2sr_ops" / "engine" / "native"
    for name, loop, step in (
        ("products.h", "for (num k = 0; k < depth; k++)", "for (num k = 0; k < depth; k += 2)"),
        ("conv.c", "k < c->inputs; k++, weights += row", "k < c->inputs; k += 2, weights += 2 * row"),
    ):
        text = (native / name).read_text(encoding="utf-8")
        assert text.count(loop) == 1
        (native / name).write_text(text.replace(loop, step), encoding="utf-8")
    return folder


def error(name: str, weights: str) -> float:
    """Return the PSNR in dB of bfloat16 stages against float32, on a natural image."""
    import torch

    from swin2sr_ops import open_source
    from swin2sr_ops.engine.tile_engine import TileEngine
    from swin2sr_ops.geometry.plan import TilePlan
    from swin2sr_ops.hooks.dispatch import build_network, resolve_model

    spec = resolve_model(weights or name)
    photo = spec.channels == 3
    source = open_source("sample:photo" if photo else "sample:cells")
    region = tuple(slice(60, 124) if n > 64 else slice(0, n) for n in source.info.shape)
    pixels: Any = np.squeeze(source.read(region)).astype(np.float32)
    pixels /= 255.0 if photo else pixels.max()
    image = torch.from_numpy(pixels).permute(2, 0, 1) if photo else torch.from_numpy(pixels).reshape(-1, 64, 64)[:1]
    (tile,) = TilePlan(spec, 64, 64, (64, 64))
    with torch.inference_mode():
        one, other = (
            TileEngine(build_network(replace(spec)), half=half, kernels="torch").run(image.contiguous(), tile)["image"]
            for half in (False, True)
        )
    return float(-10 * torch.log10(((one - other) ** 2).mean()))


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--weights", default="", help="the released lightweight network, for its error")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args.child)
        return
    print("| depth of the product | float32, GFLOP/s | bfloat16, GFLOP/s | ratio |\n|---|---|---|---|")
    for depth in (60, 180, 540):
        full, pairs = products(depth)
        print(f"| {depth} | {full:.0f} | {pairs:.0f} | {pairs / full:.2f} |", flush=True)
    print("\n| network | px | float32, CPU s | half of the products, CPU s | ratio at best | bfloat16, dB |")
    print("|---|---|---|---|---|---|", flush=True)
    with TemporaryDirectory() as folder:
        roots = ROOT, halved(Path(folder))
        for name, side in SIDES.items():
            runs = [[seconds(root, name) for root in roots] for _ in range(args.repeats)]
            whole, half = (median(run[i] for run in runs) for i in range(2))
            ratio = median(run[0] / run[1] for run in runs)
            known = name.startswith(("nano", "tiny", "small"))
            psnr = (
                f"{error(name, '' if known else args.weights):.1f}"
                if known or (args.weights and "lightweight" in name)
                else ""
            )
            print(f"| {name} | {side} | {whole:.3f} | {half:.3f} | {ratio:.2f} | {psnr} |", flush=True)


if __name__ == "__main__":
    main()
