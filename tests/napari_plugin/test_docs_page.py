"""The script of docs/napari.md runs as it stands, in a process of its own: it opens a window."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.napari_plugin.conftest import missing
from tests.test_docs import blocks

ROOT = Path(__file__).parents[2]


def test_the_script(tmp_path: Path) -> None:
    if missing():
        pytest.skip(missing())
    (block,) = (b for b in blocks("napari") if b.language == "python")
    path = os.pathsep.join(str(ROOT / part) for part in ("", "plugins", "napari_plugin"))
    path = os.pathsep.join([path, os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"NAPARI_CONFIG": str(tmp_path / "settings.yaml"), "PYTHONPATH": path}
    code = f"{block.text}\nviewer.close()\n"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (promised,) = re.findall(r"^print\(.*\)  # (.*)$", block.text, re.MULTILINE)
    assert promised in done.stdout.splitlines()


def test_a_run_that_takes_too_long_is_said(widget: Any, viewer: Any) -> None:
    from tests.napari_plugin.conftest import prepare, spots

    viewer.add_image(spots(1100, 1100, dtype="uint8"))
    prepare(widget)
    widget.restore()
    with pytest.raises(TimeoutError, match="has not ended within 0 s"):
        widget.wait(0)
    widget.cancel()
    widget.wait(60)
