"""How fast the network runs, beside other implementations: same weights, same image, one run, one thread.

    python benchmarks/speed.py --weights ../shared/weights/swin2sr-lightweight-x2-64 --sizes 256,512 --repeats 3

Networks: the lightweight x2 one (60 channels; ``--weights``, else random weights) and the classical x4 one (180
channels, random weights). Methods: ours in one tile (on a CPU our kernels in C, compiled before; on a GPU Triton's),
the same with torch's kernels and with OpenVINO's, and in tiles of 128 px; transformers on the whole image; around
transformers' network the official loop (tile 256, overlap 32, averaged), ``dask.array.map_overlap`` (chunks of 128 px,
depth 16) and, where it is installed, MONAI's sliding window (256 px, overlap 0.25, Gaussian).

Each method runs in a process of its own, on one thread; rounds are interleaved. Reported: median CPU seconds, thousand
input pixels per second of CPU time, ratio to transformers, share of the matrix rate measured in the same run, what
memory grew by at its peak, and the largest difference from transformers on the whole image, in float32 on the CPU.

On a GPU, the clock's seconds between two synchronisations, the device's memory, and the share of its bandwidth (of the
same run) that moving what must be moved takes (`moved_bytes`):

    python benchmarks/speed.py --device cuda --precision bfloat16 --sizes 1024,2048 --large-sizes 1024,2048
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.float32]


@dataclass(frozen=True)
class Way:
    """Where and how precisely everything runs."""

    device: str = "cpu"
    precision: str = "float32"

    def clock(self) -> float:
        """CPU seconds; on a GPU the clock's, when it has done what it was given."""
        if self.device == "cpu":
            return time.process_time()
        import torch

        torch.cuda.synchronize()
        return time.perf_counter()

    def peak_mib(self) -> float:
        """The most memory so far: of the process, or of the device."""
        if self.device == "cpu":
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        import torch

        return torch.cuda.max_memory_allocated() / 2**20


KEPT: list[Any] = []  # operators live as long as their library
METHODS = (
    "ours",
    "ours, torch",
    "ours, OpenVINO",
    "ours, tiles of 128",
    "transformers",
    "official loop",
    "map_overlap",
    "MONAI",
)
NETWORKS = {"lightweight x2, 60 channels": 2, "classical x4, 180 channels": 4}


def theirs_module() -> Any:
    """``transformers``, which imports torchvision: a build for another torch fails there, and nothing of it is used."""
    import torch

    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError):  # operator torchvision::nms does not exist
        for name in ("nms", "qnms"):
            KEPT.append(torch.library.Library("torchvision", "FRAGMENT"))
            KEPT[-1].define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
    import transformers

    return transformers


def make_weights(folder: Path, scale: int) -> None:
    """A random network in the Hugging Face layout, which both sides read."""
    import torch

    torch.manual_seed(0)
    transformers = theirs_module()
    small = scale == 2
    config = transformers.Swin2SRConfig(
        image_size=64, embed_dim=60 if small else 180, depths=[6] * (4 if small else 6),
        num_heads=[6] * (4 if small else 6), window_size=8, mlp_ratio=2.0, upscale=scale,
        upsampler="pixelshuffledirect" if small else "pixelshuffle", resi_connection="1conv", img_range=1.0,
    )  # fmt: skip
    transformers.Swin2SRForImageSuperResolution(config).save_pretrained(folder)


