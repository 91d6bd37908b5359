"""The cache of a plate or tree: the unfinished output of the archive's run, with the images' caches in it."""

from __future__ import annotations

from collections.abc import Iterable

from swin2sr_ops.errors import FormatError, Swin2SROpsError
from swin2sr_ops.io.base import ClosableSource
from swin2sr_ops.io.output.claim import Claim, RunKey
from swin2sr_ops.io.output.destination import RECORD, Destination
from swin2sr_ops.io.output.lock import BusyError
from swin2sr_ops.io.zarr.collection import Collection
from swin2sr_ops.request import RestoreRequest
from swin2sr_ops.run.archive import archive_finished, archive_key
from swin2sr_ops.run.fingerprint import run_key
from swin2sr_ops.run.job import prepare
from swin2sr_ops.serve.options import Options

__all__ = ["ArchiveCache"]

#: Seconds to wait for another server that starts the same archive.
_PATIENCE = 5.0


class ArchiveCache:
    """An archive's output that a run with the same request finishes, started where it does not exist.

    Parameters
    ----------
    collection : Collection
        The source.
    dst : str
        The output, as `swin2sr_ops.restore_batch` or `swin2sr_ops.run.archive.run_collection` names it.
    request : RestoreRequest
        The same for all images.
    options : Options
        Of the output.

    Raises
    ------
    Swin2SROpsError
        The output cannot be written, or is another run's.
    """

    def __init__(self, collection: Collection, dst: str, request: RestoreRequest, options: Options) -> None:
        self.dst = dst
        self.key = _key(collection, request, options)
        self._claim = Claim(Destination.at(dst, remote=True))
        if not self._is_finished():
            self._claim.destination.check(collection.uri)
            self._begin()

    @property
    def provenance(self) -> dict[str, str]:
        """Return the attributes that the run stores in the archive's root, beside the source."""
        return {"model": str(self.key.settings["model"]), "fingerprint": self.key.fingerprint}

    def final(self, name: str) -> str:
        """Return where the image ``name`` lies when the archive is finished."""
        return f"{self.dst}/{name}"

    def place(self, name: str) -> str:
        """Return where the image ``name`` is kept now, in a folder that exists."""
        if self._is_finished():
            return self.final(name)
        partial = self._claim.destination
        if partial.path is not None:
            (partial.partial / name).parent.mkdir(parents=True, exist_ok=True)
        return self._unfinished(name)

    def held(self, names: Iterable[str]) -> list[str]:
        """List the images that may have chunks here which a limit evicts: those whose output is unfinished."""
        if self._is_finished():
            return []
        places = [(name, Destination.at(self._unfinished(name), remote=True, inner=True)) for name in names]
        return [name for name, place in places if place.files.read(RECORD) is not None]

    def _unfinished(self, name: str) -> str:
        return f"{self._claim.files.where}/{name}"

    def _is_finished(self) -> bool:
        return archive_finished(self.dst, self.key)

    def _begin(self) -> None:
        """Write the record of the run, unless another server or a run has; the lock is held only for that."""
        if self._claim.matches(self.key):
            return
        try:
            self._claim.take(self.key, _PATIENCE)
            self._claim.release()
        except BusyError:
            if not self._claim.matches(self.key):  # else a run with this key has begun meanwhile
                raise


def _key(collection: Collection, request: RestoreRequest, options: Options) -> RunKey:
    """Compute the key of the archive's run."""
    keys: dict[str, RunKey] = {}
    failed = ""
    for path in collection.images:
        try:
            job = prepare(collection.uri, request.for_image(array=path))
        except Swin2SROpsError as exc:  # this image fails, as in the run
            failed = failed or f"{path} {exc}"
            continue
        keys[path] = run_key(job, options.archive_output)
        if isinstance(job.source, ClosableSource):
            job.source.close()
    if not keys:
        raise FormatError(f"No image of {collection.uri!r} can be restored: {failed or 'it contains none'}")
    return archive_key(keys, len(collection.images))
