"""Memory: the plan's estimate, and a 20,000 x 20,000 px TIFF in well under 3 GB."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from swin2sr_ops.spec import ModelSpec
from tests.conftest import NATIVE, write_model

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")

# The peak of this process, from here on: Linux resets it on request.
PEAK = """
def reset():
    open("/proc/self/clear_refs", "w").write("5")
def status(key):
    return next(int(l.split()[1]) * 1024 for l in open("/proc/self/status") if l.startswith(key))
"""

ENGINE = (
    PEAK
    + """
import json, sys, torch
torch.set_num_threads(1)
from swin2sr_ops.engine.row_cache import RowCache
from swin2sr_ops.engine.tile_engine import TileEngine
from swin2sr_ops.nets.network import SwinNet
from swin2sr_ops.geometry.plan import TilePlan
from swin2sr_ops.placement import Placement
from swin2sr_ops.spec import ModelSpec
spec = ModelSpec.from_dict(json.loads(sys.argv[1]))
size, tiles = int(sys.argv[2]), int(sys.argv[3])
if sys.argv[4] == "torch":
    engine = TileEngine(SwinNet(spec).eval())
else:
    from swin2sr_ops.engine.native.engine import NativeEngine
    engine = NativeEngine(spec, {k: v.numpy() for k, v in SwinNet(spec).state_dict().items()})
def go(n):
    plan = TilePlan(spec, tiles * n, n, (n, n), Placement(engine=sys.argv[4]), streamed=tiles > 1)
    row_cache = RowCache() if plan.streamed else None
    for tile in list(plan)[1:] or plan:  # as after a kill: nothing is above the first one
        x = torch.zeros(spec.channels, tile.y.read[1] - tile.y.read[0], tile.x.read[1] - tile.x.read[0])
        engine.run(x if sys.argv[4] == "torch" else x.numpy(), tile, row_cache)
    return plan
go(64)  # libraries load what they load
reset()
before = status("VmRSS")
plan = go(size)
print(json.dumps([status("VmHWM") - before, plan.peak_bytes]))
"""
)


def measure(script: str, *args: str) -> list[int]:
    done = subprocess.run([sys.executable, "-c", script, *args], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: list[int] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize(
    ("changes", "size", "tiles"),
    [
        ({"dim": 60, "depths": (1, 1), "heads": (6, 6), "upsampler": "pixelshuffledirect"}, 512, 1),
        ({"dim": 60, "depths": (4, 4), "heads": (6, 6), "upsampler": "pixelshuffledirect"}, 256, 4),
        ({"dim": 60, "depths": (1,), "heads": (6,), "upsampler": "pixelshuffle", "scale": 4}, 320, 1),
        ({"dim": 180, "depths": (1,), "heads": (6,), "upsampler": "", "scale": 1, "channels": 1}, 320, 1),
        ({"dim": 60, "depths": (1,), "heads": (6,), "upsampler": "nearest+conv", "scale": 4}, 320, 1),
    ],
)
def test_the_estimate_is_the_peak(changes: dict, size: int, tiles: int) -> None:
    """Tiles are sized by the estimate: too low would end in swap, too high waste the machine."""
    spec = ModelSpec(name="m", **changes)
    peak, estimate = measure(ENGINE, json.dumps(spec.to_dict()), str(size), str(tiles), "torch")
    assert 0.5 * estimate < peak < 1.1 * estimate, f"peak {peak / 2**20:.0f} MiB, estimate {estimate / 2**20:.0f} MiB"


@NATIVE
@pytest.mark.parametrize(
    ("changes", "size", "tiles"),
    [
        ({"dim": 60, "depths": (1, 1), "heads": (6, 6), "upsampler": "pixelshuffledirect"}, 512, 1),
        ({"dim": 60, "depths": (4, 4), "heads": (6, 6), "upsampler": "pixelshuffledirect"}, 256, 4),
        ({"dim": 60, "depths": (1,), "heads": (6,), "upsampler": "pixelshuffle", "scale": 4}, 320, 1),
        ({"dim": 60, "depths": (1,), "heads": (6,), "upsampler": "pixelshuffle", "scale": 8}, 256, 1),
        ({"dim": 180, "depths": (1,), "heads": (6,), "upsampler": "", "scale": 1, "channels": 1}, 320, 1),
        ({"dim": 60, "depths": (1,), "heads": (6,), "upsampler": "nearest+conv", "scale": 4}, 320, 1),
        ({"dim": 60, "depths": (1,), "heads": (6,), "upsampler": "pixelshuffle_hf", "scale": 4}, 256, 1),
    ],
)
def test_the_estimate_of_the_kernels_in_c_is_the_peak(changes: dict, size: int, tiles: int) -> None:
    spec = ModelSpec(name="m", **changes)
    peak, estimate = measure(ENGINE, json.dumps(spec.to_dict()), str(size), str(tiles), "native")
    assert 0.65 * estimate < peak < 1.1 * estimate, f"peak {peak / 2**20:.0f} MiB, estimate {estimate / 2**20:.0f} MiB"


RUN = (
    PEAK
    + """
import functools, itertools, json, sys, torch
torch.set_num_threads(1)
from swin2sr_ops.request import RestoreRequest
from swin2sr_ops.run import job, outputs, run
pieces = job.Job.pieces
# The real reader, planner, engine and writer, on the first tiles of the image.
job.Job.pieces = lambda self: itertools.islice(pieces(self), 2)
outputs.create_sink = functools.partial(outputs.create_sink, pyramid=False)
job.Job.count = 2
found = job.prepare(sys.argv[1], RestoreRequest(model=sys.argv[3], range="0,4095", halo=8))
assert len(found.plan) > 100, found.plan
run.run(found, sys.argv[2])
print(json.dumps([status("VmHWM")]))
"""
)


@pytest.mark.parametrize("layout", ["tiled", "strips", "contiguous"])
def test_a_large_tiff_stays_small(tmp_path: Path, layout: str) -> None:
    """400 megapixels of uint16 (0.8 GB, four times that after x2) are read and written region by region."""
    side = 20_000
    source = tmp_path / "large.tif"
    if layout == "contiguous":
        pixels = tifffile.memmap(source, shape=(side, side), dtype="u2", bigtiff=True)
        pixels[:100, :100] = 7
        pixels.flush()
        del pixels
    else:
        block = np.arange(256 * 256, dtype="u2").reshape(256, 256)
        tiles = (block for _ in range((-(-side // 256)) ** 2))
        shape = {"tile": (256, 256)} if layout == "tiled" else {"rowsperstrip": 32}
        data = tiles if layout == "tiled" else np.zeros((side, side), "u2")
        tifffile.imwrite(source, data, shape=(side, side), dtype="u2", compression="zstd", bigtiff=True, **shape)
    model = tmp_path / "m.safetensors"
    write_model(model, depths=(1,), heads=(1,), dim=8)
    (peak,) = measure(RUN, str(source), str(tmp_path / "o.zarr"), str(model))
    assert peak < 3 * 2**30, f"{peak / 2**30:.2f} GiB"
