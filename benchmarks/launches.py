"""Count the kernel launches and the memory of one tile on a GPU, without a GPU.

    python benchmarks/launches.py --sides 1024

Networks with random weights, stages in bfloat16. Our own kernels are counted and not run, so no result is right; what
torch computes (on the CPU, in groups of cells as on a GPU) counts as a launch for each operation that is no view.
Memory is the most that torch has allocated at a time beside the weights, the tile's pixels included.
"""

from __future__ import annotations

import argparse
from collections import Counter
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode

from swin2sr_ops.engine.tile_engine import TileEngine
from swin2sr_ops.engine.triton import kernels as fused_kernels
from swin2sr_ops.geometry.plan import TilePlan
from swin2sr_ops.geometry.steps import GROUP_CELLS
from swin2sr_ops.nets.network import SwinNet
from swin2sr_ops.spec import ModelSpec

DIRECT: dict[str, Any] = {"upsampler": "pixelshuffledirect", "scale": 2, "channels": 3}
NETWORKS: dict[str, dict[str, Any]] = {
    "tiny x2, 48 channels": {"dim": 48, "depths": (4, 4), "heads": (3, 3)} | DIRECT,
    "lightweight x2, 60 channels": {"dim": 60, "depths": (6,) * 4, "heads": (6,) * 4} | DIRECT,
    "classical x4, 180 channels": {
        "dim": 180, "depths": (6,) * 6, "heads": (6,) * 6, "upsampler": "pixelshuffle", "scale": 4, "channels": 3,
    },
}  # fmt: skip


class Counted:
    """One of our kernels, counted instead of launched."""

    def __init__(self, counts: Counter[str]) -> None:
        self.counts = counts

    def __getitem__(self, grid: tuple[int, ...]) -> Any:
        return self.launch

    def launch(self, *args: Any, **given: Any) -> None:
        """Count a launch of our kernels."""
        self.counts["ours"] += 1


class Operations(TorchDispatchMode):
    """Counts torch's, but for those that give another look at the same memory, or memory alone."""

    def __init__(self, counts: Counter[str]) -> None:
        super().__init__()
        self.counts = counts

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = function(*args, **(kwargs or {}))
        memory = {x.untyped_storage().data_ptr() for x in args if isinstance(x, torch.Tensor)}
        in_place = function.overloadpacket.__name__.endswith("_")
        same = isinstance(found, torch.Tensor) and found.untyped_storage().data_ptr() in memory
        if (in_place or not same) and not function.overloadpacket.__name__.startswith(("empty", "new_empty")):
            self.counts["torch"] += 1
        return found


def peak(events: Any) -> int:
    """Bytes."""
    now = most = 0
    for event in sorted((e for e in events if e.name() == "[memory]"), key=lambda e: e.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    return most


def main() -> None:
    """Count launches and memory, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sides", default="1024", help="of the square tiles, in pixels, separated by commas")
    args = parser.parse_args()
    counts: Counter[str] = Counter()
    for name in (name for name in fused_kernels.__all__ if name.endswith("_kernel")):
        setattr(fused_kernels, name, Counted(counts))
    print("| network | tile, px | launches of our kernels | of torch's | KB per input pixel |\n|---|---|---|---|---|")
    for name, kind in NETWORKS.items():
        engine = TileEngine(
            SwinNet(ModelSpec(name=name, **kind)).eval(), half=True, kernels="triton", group=GROUP_CELLS
        )
        for side in map(int, args.sides.split(",")):
            counts.clear()
            (tile,) = TilePlan(engine.spec, side, side, (side, side))
            image = torch.rand(3, side, side)
            with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found, Operations(counts):
                engine.run(image, tile)
            kept = peak(found.profiler.kineto_results.events()) / side**2 + 12
            print(f"| {name} | {side} | {counts['ours']} | {counts['torch']} | {kept / 1e3:.2f} |", flush=True)


if __name__ == "__main__":
    main()
