"""Load the kernels: those of the wheel, else those that the machine's C compiler builds for this very processor.

Building takes some seconds, once; the library is kept in the user's cache folder under a name that follows from
sources, compiler, flags and the processor's features, see `kept`. The bits do not depend on the builder.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import re
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from swin2sr_ops.engine.native.compiler_run import TIMED_OUT, run_compiler
from swin2sr_ops.engine.native.kept import load_kept
from swin2sr_ops.engine.native.prebuilt import find_prebuilt
from swin2sr_ops.engine.native.recipe import FLAGS, SOURCES
from swin2sr_ops.errors import RequestError
from swin2sr_ops.weights.download import cache_folder

__all__ = ["REVISION", "Compiler", "find_compiler", "library", "origin"]

_log = logging.getLogger(__name__)

#: Version of the arithmetic. Raise it when results get other last bits (tests/engine/native/test_bits.py).
REVISION = 2

_HERE = Path(__file__).parent
_PROCESSOR = ("-march=native", "-mcpu=native")  # clang knows only the second on ARM
# Limits for a compiler to print its macros, and to build: a broken one may hang for ever.
_SECONDS_TO_ANSWER, _SECONDS_TO_BUILD = 10.0, 300.0
_NO_COMPILER = (
    "engine='native' needs a C compiler (gcc or clang), and {}: install one (all systems: pip install "
    "'swin2sr-ops[compiler]'; Debian, Ubuntu: apt install gcc; macOS: xcode-select --install), or give engine='torch'."
)


@dataclass(frozen=True)
class Compiler:
    """A C compiler, and its macros for this processor.

    Parameters
    ----------
    command : tuple of str
        With the flag for this processor.
    name : str
        Such as ``gcc 12.2.0``.
    macros : str
        All that it predefines; they show the processor's features.
    """

    command: tuple[str, ...]
    name: str
    macros: str

    @property
    def lanes(self) -> int:
        """Numbers in a vector, as ``products.h`` has it."""
        return 16 if "__AVX512F__ " in self.macros else 8 if "__AVX__ " in self.macros else 4

    def __str__(self) -> str:
        return f"{self.name}, {self.lanes} lanes"


@lru_cache(maxsize=1)
def find_compiler() -> Compiler:
    """Return ``CC``, cc, gcc, clang or the package ziglang, whichever is there and works; builds nothing.

    Raises
    ------
    RequestError
        If there is none, or the processor is too old for the kernels.
    """
    named, reason = _named_compiler(), "no cc, gcc, clang or ziglang that works was found"
    known = [["cc"], ["gcc"], ["clang"], _zig()]
    if named:
        known, reason = [named], f"CC={os.environ['CC']!r} is not a C compiler"
    elif sys.platform == "darwin" and run_compiler(["xcode-select", "-p"], _SECONDS_TO_ANSWER).returncode:
        # Without Apple's tools, cc is a program that opens a window in which to install them.
        known, reason = [_zig()], "Apple's command line tools are not installed"
    for words in filter(None, known):
        if shutil.which(words[0]) is None:
            continue
        for processor in _PROCESSOR:
            command = (*words, processor)
            done = run_compiler([*command, "-dM", "-E", "-x", "c", os.devnull], _SECONDS_TO_ANSWER)
            if done.returncode == 0:
                _check_processor(done.stdout)
                return Compiler(command, _name(done.stdout), done.stdout)
            if done.returncode == TIMED_OUT:
                break
    raise RequestError(_NO_COMPILER.format(reason))


def _zig() -> list[str]:
    """Return the words of the package ziglang's compiler; empty where it is not installed.

    Its program, not ``python -m``: inside QGIS, `sys.executable` is QGIS.
    """
    found = find_spec("ziglang")
    if found is None or not found.submodule_search_locations:
        return []
    return [str(Path(found.submodule_search_locations[0]) / ("zig.exe" if os.name == "nt" else "zig")), "cc"]


def _check_processor(macros: str) -> None:
    """Refuse x86 without fused multiply-adds: a function call for each would be slower than torch."""
    if ("__x86_64__ " in macros or "__i386__ " in macros) and "__FMA__ " not in macros:
        raise RequestError(
            "engine='native' needs a processor with AVX2 and FMA (Intel since 2013, AMD since 2015), and this one, or "
            "CC, has none: give engine='torch'."
        )


def _named_compiler() -> list[str]:
    """Return the words of ``CC``; empty where it is not set."""
    text = os.environ.get("CC", "")
    try:
        return shlex.split(text)
    except ValueError as exc:
        raise RequestError(_NO_COMPILER.format(f"CC={text!r} cannot be parsed ({exc})")) from exc


def _name(macros: str) -> str:
    if "__clang__ " in macros:
        numbers = [re.search(rf"__clang_{part}__ (\d+)", macros) for part in ("major", "minor", "patchlevel")]
        return "clang " + ".".join(n[1] for n in numbers if n)
    numbers = [re.search(rf"{part}__ (\d+)", macros) for part in ("__GNUC", "__GNUC_MINOR", "__GNUC_PATCHLEVEL")]
    return "gcc " + ".".join(n[1] for n in numbers if n)


def origin() -> str:
    """Say where the kernels come from, and build nothing: the wheel's library, or a compiler.

    Raises
    ------
    RequestError
        If there is neither.
    """
    found = find_prebuilt("tiles")
    return found.path.stem if found else str(find_compiler())


@lru_cache(maxsize=2)
def library(part: str = "tiles") -> ctypes.CDLL:
    """Return the kernels: the wheel's, or built if they never were.

    Parameters
    ----------
    part : str
        ``"tiles"`` or ``"training"``.

    Raises
    ------
    RequestError
        If there is no compiler, or it fails.
    """
    if (found := find_prebuilt(part)) is not None:
        return found.library
    compiler = find_compiler()
    sources = [_HERE / name for name in SOURCES[part]]
    texts = [path.read_text(encoding="utf-8") for path in (*sources, *sorted(_HERE.glob("*.h")))]
    known = "\n".join([*texts, *compiler.command, *FLAGS, compiler.macros])
    name = f"{part}-{hashlib.sha256(known.encode()).hexdigest()[:16]}"
    problems = []
    for folder in (cache_folder() / "native", Path(tempfile.gettempdir()) / f"swin2sr-ops-{_user()}"):
        try:
            return load_kept(folder, name, lambda target: _build(compiler, sources, target))
        except OSError as exc:  # not safe, read-only, full, or mounted without the right to run
            problems.append(str(exc))
    raise RequestError(
        f"engine='native' has nowhere to keep its kernels ({'; '.join(problems)}): set SWIN2SR_OPS_CACHE to a folder of"
        " your own that only you can write to and that programs can run from, or give engine='torch'."
    )


def _build(compiler: Compiler, sources: Sequence[Path], target: Path) -> None:
    """Compile ``sources`` into the library ``target``, whose folder is for this alone."""
    began = time.monotonic()
    objects = [str(target.with_name(source.stem + ".o")) for source in sources]
    steps = [
        [*compiler.command, *FLAGS, "-c", str(source), "-o", made]
        for source, made in zip(sources, objects, strict=True)
    ]
    with ThreadPoolExecutor() as pool:  # a source for each core
        done = list(pool.map(lambda words: run_compiler(words, _SECONDS_TO_BUILD), steps))
    if all(one.returncode == 0 for one in done):
        done.append(run_compiler([*compiler.command, "-shared", *objects, "-o", str(target)], _SECONDS_TO_BUILD))
    failed = next((one for one in done if one.returncode), None)
    if failed is not None or not target.is_file():
        said = (failed.stderr.strip().splitlines() if failed else []) or ["without a message"]
        raise RequestError(
            f"engine='native': {' '.join(compiler.command)} could not build the kernels ({said[0]}). Give another "
            "compiler in CC, or engine='torch'."
        )
    where = target.parent.parent
    _log.info("built kernels for this processor in %.1f s (%s), kept in %s", time.monotonic() - began, compiler, where)


def _user() -> int:
    return os.getuid() if hasattr(os, "getuid") else 0
