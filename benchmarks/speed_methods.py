"""Define how each method of `speed` restores an image."""

from __future__ import annotations

import resource
import sys
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
    "ours, no graphs",
    "ours, tiles of 128",
    "transformers",
    "transformers, compiled",
    "official loop",
    "map_overlap",
    "MONAI",
)


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
    """Return a function that restores by this package."""
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
    """Return a function that restores by transformers."""
    net = theirs_on_device(folder, way)
    return lambda x: net(x.to(way.device)).cpu()


def theirs_on_device(folder: str, way: Way, *, compiled: bool = False) -> Callable[[Any], Any]:
    """Return a function that runs the network of transformers on tensors of the device."""
    import torch

    kind = getattr(torch, way.precision)
    net = theirs_module().Swin2SRForImageSuperResolution.from_pretrained(folder).eval().to(way.device, kind)
    if compiled:
        net = torch.compile(net)

    @torch.inference_mode()
    def run(x: Any) -> Any:
        return net(x.to(kind)).reconstruction.float()

    return run


def ours_on_device(folder: str, engine: str, way: Way) -> Callable[[Any], Any]:
    """Return a function that runs this package's network on tensors of the device."""
    from swin2sr_ops import Restorer
    from swin2sr_ops.geometry.plan import TilePlan

    network = Restorer(folder, engine=engine, device=way.device, precision=way.precision).network

    def run(x: Any) -> Any:
        sides = x.shape[-2:]
        (tile,) = TilePlan(network.spec, *sides, sides)
        return network.run(x[0][:, tile.y.padding][:, :, tile.x.padding], tile)[None]

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


def engine_of(name: str) -> str:
    """Return the engine of a method of ours, from its name."""
    if "no graphs" in name:  # CUDA's, that is
        from swin2sr_ops.engine.triton import graphs

        graphs.MOST = 0
    return next((engine for engine in ("openvino", "torch") if engine in name.lower()), "auto")


def resident(name: str, folder: str, way: Way) -> Callable[[Any], Any] | None:
    """The network alone, from and to the memory of a GPU ``(1, C, H, W)``; nothing for methods of other kinds."""
    if name.startswith("transformers"):
        return theirs_on_device(folder, way, compiled="compiled" in name)
    return ours_on_device(folder, engine_of(name), way) if name.startswith("ours") and "128" not in name else None


def method(name: str, folder: str, scale: int, way: Way) -> Callable[[Pixels], Pixels]:
    """The function that restores an image by ``name``."""
    import torch

    if name.startswith("ours"):
        return ours(folder, 128 if "128" in name else None, engine_of(name), way)
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
