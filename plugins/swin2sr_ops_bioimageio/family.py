"""Add a model family: the networks of bioimage.io packages.

The plugin handles a ``.zip`` or a folder with a ``rdf.yaml``, and ``bioimageio:`` with either. It imports nothing heavy
before that.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swin2sr_ops import ModelError, ModelSpec, hookimpl

if TYPE_CHECKING:
    from torch import nn

PREFIX = "bioimageio:"
_DOCUMENTS = ("rdf.yaml", "bioimageio.yaml")


@hookimpl
def swin2sr_ops_resolve_model(model: str, wanted: dict[str, Any]) -> ModelSpec | None:
    """Describe the package that ``model`` names; return None if it names none."""
    from swin2sr_ops.hosting import local_path

    name = model.removeprefix(PREFIX)
    path = local_path(name) or Path(name)
    path = path.parent if path.name in _DOCUMENTS else path
    is_package = path.suffix == ".zip" or any((path / document).is_file() for document in _DOCUMENTS)
    if not model.startswith(PREFIX) and not (is_package and path.exists()):
        return None
    if not path.exists():
        raise ModelError(f"There is no {str(path)!r}: `bioimageio:` is followed by a package, such as model.zip.")
    given = {k: v for k, v in wanted.items() if k not in ("scale", "task", "channels", "name") and v is not None}
    if given:
        listed = ", ".join(f"{key}={value!r}" for key, value in given.items())
        raise ModelError(f"The bioimage.io package {path.name} describes its network itself: omit {listed}.")
    _check_installed(path)
    from swin2sr_ops_bioimageio.describe import describe

    return describe(path.resolve(), name=wanted.get("name"), task=wanted.get("task"))


@hookimpl
def swin2sr_ops_build_network(spec: ModelSpec) -> nn.Module | None:
    """Build the network of a spec from `swin2sr_ops_resolve_model`."""
    if not spec.architecture.startswith(PREFIX):
        return None
    path = Path(spec.weights)
    _check_installed(path)
    from swin2sr_ops_bioimageio.package import Package

    return Package.read(path, spec.sha256).network()


def _check_installed(path: Path) -> None:
    if find_spec("bioimageio") is None or find_spec("bioimageio.core") is None:
        raise ModelError(
            f"{path.name} may be a bioimage.io package: reading one needs `pip install 'swin2sr-ops[bioimageio]'`."
        )
