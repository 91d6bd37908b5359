"""Do all builds of the kernels give the same bits? The hash of one restored image for each shipped model.

    python benchmarks/bits.py [--also "LABEL=COMMAND"]... [--wine /usr/lib/wine/wine64] [--models NAME,...]

Compilers that are installed, each at 16, 8 and 4 lanes, restore a fixed image with every shipped model: whole networks
through the engine. ``--also`` runs the same in another Python, such as one for ARM in an emulator, which has this
package with the kernels of its wheel (``--child`` prints the hashes there). ``--wine`` builds the kernels for Windows
and repeats there each call that a network makes; all of them must give the same numbers.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

ROOT = Path(__file__).parents[1]
SHAPE = 27, 37  # windows that are cut by the border on both sides
LANES = {16: "", 8: "-mno-avx512f", 4: "-DLANES=4"}


def picture(channels: int) -> np.ndarray:
    """Numbers in 0..1 without a pattern, from integers alone."""
    index = np.arange(channels * SHAPE[0] * SHAPE[1], dtype=np.uint64)
    mixed = index * np.uint64(2654435761) % np.uint64(1 << 32) * np.uint64(40503) % np.uint64(1 << 16)
    return (mixed.astype(np.float32) / np.float32(65536)).reshape(channels, *SHAPE)


def digests(names: list[str]) -> dict[str, str]:
    """Return the hash of what each shipped model makes of `picture`; without names, of all models."""
    from swin2sr_ops.engine.native.engine import NativeEngine
    from swin2sr_ops.geometry.plan import TilePlan
    from swin2sr_ops.weights.catalogue import shipped
    from swin2sr_ops.weights.loader import load_parameters

    found = {}
    for spec in shipped():
        if names and spec.name not in names:
            continue
        (tile,) = TilePlan(spec, *SHAPE, SHAPE)
        padded = picture(spec.channels)[:, tile.y.padding][:, :, tile.x.padding]
        result = NativeEngine(spec, load_parameters(spec)).run(padded, tile, threads=1)
        found[spec.name] = hashlib.sha256(result.tobytes()).hexdigest()[:16]
    return found


def compilers() -> dict[str, str]:
    """Return the C compilers of this machine, as ``CC`` names them."""
    names = ("gcc", "clang", *(f"clang-{n}" for n in range(25, 13, -1)))
    found = {name: name for name in names if shutil.which(name)}
    found = dict(list(found.items())[:2])
    try:
        import ziglang  # noqa: F401
    except ModuleNotFoundError:
        return found
    return found | {"zig": f"{sys.executable} -m ziglang cc"}


def asked(command: str, names: str, **environment: str) -> dict[str, str]:
    """Run ``--child`` in another process."""
    words = [*shlex.split(command), __file__, "--child", "--models", names]
    done = subprocess.run(words, env=os.environ | environment, capture_output=True, encoding="utf-8", check=False)
    if done.returncode:
        sys.exit(f"{command}: {done.stderr[-2000:]}")
    found: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return found


def under_wine(wine: str, names: list[str], expected: dict[str, str]) -> dict[str, str]:
    """Repeat all calls of each network in Windows' build; ``expected`` where all of them gave the same numbers."""
    import pytest

    sys.path.insert(0, str(ROOT))
    from swin2sr_ops.engine.native.recipe import FLAGS
    from tests.engine.native.recorded import SOURCES, Recorder

    found = {}
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        program, prefix = Path(folder, "calls.exe"), {"WINEPREFIX": f"{folder}/wine", "WINEDEBUG": "-all"}
        target = ["-target", "x86_64-windows-gnu", "-mcpu=x86_64_v3"]
        zig = [sys.executable, "-m", "ziglang", "cc"]
        subprocess.run([*zig, *target, *FLAGS, *map(str, SOURCES), "-o", str(program)], check=True)
        recorder = Recorder(patch)
        for name, digest in expected.items():
            recorder.stream.clear()
            digests([name])
            recorder.words(0)
            done = subprocess.run(
                [wine, str(program)],
                input=bytes(recorder.stream),
                env=os.environ | prefix,
                capture_output=True,
                check=True,
            )
            *counts, differ = map(int, done.stdout.split())
            found[name] = digest if sum(counts) and not differ else f"{differ} numbers differ"
    return found


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--also", action="append", default=[], metavar="LABEL=COMMAND")
    parser.add_argument("--wine", help="the program")
    parser.add_argument("--models", default="", help="by name, with commas; all that are shipped by default")
    parser.add_argument("--child", action="store_true", help="print the hashes of this Python's build")
    args = parser.parse_args()
    names = [name for name in args.models.split(",") if name]
    if args.child:
        print(json.dumps(digests(names)))
        return
    builds: dict[str, dict[str, str]] = {}
    for name, command in compilers().items():
        for lanes, flag in LANES.items() if platform.machine() == "x86_64" else ((4, ""),):
            label = f"{name}, {lanes} lanes"
            builds[label] = asked(sys.executable, args.models, CC=f"{command} {flag}")
    for text in args.also:
        label, _, command = text.partition("=")
        builds[label] = asked(command, args.models)
    expected = next(iter(builds.values()))
    if args.wine:
        builds["Windows, zig, 8 lanes, under Wine"] = under_wine(args.wine, names, expected)
    print_table(builds)
    sys.exit(any(found != expected for found in builds.values()))


def print_table(builds: dict[str, dict[str, str]]) -> None:
    """Print the first build's hashes; for the others, where they are the same and where not."""
    expected = next(iter(builds.values()))
    print("| model | SHA-256 of the restored image |")
    print("|---|---|")
    for name, digest in expected.items():
        print(f"| `{name}` | `{digest}` |")
    print("\n| build | models | the same bits |")
    print("|---|---|---|")
    for label, found in builds.items():
        other = [name for name in expected if found.get(name) != expected[name]]
        print(f"| {label} | {len(found)} | {'all' if not other else 'all but ' + ', '.join(other)} |")


if __name__ == "__main__":
    main()
