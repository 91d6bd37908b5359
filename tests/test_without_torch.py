"""What works without torch: everything that computes no network. Runs without this suite's conftest, too."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

#: Hide torch where it is installed.
WITHOUT = "import sys; sys.modules['torch'] = None; from swin2sr_ops.cli import main; sys.exit(main())"


def run(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WITHOUT, *words], cwd=folder, capture_output=True, text=True, check=False
    )  # fmt: skip


@pytest.mark.parametrize(
    "command",
    [
        "--help", "--version", "restore --help", "models", "models tiny-x2-gray --json", "info sample:cells",
        "info sample:photo --json", "plugins --json", "train --recipe-of", "train --recipe-of tiny-x2-gray",
    ],
)  # fmt: skip
def test_commands(command: str, tmp_path: Path) -> None:
    done = run(*command.split(), folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_what_needs_it_says_so(tmp_path: Path) -> None:
    done = run("restore", "sample:cells", "out.ome.zarr", "--engine", "torch", folder=tmp_path)
    assert done.returncode == 2
    assert "torch" in done.stderr
    assert "Traceback" not in done.stderr
