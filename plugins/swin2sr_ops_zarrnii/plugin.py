"""What ZarrNii's entry point names: a plugin that says what it is, and asks for a model.

``Restoration`` is the plugin with a model.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

if find_spec("zarrnii") is None:
    raise ImportError("ZarrNii is not installed: `pip install 'swin2sr-ops[zarrnii]'` brings it.")

from swin2sr_ops_zarrnii.restoration import Restoration, hookimpl

__all__ = ["Restoration"]

_WITHOUT_MODEL = Restoration()


@hookimpl
def scaled_processing_plugin_name() -> str:
    """Name for people."""
    return _WITHOUT_MODEL.scaled_processing_plugin_name()


@hookimpl
def scaled_processing_plugin_description() -> str:
    """What it does."""
    return _WITHOUT_MODEL.scaled_processing_plugin_description()


@hookimpl
def lowres_func(lowres_array: Any) -> Any:
    """Say that a model must be chosen."""
    return _WITHOUT_MODEL.lowres_func(lowres_array)


@hookimpl
def highres_func(fullres_array: Any, upsampled_output: Any = None) -> Any:
    """Say that a model must be chosen."""
    return _WITHOUT_MODEL.highres_func(fullres_array, upsampled_output)
