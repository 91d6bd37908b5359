"""What the tests of serving share."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _looks_are_cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look at a small file follows every read of pixels, however busy the machine is: so answers have a tag."""
    monkeypatch.setattr("swin2sr_ops.serve.source_guard._CHEAP", 100.0)
