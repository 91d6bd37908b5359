"""How long does a command take from the shell, and how much memory? CPU time of whole processes.

    python benchmarks/startup.py [--repeats 9] [--against FOLDER]

Each command runs in a process of its own, after one run that does not count: compiled Python files and kernels exist
then. The output is removed before each run. ``--against`` is a checkout of another commit, whose runs take turns with
these, so that other work on the machine slows both.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[1]
COMMANDS = (
    "--version",
    "--help",
    "models",
    "restore sample:cells cells.ome.zarr --model nano-x2-gray",
    "restore sample:cells cells.tif --model nano-x2-gray",
    "restore sample:cells cells.ome.zarr --model tiny-x2-gray",
)


def measured(root: Path, command: str, place: Path) -> tuple[float, float]:
    """Return a process's CPU seconds and its highest memory in MiB."""
    for made in place.glob("cells*"):
        shutil.rmtree(made) if made.is_dir() else made.unlink()
    paths = [str(root), str(root / "plugins"), str(root / "napari_plugin")]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment |= {"PYTHONPATH": os.pathsep.join(paths), "PYTHONPYCACHEPREFIX": str(place / "compiled")}
    words = [sys.executable, "-m", "swin2sr_ops", *command.split()]
    with (place / "log").open("wb") as log:
        process = subprocess.Popen(words, cwd=place, env=environment, stdout=log, stderr=log)
        _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit((place / "log").read_text(encoding="utf-8"))
    kilo = 1024 if sys.platform == "darwin" else 1
    return used.ru_utime + used.ru_stime, used.ru_maxrss / kilo / 1024


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--against", type=Path)
    args = parser.parse_args()
    roots = [*([args.against.resolve()] if args.against else []), ROOT]
    names = [" before", " now"] if args.against else [""]
    print("| command |", " | ".join(f"CPU s{name} | MiB{name}" for name in names), "|")
    print("|---" * (1 + 2 * len(roots)) + "|")
    with TemporaryDirectory() as place:
        for command in COMMANDS:
            runs = [[measured(root, command, Path(place)) for root in roots] for _ in range(1 + args.repeats)][1:]
            cells = []
            for i in range(len(roots)):
                seconds, memory = zip(*(run[i] for run in runs), strict=True)
                cells.append(f"{median(seconds):.2f} | {median(memory):.0f}")
            print(f"| `{command}` |", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    main()