def picture(side: int) -> Pixels:
    """``(3, side, side)`` in 0..1, with detail at every size."""
    rng = np.random.default_rng(0)
    image = np.zeros((3, side, side))
    for step in (1, 4, 16, 64):
        coarse = rng.random((3, -(-side // step), -(-side // step)))
        image += np.repeat(np.repeat(coarse, step, 1), step, 2)[:, :side, :side] / 4
    return image.astype(np.float32)


def ours(folder: str, tile: int | None, engine: str, way: Way) -> Callable[[Pixels], Pixels]:
    import dask

    import swin2sr_ops

    def run(image: Pixels) -> Pixels:
        size = tile or max(image.shape)
        lazy = swin2sr_ops.restore(
            image, model=folder, axes="SYX", range=(0, 1), tile=size, engine=engine, device=way.device,
            precision=way.precision,
        )  # fmt: skip
        with dask.config.set(scheduler="synchronous"):
            return np.asarray(lazy.compute())

    return run


def theirs(folder: str, way: Way) -> Callable[[Any], Any]:
    import torch

    kind = getattr(torch, way.precision)
    net = theirs_module().Swin2SRForImageSuperResolution.from_pretrained(folder).eval().to(way.device, kind)

    @torch.inference_mode()
    def run(x: Any) -> Any:
        return net(x.to(way.device, kind)).reconstruction.float().cpu()

    return run


def official_loop(net: Callable[[Any], Any], x: Any, scale: int) -> Any:
    """Overlapping tiles, summed and divided by how many there were."""
    import torch

    height, width = x.shape[-2:]
    tile, overlap = min(256, height, width), 32
    total = torch.zeros(1, 3, height * scale, width * scale)
    count = torch.zeros_like(total)
    starts = [[*range(0, n - tile, tile - overlap), n - tile] for n in (height, width)]
    for top in starts[0]:
        for left in starts[1]:
            part = net(x[..., top : top + tile, left : left + tile])
            where = (..., slice(top * scale, (top + tile) * scale), slice(left * scale, (left + tile) * scale))
            total[where] += part
            count[where] += 1
    return total / count


def naive_overlap(net: Callable[[Any], Any], x: Pixels, scale: int) -> Pixels:
    """As scripts do it: overlap, map, trim, in units that change on the way."""
    import dask
    import dask.array as da
    import torch

    depth = {0: 0, 1: 16, 2: 16}
    spread = da.overlap.overlap(da.from_array(x, chunks=(3, 128, 128)), depth=depth, boundary="none")
    chunks = (spread.chunks[0], *(tuple(n * scale for n in c) for c in spread.chunks[1:]))
    done = spread.map_blocks(lambda b: net(torch.from_numpy(b)[None])[0].numpy(), dtype="f4", chunks=chunks)
    wide = {axis: n * scale for axis, n in depth.items()}
    with dask.config.set(scheduler="synchronous"):
        return np.asarray(da.overlap.trim_internal(done, wide, boundary="none").compute())


def method(name: str, folder: str, scale: int, way: Way) -> Callable[[Pixels], Pixels]:
    """The function that restores an image by ``name``."""
    import torch

    if name.startswith("ours"):
        engine = next((e for e in ("openvino", "torch") if e in name.lower()), "auto")
        return ours(folder, 128 if "128" in name else None, engine, way)
    net = theirs(folder, way)
    if name == "map_overlap":
        return lambda image: naive_overlap(net, image, scale)
    if name == "official loop":
        return lambda image: official_loop(net, torch.from_numpy(image)[None], scale)[0].numpy()
    if name == "MONAI":
        from monai.inferers import sliding_window_inference

        @torch.inference_mode()
        def run(image: Pixels) -> Pixels:
            x = torch.from_numpy(image)[None]
            return sliding_window_inference(x, (256, 256), 1, net, overlap=0.25, mode="gaussian")[0].numpy()

        return run
    return lambda image: net(torch.from_numpy(image)[None])[0].numpy()


def child(name: str, folder: str, scale: int, side: int, out: str, way: Way) -> None:
    """One measured run, after one on a small image; told as JSON."""
    import torch

    torch.set_num_threads(1)
    run = method(name, folder, scale, way)
    run(picture(64))
    before = way.peak_mib()
    image = picture(side)
    began = way.clock()
    result = run(image)
    seconds = way.clock() - began
    np.save(out, result)
    grown = way.peak_mib() - before
    print(json.dumps({"seconds": seconds, "memory_mib": grown}))


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
    end. Planes are as precise as the stages, but for the first features, which bypass them in float32.
    """
    from swin2sr_ops.layers import network_steps
    from swin2sr_ops.plugins import resolve_model

    spec = resolve_model(folder)
    first, plane = 4 * spec.dim, (2 if way.precision == "bfloat16" else 4) * spec.dim
    kinds = {
        "embed": first + plane,
        "window": 2 * plane,
        "merge": 5 * plane,
        "tail": plane + 2 * first,
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
        [sys.executable, __file__, *words], env=os.environ | threads, capture_output=True, text=True, check=True
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
    """What ours takes of the bandwidth."""
    print(f"\n{per_pixel} bytes per input pixel must be moved; bandwidth {rate:.0f} GB/s\n")
    print("| method | of the bandwidth |\n|---|---|")
    for row in rows:
        if row["method"].startswith("ours"):
            row["bandwidth_share"] = row["kpx_s"] * 1e3 * per_pixel / (rate * 1e9)
            print(f"| {row['method']} | {row['bandwidth_share']:.0%} |", flush=True)


def machine() -> dict[str, Any]:
    from importlib.metadata import PackageNotFoundError, version

    told = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    cpu = next((line.split(":")[1].strip() for line in told.splitlines() if "model name" in line), "unknown")
    versions = {}
    for name in ("torch", "transformers", "openvino", "monai", "swin2sr-ops"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    wide = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in told]
    return {
        "cpu": cpu, "cores": os.cpu_count(), "flags": wide, "python": platform.python_version(), **versions,
    }  # fmt: skip


def main() -> None:
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
    if way.device != "cpu":
        names = [n for n in names if n != "ours, OpenVINO"]
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
        args.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
