"""Facts about the package that a machine can check: public names, import direction, import weight."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import swin2sr_ops
from tests.conftest import NATIVE

PACKAGE = Path(swin2sr_ops.__file__).parent

#: Imports go down only (or stay on a level). A name stands for the folder or module and all below it.
LEVELS = {
    "errors": 0, "calls": 0, "events": 0, "notebook": 0, "options": 0, "progress": 1,
    "spec": 1, "placement": 1, "geometry": 1,
    "pixels": 2, "nets": 2,
    "io": 3, "weights": 3, "request": 3,
    "hookspecs": 4, "hooks": 4,
    "engine": 5,
    "run": 6, "lazy": 6,
    "cluster": 7, "training": 7, "evaluate": 7, "export": 7, "audit": 7,
    "batch": 8, "api": 8, "advise": 8, "serve": 8,
    "__main__": 9, "cli": 9, "fractal_tasks": 9, "testing": 9, "hosting": 9, "": 9,
}  # fmt: skip


def modules() -> dict[str, ast.Module]:
    """Return the syntax tree of every module, by its dotted name without the package's."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text())
    return found


def exists(name: str) -> bool:
    """Tell whether ``name`` is a module or a folder of the package."""
    path = PACKAGE / name.replace(".", "/")
    return path.is_dir() or path.with_suffix(".py").exists()


def imported(tree: ast.Module, *, top_level_only: bool = False) -> set[str]:
    """List the modules of this package that ``tree`` imports, in any way that Python or a type checker sees."""
    names = set()
    for node in tree.body if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                continue  # inside a package of its own, such as the one that QGIS loads
            for alias in node.names:
                inside = f"{node.module}.{alias.name}"
                names.add(inside if exists(inside.removeprefix("swin2sr_ops").removeprefix(".")) else str(node.module))
                if inside == "swin2sr_ops.__version__":
                    names.discard("swin2sr_ops")
        elif isinstance(node, ast.Constant) and re.fullmatch(r"swin2sr_ops(\.\w+)+", str(node.value)):
            text = str(node.value)  # given to import_module
            names |= {text} if exists(text.split(".", 1)[1]) else set()
    return {name.removeprefix("swin2sr_ops").removeprefix(".") for name in names if name.split(".")[0] == "swin2sr_ops"}


def level(name: str) -> int:
    return LEVELS[name.split(".", maxsplit=1)[0]]


def test_imports_go_down() -> None:
    wrong = [
        f"{name} (level {level(name)}) imports {other} (level {level(other)})"
        for name, tree in modules().items()
        for other in imported(tree)
        if other and level(other) > level(name)
    ]
    assert not wrong


ADAPTERS = [path for root in ("plugins", "napari_plugin") for path in (PACKAGE.parent / root).rglob("*.py")]
#: The core's modules that an adapter may import, beside the package's public names.
SEAM = {"", "errors", "hookspecs", "hosting"}


@pytest.mark.parametrize("path", ADAPTERS, ids=lambda path: str(path.relative_to(PACKAGE.parent)))
def test_adapters_use_the_seam_alone(path: Path) -> None:
    reached = imported(ast.parse(path.read_text(encoding="utf-8")))
    assert reached <= SEAM, f"{sorted(reached - SEAM)}: add what is missing to swin2sr_ops/hosting.py"


def test_the_seam_is_light_and_complete() -> None:
    from swin2sr_ops import hosting

    for name in hosting.__all__:
        assert getattr(hosting, name) is not None
        assert f"`{name}`" in str(hosting.__doc__), f"{name} has no purpose in the module's docstring"


@pytest.mark.parametrize("folder", ["run", "pixels", "lazy", "cluster"])
def test_optional_abilities_are_protocols(folder: str) -> None:
    """Optional abilities of sources and sinks are declared by protocols, never probed by name."""
    for path in (PACKAGE / folder).glob("*.py"):
        found = re.findall(r"(?:has|get)attr\((?:\w+\.)*(?:source|sink), .*", path.read_text(encoding="utf-8"))
        assert not found, f"{path.name}: declare a protocol in swin2sr_ops/io/base.py"


def test_no_import_cycles() -> None:
    """There are no cycles, including deferred imports and types."""
    graph = {name: imported(tree) - {""} for name, tree in modules().items() if name}
    TopologicalSorter(graph).prepare()  # raises CycleError, with the circle


def test_no_import_cycles_in_adapters() -> None:
    graph: dict[str, set[str]] = {}
    for path in ADAPTERS:
        if path.name == "__init__.py":
            continue
        graph[f"{path.parent.name}.{path.stem}"] = {
            node.module
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(f"{path.parent.name}.")
        }
    TopologicalSorter(graph).prepare()


def test_public_names_exist_and_are_documented() -> None:
    for name in swin2sr_ops.__all__:
        value = getattr(swin2sr_ops, name)
        assert name == "__version__" or name == "hookimpl" or value.__doc__, f"{name} has no docstring"
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        swin2sr_ops.nothing  # noqa: B018
    assert set(swin2sr_ops.__all__) <= set(dir(swin2sr_ops))


HEAVY = ("torch", "dask", "zarr", "tifffile", "numpy", "PIL")


@pytest.mark.parametrize(
    "code",
    [
        "import swin2sr_ops, swin2sr_ops.hosting",
        "import swin2sr_ops; swin2sr_ops.list_models(); swin2sr_ops.ModelSpec; swin2sr_ops.TilePlan",
        "from swin2sr_ops.cli import main; import contextlib, io\n"
        "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()): main(['--help'])",
        "from swin2sr_ops.cli import main; import contextlib, io\n"
        "with contextlib.redirect_stdout(io.StringIO()): main(['models'])",
    ],
    ids=["import", "list", "help", "models"],
)
def test_light(code: str) -> None:
    """Importing, listing models and ``--help`` load no heavy library."""
    measure = f"import sys\n{code}\nprint([m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", measure], capture_output=True, text=True, check=True)
    assert done.stderr.strip().splitlines()[-1] == "[]"


#: What the main job needs none of, though it is installed here: together they took half of its start.
UNNEEDED = ("torch", "dask", "distributed", "rasterio", "boto3", "pooch", "requests", "tqdm", "xarray", "http.client")


@NATIVE
@pytest.mark.parametrize("name", ["out.ome.zarr", "out.tif", "out.png"])
def test_a_restored_sample_loads_only_what_it_needs(name: str, tmp_path: Path) -> None:
    code = (
        "import sys; from swin2sr_ops.cli import main; main(['restore', 'sample:cells', "
        f"{str(tmp_path / name)!r}, '--model', 'nano-x2-gray', '--engine', 'native']); "
        f"print([m for m in {UNNEEDED!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "[]"
