"""``python -m swin2sr_ops_qgis FILE.zip``: the plugin as QGIS's plugin repository takes it."""

from __future__ import annotations

import argparse
import sys
import zipfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from swin2sr_ops import RequestError, Swin2SROpsError, __version__
from swin2sr_ops_qgis.host import NAME

__all__ = ["main", "write_archive"]

_PROVIDER = Path(__file__).parent / "provider"
_WHEN = (2026, 1, 1, 0, 0, 0)  # the same files give the same archive


def write_archive(path: Path) -> None:
    """Write the plugin as a zip with one folder: its modules, metadata with the version, and the licence.

    Raises
    ------
    RequestError
        ``path`` does not end in ``.zip``, or cannot be written.
    """
    if path.suffix != ".zip":
        raise RequestError(f"{str(path)!r} does not end in .zip, as QGIS needs it: name it so.")
    files = {p.relative_to(_PROVIDER).as_posix(): p.read_bytes() for p in _PROVIDER.rglob("*.py")}
    metadata = (_PROVIDER / "metadata.txt").read_text(encoding="utf-8")
    files["metadata.txt"] = metadata.replace("version=0", f"version={__version__}", 1).encode()
    files["LICENSE"] = _licence().encode()
    try:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in sorted(files.items()):
                archive.writestr(zipfile.ZipInfo(f"{NAME}/{name}", _WHEN), content)
    except OSError as exc:
        raise RequestError(f"{str(path)!r} cannot be written: {exc.strerror or exc}.") from exc


def _licence() -> str:
    """Read the licence from the installed distribution, or from the checkout."""
    try:
        found = distribution("swin2sr-ops").read_text("licenses/LICENSE")
    except PackageNotFoundError:
        found = None
    return found or (Path(__file__).parents[2] / "LICENSE").read_text(encoding="utf-8")


def main(argv: list[str] | None = None) -> int:
    """Write the archive; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m swin2sr_ops_qgis", description=__doc__)
    parser.add_argument("file", metavar="FILE.zip", type=Path)
    try:
        write_archive(parser.parse_args(argv).file)
    except Swin2SROpsError as exc:
        sys.stderr.write(f"error: {exc}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
