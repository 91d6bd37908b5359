"""Torch is loaded without holding on to what is open."""

from __future__ import annotations

import subprocess
import sys

import pytest

_CODE = """
import gc
from swin2sr_ops import hosting
hosting.needs_torch = lambda: True
from swin2sr_ops_napari.warm import load_torch
before = gc.get_freeze_count()
load_torch()
import sys
assert "torch" in sys.modules
assert gc.get_freeze_count() == before
"""


def test_open_layers_can_be_freed() -> None:
    """What is frozen when torch is loaded is never collected: the layers that are open then are in cycles."""
    pytest.importorskip("torch")
    done = subprocess.run([sys.executable, "-c", _CODE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
