"""Measure the network's speed against other implementations: same weights, same image, one run, one thread.

    python benchmarks/speed.py --weights ../shared/weights/swin2sr-lightweight-x2-64 --sizes 256,512 --repeats 3

Networks: the lightweight x2 one (60 channels; ``--weights``, else random weights) and the classical x4 one (180
channels, random weights). Methods: ours in one tile (on a CPU our kernels in C, compiled before; on a GPU Triton's),
the same with torch's kernels, with OpenVINO's and (on a GPU) without CUDA graphs, and in tiles of 128 px; transformers
on the whole image, on a GPU by torch.compile too; around transformers' network the official loop (tile 256, overlap 32,
averaged), ``dask.array.map_overlap`` (chunks of 128 px, depth 16) and, where it is installed, MONAI's sliding window
(256 px, overlap 0.25, Gaussian).

Each method runs in a process of its own, on one thread; rounds are interleaved. Reported: median CPU seconds, thousand
input pixels per second of CPU time, ratio to transformers, share of the matrix rate measured in the same run, what
memory grew by at its peak, and the largest difference from transformers on the whole image, in float32 on the CPU.

On a GPU, the clock's seconds between two synchronisations (of ours in one tile and transformers those of the network
alone, with pixels in the device's memory), the device's memory, and the share of its bandwidth (of the same run) that
moving what must be moved takes (`moved_bytes`):

    python benchmarks/speed.py --device cuda --precision bfloat16 --sizes 1024,2048 --large-sizes 1024,2048
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from speed_methods import METHODS, Pixels, Way, make_weights, method, picture, resident, theirs_module

NETWORKS = {"lightweight x2, 60 channels": 2, "classical x4, 180 channels": 4}


def child(name: str, folder: str, scale: int, side: int, out: str, way: Way) -> None:
    """One measured run, after one on a small image; printed as JSON."""
    import torch

    torch.set_num_threads(1)
    alone = None if way.device == "cpu" else resident(name, folder, way)
    if alone is not None:
        figures, result = on_gpu(alone, side, way)
    else:
        run = method(name, folder, scale, way)
        run(picture(64))
        before = way.peak_mib()
        image = picture(side)
        began = way.clock()
        result = run(image)
        figures = {"seconds": way.clock() - began, "memory_mib": way.peak_mib() - before}
    np.save(out, result)
    print(json.dumps(figures))


def on_gpu(run: Callable[[Any], Any], side: int, way: Way) -> tuple[dict[str, float], Pixels]:
    """The mean of ten runs that follow each other, after those that compile and record."""
    import torch

    image = torch.from_numpy(picture(side))[None].to(way.device)
    before = torch.cuda.memory_allocated() / 2**20
    for _ in range(3):
        run(image)
    began = way.clock()
    for _ in range(10):
        result = run(image)
    seconds = (way.clock() - began) / 10
    return {"seconds": seconds, "memory_mib": way.peak_mib() - before}, result[0].cpu().numpy()


def matrix_rate(way: Way) -> float:
    """GFLOP/s of matrix products on one thread or the device, the best of several."""
    import torch

    torch.set_num_threads(1)
    side = 2048 if way.device == "cpu" else 8192
    a = torch.rand(side, side, device=way.device, dtype=getattr(torch, way.precision))
    best = 0.0
    for _ in range(6):
        began = way.clock()
        a @ a
        best = max(best, 2 * side**3 / (way.clock() - began) / 1e9)
    return best


def flops(folder: str) -> float:
    """Per input pixel, of matrix products, attention and convolutions alone."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    net = theirs_module().Swin2SRForImageSuperResolution.from_pretrained(folder, attn_implementation="eager").eval()
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        net(torch.zeros(1, 3, 64, 64))
    return float(counter.get_total_flops()) / 64**2


def moved_bytes(folder: str, way: Way) -> int:
    """Per input pixel, what goes through memory at least.

    Every step of ours reads its plane of features and writes it once; a stage's beginning is copied, and added at its
    end. Planes are as precise as the stages, but for the features that a head gets, in float32.
    """
    from swin2sr_ops.geometry.steps import network_steps
    from swin2sr_ops.hooks.dispatch import resolve_model

    spec = resolve_model(folder)
    first, plane = 4 * spec.dim, (2 if way.precision == "bfloat16" else 4) * spec.dim
    kinds = {
        "embed": plane,
        "window": 2 * plane,
        "merge": 5 * plane,
        "tail": plane + first,
        "head": first,
    }
    return 4 * spec.channels * (1 + spec.scale**2) + sum(kinds[step.kind] for step in network_steps(spec))


def bandwidth(way: Way) -> float:
    """GB/s of a large copy, read and written, the best of several."""
    import torch

    a = torch.rand(2**28, device=way.device)
    b = torch.empty_like(a)
    best = 0.0
    for _ in range(6):
        began = way.clock()
        b.copy_(a)
        best = max(best, 2 * a.nbytes / (way.clock() - began) / 1e9)
    return best


