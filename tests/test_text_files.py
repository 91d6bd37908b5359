"""Text is read and written as UTF-8 on every system: Windows has another default."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = [
    path
    for folder in ("swin2sr_ops", "plugins", "napari_plugin", "benchmarks")
    for path in sorted((ROOT / folder).rglob("*.py"))
]
#: How many positional arguments a call has when its last is the encoding.
_ENCODED = {"read_text": 1, "write_text": 2}
#: Owners of functions called ``open`` that open no text.
_NO_TEXT = ("Image", "ZipStore", "box", "os", "rasterio", "viewer", "webbrowser", "zarr")


def unnamed(tree: ast.Module) -> Iterator[int]:
    """Yield the lines that read or write text without naming its encoding."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        words = {word.arg: word.value for word in node.keywords}
        if "encoding" in words:
            continue
        if name in _ENCODED and len(node.args) < _ENCODED[name]:
            yield node.lineno
        if name in ("open", "fdopen") and "b" not in mode_of(node, words):
            yield node.lineno
        if any(isinstance(words.get(word), ast.Constant) for word in ("text", "universal_newlines")):
            yield node.lineno


def mode_of(node: ast.Call, words: dict[str | None, ast.expr]) -> str:
    """Return the mode of a call of `open`; ``b`` where it is another function of that name, which opens no text."""
    owner = node.func.value if isinstance(node.func, ast.Attribute) else None
    name = owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", "")
    if name in _NO_TEXT:
        return "b"
    if "mode" in words:
        return ast.unparse(words["mode"])
    place = 1 if owner is None or name in ("io", "gzip") else 0
    return ast.unparse(node.args[place]) if len(node.args) > place else "r"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_text_names_its_encoding(path: Path) -> None:
    found = list(unnamed(ast.parse(path.read_text(encoding="utf-8"))))
    assert not found, f"lines {found}: give encoding='utf-8'"


@pytest.mark.parametrize(
    "code", ["p.read_text()", "p.write_text('a')", "open(p)", "p.open('a')", "open(p, 'w')", "run(a, text=True)"]
)
def test_the_test_sees(code: str) -> None:
    assert list(unnamed(ast.parse(code))) == [1]
