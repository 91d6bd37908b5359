"""Compare the images of an archive with those that the run wrote, so that a removed one is noticed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike, fspath

from swin2sr_ops.errors import Swin2SROpsError
from swin2sr_ops.io.output.provenance import read_provenance
from swin2sr_ops.io.zarr.collection import Collection, open_collection

__all__ = ["ArchiveRecord"]

_LOST = "the run wrote it, but the output lacks it."
_NO_LIST = "Its root has no provenance that lists the images: removed ones cannot be noticed."


@dataclass(frozen=True)
class ArchiveRecord:
    """The provenance of an archive's root; all fields are empty for groups that no run wrote.

    Attributes
    ----------
    source : str
        Location of the archive's input.
    left_out : tuple of str
        Images that the run could not restore.
    images : tuple of str or None
        Images that the run wrote; None if an earlier version did not note them.
    """

    source: str = ""
    left_out: tuple[str, ...] = ()
    images: tuple[str, ...] | None = None

    @classmethod
    def of(cls, uri: str) -> ArchiveRecord:
        """Read the provenance of the archive at ``uri``."""
        found = read_provenance(uri)
        if found is None:
            return cls()
        return cls(str(found.get("source") or ""), _names(found, "missing") or (), _names(found, "images"))

    def lost(self, there: Collection, source: str | PathLike[str] | None) -> tuple[dict[str, str], list[str]]:
        """Find the images that the output should contain, and does not.

        Parameters
        ----------
        there : Collection
            The output.
        source : str or path, optional
            Present location of the input. If an earlier version wrote the output, its images are those expected.

        Returns
        -------
        dict, list of str
            Path and reason for each missing image; notes for the report.
        """
        images, notes = self.images, list[str]()
        if images is None:
            images, notes = self._of_source(fspath(source or self.source)) if self.source else (None, [_NO_LIST])
        known = {*there.images, *(path for path, _ in there.missing), *self.left_out}
        listed = [path for path, _ in there.missing]
        gone = [path for path in images or () if path not in known]
        return {path: _LOST for path in gone if not any(path.startswith(f"{above}/") for above in listed)}, notes

    def _of_source(self, source: str) -> tuple[tuple[str, ...] | None, list[str]]:
        """List the images of the source, and say so in a note."""
        try:
            found = open_collection(source)
        except Swin2SROpsError as exc:
            found, reason = None, str(exc)
        else:
            reason = f"{source!r} is not an archive of images."
        begin = "Its provenance, which an earlier version wrote, does not list the images"
        if found is None:
            return None, [f"{begin}: removed ones cannot be noticed, because the source cannot be opened: {reason}"]
        return found.images, [f"{begin}: those of the source are expected."]


def _names(found: Mapping[str, object], key: str) -> tuple[str, ...] | None:
    names = found.get(key)
    return tuple(map(str, names)) if isinstance(names, Sequence) and not isinstance(names, str) else None
