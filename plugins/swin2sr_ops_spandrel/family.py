"""Add a model family: networks that spandrel reads and this package does not know.

The plugin handles files other than Swin2SR or SwinIR, and ``spandrel:`` with a file. It imports nothing heavy
before that.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swin2sr_ops import ModelError, ModelSpec, hookimpl

if TYPE_CHECKING:
    from torch import nn

PREFIX = "spandrel:"
_SUFFIXES = (".pth", ".pt", ".ckpt", ".bin", ".safetensors")
#: Further hints that a user may give for such a model, besides scale and task.
_HINTS = ("name",)


@hookimpl
def swin2sr_ops_resolve_model(model: str, wanted: dict[str, Any]) -> ModelSpec | None:
    """Describe the checkpoint that ``model`` names; return None if it names none, or spandrel does not know it."""
    asked = model.startswith(PREFIX)
    from swin2sr_ops.hosting import local_path

    name = model.removeprefix(PREFIX)
    path = local_path(name) or Path(name)
    if not asked and not (path.is_file() and path.suffix in _SUFFIXES):
        return None
    if not path.is_file():
        raise ModelError(f"There is no file {str(path)!r}: `spandrel:` is followed by a checkpoint, such as photo.pth.")
    if asked:
        _check_hints(path, wanted)
    _check_installed(path)
    from swin2sr_ops_spandrel.describe import describe

    found = describe(path.resolve(), asked, name=wanted.get("name"), task=wanted.get("task"))
    if found is not None:  # of a file that it leaves to the built-in loader, the facts are needed
        _check_hints(path, wanted)
    return found


@hookimpl
def swin2sr_ops_build_network(spec: ModelSpec) -> nn.Module | None:
    """Build the network of a spec from `swin2sr_ops_resolve_model`."""
    if not spec.architecture.startswith(PREFIX):
        return None
    path = Path(spec.weights)
    _check_installed(path)
    from swin2sr_ops_spandrel.network import Network, read

    return Network(read(path, spec.sha256))


def _check_hints(path: Path, wanted: dict[str, Any]) -> None:
    given = {k: v for k, v in wanted.items() if k not in ("scale", "task", "channels", *_HINTS) and v is not None}
    if given:
        listed = ", ".join(f"{key}={value!r}" for key, value in given.items())
        raise ModelError(f"spandrel reads {path.name} and determines all settings itself: omit {listed}.")


def _check_installed(path: Path) -> None:
    try:
        import spandrel  # noqa: F401
    except (ImportError, RuntimeError) as exc:
        todo = "which is not installed: `pip install 'swin2sr-ops[spandrel]'`"
        if find_spec("spandrel") is not None:  # it imports torchvision, which fails with a torch of another build
            todo = f"which cannot be imported here ({exc}): it needs the torchvision that matches this torch"
        raise ModelError(f"If {path.name} is a network of another kind, spandrel may read it, {todo}.") from exc