def measured(name: str, folder: str, scale: int, side: int, out: str, way: Way) -> dict[str, float]:
    """`child`, in a process of its own."""
    threads = {k: "1" for k in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    words = ["--child", name, "--folder", folder, "--scale", str(scale), "--sizes", str(side), "--out", out]
    words += ["--device", way.device, "--precision", way.precision]
    done = subprocess.run(
        [sys.executable, __file__, *words], env=os.environ | threads, capture_output=True, encoding="utf-8", check=True
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def compare(folder: str, scale: int, side: int, repeats: int, names: list[str], way: Way) -> list[dict[str, Any]]:
    """A row for each method."""
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as kept:
        files = {name: f"{kept}/{i}.npy" for i, name in enumerate(names)}
        for _ in range(repeats):
            for name in names:
                runs[name].append(measured(name, folder, scale, side, files[name], way))
        if way != Way():
            measured("transformers", folder, scale, side, f"{kept}/whole.npy", Way())
        whole = np.load(files["transformers"] if way == Way() else f"{kept}/whole.npy")
        errors = {name: float(np.abs(np.load(file) - whole).max()) for name, file in files.items()}
    seconds = {name: statistics.median(r["seconds"] for r in rows) for name, rows in runs.items()}
    return [
        {
            "method": name, "seconds": seconds[name], "kpx_s": side * side / seconds[name] / 1e3,
            "ratio": seconds["transformers"] / seconds[name],
            "memory_mib": statistics.median(r["memory_mib"] for r in runs[name]), "error": errors[name],
        }
        for name in names
    ]  # fmt: skip


def printed(title: str, rows: list[dict[str, Any]], per_pixel: float, rate: float) -> None:
    """Print the table of one case."""
    print(f"\n{title}; {per_pixel / 1e6:.2f} MFLOP per input pixel; matrix rate {rate:.0f} GFLOP/s\n")
    print("| method | CPU s | kpx/s | times transformers | of the matrix rate | memory, MiB | largest difference |")
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        row["share"] = row["kpx_s"] * 1e3 * per_pixel / (rate * 1e9)
        print(
            f"| {row['method']} | {row['seconds']:.2f} | {row['kpx_s']:.1f} | {row['ratio']:.2f} | {row['share']:.0%} "
            f"| {row['memory_mib']:.0f} | {row['error']:.1e} |",
            flush=True,
        )


def print_moved(rows: list[dict[str, Any]], per_pixel: int, rate: float) -> None:
    """Print our share of the memory bandwidth."""
    print(f"\n{per_pixel} bytes per input pixel must be moved; bandwidth {rate:.0f} GB/s\n")
    print("| method | of the bandwidth |\n|---|---|")
    for row in rows:
        if row["method"].startswith("ours"):
            row["bandwidth_share"] = row["kpx_s"] * 1e3 * per_pixel / (rate * 1e9)
            print(f"| {row['method']} | {row['bandwidth_share']:.0%} |", flush=True)


def machine() -> dict[str, Any]:
    """Describe the machine and its libraries."""
    from importlib.metadata import PackageNotFoundError, version

    cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
    cpu = next((line.split(":")[1].strip() for line in cpuinfo.splitlines() if "model name" in line), "unknown")
    versions = {}
    for name in ("torch", "transformers", "openvino", "monai", "swin2sr-ops"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    wide = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in cpuinfo]
    return {
        "cpu": cpu, "cores": os.cpu_count(), "flags": wide, "python": platform.python_version(), **versions,
    }  # fmt: skip


def main() -> None:
    """Measure all methods in turns, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", help="lightweight x2 weights, a Hugging Face folder (default: random)")
    parser.add_argument("--sizes", default="256,512", help="sides of the square images")
    parser.add_argument("--large-sizes", default="256", help="the same for the 180-channel network")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--methods", default=";".join(METHODS), help="separated by semicolons")
    parser.add_argument("--json", type=Path, help="write all figures here")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1")
    parser.add_argument("--precision", default="float32", help="float32 or bfloat16")
    for hidden in ("--child", "--folder", "--out"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    parser.add_argument("--scale", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    way = Way(args.device, args.precision)
    if args.child:
        child(args.child, args.folder, args.scale, int(args.sizes), args.out, way)
        return
    from importlib.util import find_spec

    needed = {"MONAI": "monai", "ours, OpenVINO": "openvino"}
    names = [n for n in args.methods.split(";") if n not in needed or find_spec(needed[n])]
    elsewhere = ("ours, no graphs", "transformers, compiled") if way.device == "cpu" else ("ours, OpenVINO",)
    names = [n for n in names if n not in elsewhere]
    found: dict[str, Any] = {"machine": machine(), "date": time.strftime("%Y-%m-%d"), "tables": []}
    print(json.dumps(found["machine"]))
    with tempfile.TemporaryDirectory() as kept:
        for network, scale in NETWORKS.items():
            folder = args.weights if scale == 2 and args.weights else f"{kept}/{scale}"
            if folder != args.weights:
                make_weights(Path(folder), scale)
            per_pixel = flops(folder)
            for side in map(int, (args.sizes if scale == 2 else args.large_sizes).split(",")):
                rate = matrix_rate(way)
                rows = compare(folder, scale, side, args.repeats, names, way)
                printed(f"{network}, {side} x {side} px", rows, per_pixel, rate)
                if way.device != "cpu":
                    print_moved(rows, moved_bytes(folder, way), bandwidth(way))
                found["tables"].append({"network": network, "side": side, "matrix_gflops": rate, "rows": rows})
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
