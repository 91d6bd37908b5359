"""swin2sr_ops in napari: a dock widget, a preview of what is visible, sample images, an OME-Zarr writer.

`napari.yaml` says to napari what there is; nothing is imported before it is used. What knows
neither napari nor Qt: `layers`, `request`, `choices`, `bridge`, `whole`, `pyramid`, `lazy`, `ranges`,
`view`, `estimate`. What does: `widget` and its parts, `live`.
"""

from __future__ import annotations

__all__ = ["check_host"]


def check_host() -> None:
    """Say what is missing where napari is.

    Raises
    ------
    ImportError
        napari or a Qt binding is not installed.
    """
    from importlib.util import find_spec

    missing = [name for name in ("napari", "qtpy") if find_spec(name) is None]
    if missing:
        raise ImportError(
            f"{' and '.join(missing)} is not installed: the napari plugin needs it. Install swin2sr-ops[napari] and a"
            " Qt binding, such as PyQt6 (napari[pyqt6] has both)."
        )
