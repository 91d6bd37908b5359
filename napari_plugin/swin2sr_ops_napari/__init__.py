"""swin2sr_ops in napari: a dock widget, a preview of what is visible, sample images, an OME-Zarr writer.

`napari.yaml` tells napari what there is; nothing is imported before it is used. Two kinds of modules:

- with Qt: `widget` (what the buttons do), `panel` and `controls` (what is seen), `form` (what was chosen), `live` (the
  preview), `planner`, `results`, `serving`, `standin`, `background`, `calm`, `mailbox`, `presence`, `viewport`;
- without: `outputs` and `trusted` (what comes of a run), `served`, `lazy` and `trust` (layers that are computed where
  one looks, and what they hold), `view`, `sheet`, `painter`, `canvas` (tiles of what is visible), `layers`, `request`,
  `ranges`, `memory_io`, `layer_run`, `stored`, `writer`, `samples`; the words: `words`, `quality`, `choices`,
  `advising`, `messages`, `endings`, `paths`, `pace`.
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
