"""One image restored by each shipped model has the recorded bits, whichever build of the kernels is used."""

from __future__ import annotations

import shutil
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

from tests.conftest import NATIVE

#: Of `build.REVISION` 2: `python benchmarks/bits.py`, whose table docs/engines.md has. A model that was trained anew
#: gets another hash; a new one is added.
RECORDED = {
    "nano-x2-gray": "9dc880d2a0518970",
    "nano-x2-rgb": "8aed41fe23c60e0a",
    "small-x1-camera": "31622a1a0061b090",
    "small-x1-gray": "3ad8bed76fd3f76c",
    "small-x1-rgb": "2a3a9eb0a5625a09",
    "small-x2-gray": "947f5f27af28cd45",
    "small-x2-rgb": "06d3acabc5708ab0",
    "small-x4-gray": "b045ebdca27993df",
    "small-x4-rgb": "acf37f89cb5da45c",
    "tiny-x1-gray": "999b0a11724bd68b",
    "tiny-x1-rgb": "3811946bcb87294c",
    "tiny-x2-gray": "89f21f96d1e94440",
    "tiny-x2-rgb": "428748392fbfbcf6",
    "tiny-x4-gray": "40b3b77df442b665",
    "tiny-x4-rgb": "d958e17ed23e9123",
}

pytestmark = NATIVE


@pytest.fixture(scope="module")
def bits() -> ModuleType:
    spec = spec_from_file_location("bits", Path(__file__).parents[3] / "benchmarks" / "bits.py")
    assert spec is not None
    assert spec.loader is not None
    found = module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def test_this_machines_build(bits: ModuleType) -> None:
    assert bits.digests([]) == RECORDED  # every shipped model is recorded


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc")
def test_another_width(bits: ModuleType) -> None:
    """Four lanes, as on ARM; `test_bits` has more builds, with small networks."""
    names = ["nano-x2-gray", "tiny-x4-rgb"]
    found = bits.asked(sys.executable, ",".join(names), CC="gcc -DLANES=4")
    assert found == {name: RECORDED[name] for name in names}


def test_a_table(bits: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    bits.print_table({"one": {"a": "1", "b": "2"}, "two": {"a": "1", "b": "3"}})
    assert "| two | 2 | all but b |" in capsys.readouterr().out
