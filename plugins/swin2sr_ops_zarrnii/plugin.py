"""Define the plugin of ZarrNii's entry point: it describes itself, and requires a model.

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
    """Return the plugin's name."""
    return _WITHOUT_MODEL.scaled_processing_plugin_name()


@hookimpl
def scaled_processing_plugin_description() -> str:
    """Return the plugin's description."""
    return _WITHOUT_MODEL.scaled_processing_plugin_description()


@hookimpl
def lowres_func(lowres_array: Any) -> Any:
    """Raise an error: a model must be chosen."""
    return _WITHOUT_MODEL.lowres_func(lowres_array)


@hookimpl
def highres_func(fullres_array: Any, upsampled_output: Any = None) -> Any:
    """Raise an error: a model must be chosen."""
    return _WITHOUT_MODEL.highres_func(fullres_array, upsampled_output)
