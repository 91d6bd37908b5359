"""Every source and every sink of this repository is held to its contract."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import swin2sr_ops

ROOT = Path(swin2sr_ops.__file__).parents[1]
#: Each class that reads or writes a format, and the test file with its contract.
HELD = {
    "BioioSource": "tests/plugins/test_bioio.py",
    "GeoSource": "tests/io/geo/test_source.py",
    "PictureSource": "tests/io/test_picture.py",
    "TiffSource": "tests/io/tiff/test_source.py",
    "ZarrSource": "tests/io/zarr/test_source.py",
    "NpySource": "tests/test_plugin_guide.py",
    "CogSink": "tests/io/geo/test_cog.py",
    "PngSink": "tests/io/test_picture.py",
    "TiffSink": "tests/io/tiff/test_sink.py",
    "ZarrSink": "tests/io/zarr/test_sink.py",
    "NpySink": "tests/test_plugin_guide.py",
}
#: Arrays in the memory of one process: no path, no worker, and no file that a contract could look at.
IN_MEMORY = {"ArraySource", "MemorySink", "View"}
#: Parts of a source.
PARTS = {"Strips"}


def classes(path: Path) -> Iterator[tuple[str, set[str], dict[str, list[str]]]]:
    """Iterate over the classes of a file: name, bases, parameters of each method."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ClassDef):
            bases = {base.id for base in node.bases if isinstance(base, ast.Name)}
            methods = [item for item in node.body if isinstance(item, ast.FunctionDef)]
            yield node.name, bases, {item.name: [arg.arg for arg in item.args.args] for item in methods}


def formats() -> set[str]:
    """Return the names of all classes that are a source or a sink."""
    found = set()
    for folder in ("swin2sr_ops/io", "plugins", "napari_plugin", "docs/examples"):
        for path in (ROOT / folder).rglob("*.py"):
            for name, bases, methods in classes(path):
                source = methods.get("read") == ["self", "region"]
                sink = {"__setitem__", "finish", "abort"} <= {*methods} or "StagedFile" in bases
                if (source or sink) and not bases & {"Protocol", "ABC"}:
                    found.add(name)
    return found


def test_every_format_is_listed_here() -> None:
    assert formats() == {*HELD, *IN_MEMORY, *PARTS}


@pytest.mark.parametrize(("name", "path"), HELD.items())
def test_it_has_a_contract(name: str, path: str) -> None:
    contract = "SourceContract" if name.endswith("Source") else "SinkContract"
    assert any(contract in bases for _, bases, _ in classes(ROOT / path))
