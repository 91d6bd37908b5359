"""List the sources and flags of the kernels, for this package and for the hook that builds wheels.

The hook runs where this package's dependencies are not installed: nothing but the standard library is imported here.
"""

from __future__ import annotations

import hashlib
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

__all__ = ["FLAGS", "SOURCES", "SUMS", "TARGETS", "ZIG", "Target", "build_for_wheel", "this_system"]

#: What is built together: all that a tile needs, and what training needs, which takes longer and few want.
SOURCES = {"tiles": ("block.c", "stage.c", "conv.c"), "training": ("learn.c",)}
# No -ffast-math and no contraction: every pixel gets the same bits wherever it lies, whichever compiler built the
# kernels, and however wide the vectors are.
FLAGS = ("-O3", "-std=gnu11", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-fPIC")

#: The version that builds for wheels: another one writes other bytes, which give the same bits.
ZIG = "0.17.1"
#: Beside the libraries of a wheel: the SHA-256 of each, as ``sha256sum`` writes them.
SUMS = "SHA256SUMS"

_HERE = Path(__file__).parent
_COMMAND = (sys.executable, "-m", "ziglang", "cc")


class Target(NamedTuple):
    """A system for which there are wheels with kernels.

    Parameters
    ----------
    name : str
        As the compiler has it, with the oldest version that is served.
    tag : str
        The wheel's platform.
    suffix : str
        Of a library.
    levels : tuple of int
        Of x86-64 (3 has AVX2, 4 has AVX-512), best first; 0 where one library serves all processors.
    """

    name: str
    tag: str
    suffix: str
    levels: tuple[int, ...]

    def library(self, part: str, level: int) -> str:
        """Return the file's name of the library ``part`` for processors of ``level``; Python could import the name."""
        return f"{part}_v{level}{self.suffix}" if level else part + self.suffix


TARGETS = {
    "linux-x86_64": Target("x86_64-linux-gnu.2.17", "manylinux_2_17_x86_64", ".so", (4, 3)),
    "linux-aarch64": Target("aarch64-linux-gnu.2.17", "manylinux_2_17_aarch64", ".so", (0,)),
    "macos-x86_64": Target("x86_64-macos.11.0", "macosx_11_0_x86_64", ".dylib", (3,)),
    "macos-aarch64": Target("aarch64-macos.11.0", "macosx_11_0_arm64", ".dylib", (0,)),
    "windows-x86_64": Target("x86_64-windows-gnu", "win_amd64", ".dll", (4, 3)),
}


def this_system() -> str:
    """Return this system's name, one of `TARGETS` or another."""
    name = {"win32": "windows", "darwin": "macos"}.get(sys.platform, sys.platform)
    machine = platform.machine().lower()
    return name + "-" + {"amd64": "x86_64", "arm64": "aarch64"}.get(machine, machine)


def build_for_wheel(target: Target, folder: Path) -> list[Path]:
    """Build all libraries of ``target`` and their sums into ``folder``: the same bytes on every machine.

    Parameters
    ----------
    target : Target
        One of `TARGETS`.
    folder : Path
        Exists.

    Returns
    -------
    list of Path
        The files for the wheel.

    Raises
    ------
    subprocess.CalledProcessError
        If the compiler fails.
    """
    made = [_link(target, part, level, folder) for part in SOURCES for level in target.levels]
    sums = folder / SUMS
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in made]
    sums.write_text("".join(lines), encoding="utf-8", newline="\n")
    return [*made, sums]


def _link(target: Target, part: str, level: int, folder: Path) -> Path:
    """Build one library."""
    library = folder / target.library(part, level)
    # Paths and times must not get into the bytes: all names are relative to a folder, and symbols are stripped.
    named = {".dylib": [f"-Wl,-install_name,@rpath/{library.name}"], ".dll": ["-Wl,/Brepro"]}.get(target.suffix, [])
    with TemporaryDirectory() as work:
        objects = []
        for source in (*SOURCES[part], "runs.c"):
            # Only runs.c may run on an older processor than the library is for.
            flags = [f"-DLEVEL={level}"] if source == "runs.c" else [f"-mcpu=x86_64_v{level}"] if level else []
            objects.append(Path(source).with_suffix(".o").name)
            _zig([*FLAGS, *flags, "-c", str(_HERE / source), "-o", objects[-1]], target, work)
        _zig(["-shared", "-s", *named, *objects, "-o", library.name], target, work)
        library.write_bytes(Path(work, library.name).read_bytes())
    return library


def _zig(words: Sequence[str], target: Target, folder: str) -> None:
    subprocess.run([*_COMMAND, "-target", target.name, *words], cwd=folder, check=True)  # noqa: S603  (all fixed)


if __name__ == "__main__":  # for .ci/run: the compiler's version, and the systems
    sys.stdout.write(" ".join([ZIG, *TARGETS]) + "\n")
