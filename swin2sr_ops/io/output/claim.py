"""Claim an output for one run: its lock, and the record of the run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from swin2sr_ops.errors import OutputError
from swin2sr_ops.io.base import json_ready
from swin2sr_ops.io.output.destination import RECORD, Destination, disk_errors
from swin2sr_ops.io.output.journal import OWN_FOLDER
from swin2sr_ops.io.output.lock import Lock, acquire
from swin2sr_ops.io.storage.files import Files, LocalFiles

__all__ = ["STAGED", "STAMP", "Claim", "EarlierForms", "RunKey", "tidy_finished"]

#: Name of the note for a run whose input changed during the run.
SPOILT = "spoilt"
#: Seconds to wait for a lock, before its holder counts as a run: a server holds it only while it adds chunks.
_PATIENCE = 2.0
#: Settings of a run that a file written in one pass does not show, only its staging.
STAGED = ("chunk", "shard")
#: The note of `RunKey.stamp`.
STAMP = "input stamp"


class EarlierForms(Protocol):
    """How earlier versions of this package wrote the settings of a run."""

    def digests(self, record: Mapping[str, Any]) -> Iterable[str]:
        """Yield the fingerprints that an earlier version may have computed, if it wrote ``record``."""
        ...

    def today(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return recorded settings in today's form."""
        ...


@dataclass(frozen=True)
class RunKey:
    """Key of a run: only the same run can resume a partial output.

    Attributes
    ----------
    fingerprint : str
        Digest of everything that decides the result.
    settings : dict
        The same for people, flat: the error for another run lists the differences.
    restart : bool
        Discard a partial output of any run.
    source_identity : str
        Digest of the sizes, times and metadata of the input's files, as the output stores it.
    stamp : str
        Changes whenever a file of the input is touched. It is stored with the record and does not decide whether a
        run may resume: the run compares pixels if the stamp differs.
    earlier : EarlierForms, optional
        Recognises the same run in a record of an earlier version.
    file_fingerprint : str
        The fingerprint without `STAGED`, which a finished file of `swin2sr_ops.io.output.staged_file.StagedFile` has:
        its bytes depend on no chunk. An unfinished one is staged in chunks, and has ``fingerprint``.
    """

    fingerprint: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    restart: bool = False
    source_identity: str = ""
    stamp: str = ""
    earlier: EarlierForms | None = field(default=None, repr=False, compare=False)
    file_fingerprint: str = ""

    def accepts(self, record: Mapping[str, Any] | None) -> bool:
        """Tell whether the record of an unfinished output, or the provenance of a finished one, is this run's."""
        found = None if record is None else record.get("fingerprint")
        if record is None or found is None:
            return False
        if found == self.fingerprint or (self.file_fingerprint and found == self.file_fingerprint):
            return True
        return self.earlier is not None and found in self.earlier.digests(record)

    def accepts_but_staging(self, record: Mapping[str, Any] | None) -> bool:
        """Tell whether the record of an unfinished output is this run's except for `STAGED`."""
        found = (record or {}).get("settings") or {}
        mine = {name: value for name, value in self.settings.items() if name not in STAGED}
        return bool(mine) and mine == {name: value for name, value in found.items() if name not in STAGED}


@dataclass
class Claim:
    """Claim of an output that is being written, the same for every format; pickles without its lock.

    Attributes
    ----------
    destination : Destination
    notes : dict
        Stored with the partial output, for the run that resumes it.
    resumed : bool
        Whether an earlier run with the same key started it.
    """

    destination: Destination
    notes: dict[str, Any] = field(default_factory=dict)
    resumed: bool = False
    _key: RunKey | None = field(default=None, repr=False, compare=False)
    _lock: Lock | None = field(default=None, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_key": None, "_lock": None}

    @property
    def files(self) -> Files:
        """Access to the location of the output."""
        return self.destination.files

    def take(self, key: RunKey | None, patience: float = _PATIENCE) -> None:
        """Lock the output, within ``patience`` seconds; resume what the same run has left, or empty it.

        Raises
        ------
        OutputError
            If another run is working there or has left a partial output, or something else is there.
        """
        self._key = key
        lock = self.destination.lock()
        with disk_errors(self.files.where):
            acquire(lock, patience)
        self._lock = lock
        try:
            self._take(key)
        except BaseException:
            self.release()
            raise

    def _take(self, key: RunKey | None) -> None:
        found = self._record()
        if found is None and not self.destination.overwrite and self.destination.occupied():
            raise OutputError(
                f"{self.destination.uri!r} was finished by another run meanwhile: give the same command again, which"
                " compares the settings, or choose another output."
            )
        if found is not None and key is not None and not key.restart:
            if not key.accepts(found):
                raise _other_run(self.destination.uri, found.get("settings", {}), key)
            if found.get("notes", {}).get(SPOILT):
                raise _spoilt(self.destination.uri)
            self.resumed = True
            self.notes = dict(found.get("notes", {}))
        elif found is None and not (key is not None and key.restart) and not self._in_our_archive():
            self._refuse_strangers()
        with disk_errors(self.files.where):
            if self.resumed:
                self.files.sweep()
                return
            self.destination.start()
            if key is not None and key.stamp:
                self.notes[STAMP] = key.stamp
            try:
                self._write_record()
            except BaseException:
                self.destination.discard()  # it is still empty
                raise

    def _record(self) -> dict[str, Any] | None:
        return _parsed(self.files.read(RECORD))

    def _refuse_strangers(self) -> None:
        """Refuse to empty a location that is not empty and has no record: it is not a run's."""
        if self.destination.path is None:
            known = self.destination.occupied()  # an output that may be overwritten: `Destination.check` decided that
            strange = not known and any(not k.startswith(OWN_FOLDER) for k in self.files.listing())
        else:
            folder = self.destination.partial
            strange = folder.exists() and (not folder.is_dir() or any(p.name != OWN_FOLDER for p in folder.iterdir()))
        if strange and not self._cut_off():
            raise OutputError(
                f"{self.files.where!r} holds something that no run of this program wrote: remove it, or choose"
                " another output. With restart it is replaced."
            )

    def _in_our_archive(self) -> bool:
        """Return True for an image of an archive on this disk: what lies there is the archive's, whose record is whole.

        A power cut may have torn or removed the image's own record, which is not synced.
        """
        return self.destination.inner and self.destination.path is not None

    def _cut_off(self) -> bool:
        """Return True if a power cut emptied the record: the location is a run's, but of an unknown one."""
        record = self.files.read(RECORD)
        return record is not None and not record.strip(b"\0")

    def note(self, **values: Any) -> None:
        """Store ``values`` with the partial output, for the run that resumes it."""
        self.notes |= json_ready(values)
        with disk_errors(self.files.where):
            self._write_record()

    def _write_record(self, *, durable: bool = False) -> None:
        """Write the record, onto the disk at once; only the images of an archive need no sync each, as it has one."""
        key = self._key or RunKey("")
        record = {"fingerprint": key.fingerprint, "settings": dict(key.settings), "notes": self.notes}
        text = json.dumps(json_ready(record), indent=1)
        self.files.write(RECORD, text.encode(), durable=durable or not self.destination.inner)

    def spoil(self) -> None:
        """Mark this run as not resumable: its pixels come from two versions of the input."""
        self.notes[SPOILT] = True
        with disk_errors(self.files.where):
            self._write_record(durable=True)

    def check(self) -> None:
        """Raise an error if the location was removed or emptied during the run."""
        if self.lost():
            raise OutputError(
                f"{self.files.where!r} was removed or emptied from outside while it was written. Start anew with"
                " restart (--restart)."
            )

    def lost(self) -> bool:
        """Return True if the run's record is gone; False if the storage cannot be read."""
        with suppress(OSError, OutputError):
            return self._record() is None
        return False

    def matches(self, key: RunKey) -> bool:
        """Tell whether the unfinished output that is there now is that of the run ``key``, and may be resumed."""
        with suppress(OSError, OutputError):
            found = self._record() or {}
            return key.accepts(found) and not found.get("notes", {}).get(SPOILT)
        return False

    def recall(self, key: RunKey) -> None:
        """Take over the notes of the run ``key`` that is at work there."""
        self._key = key
        self.notes = dict((self._record() or {}).get("notes", {}))

    def release(self) -> None:
        """Release the lock; keep the output as it is."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def discard(self) -> None:
        """Remove what was written, and let go of the output even where that fails."""
        try:
            self.destination.discard()
        finally:
            self.release()


def _spoilt(uri: str) -> OutputError:
    return OutputError(
        f"The input of {uri!r} changed during the run, so the partial output mixes two images: start anew with"
        " restart (--restart)."
    )


def _other_run(uri: str, recorded: Mapping[str, Any], key: RunKey) -> OutputError:
    recorded = recorded if key.earlier is None else key.earlier.today(recorded)
    old, new = dict(_flat(recorded)), dict(_flat(json_ready(dict(key.settings))))
    names = [n for n in dict.fromkeys([*old, *new]) if old.get(n) != new.get(n)]
    changes = (
        "; ".join(f"{n} was {_short(old.get(n))}, now {_short(new.get(n))}" for n in names) or "its version is older"
    )
    return OutputError(
        f"{uri!r} already holds an unfinished output of a different run: {changes}. Give the same command as then to"
        " resume it, choose another output, or start anew with restart (--restart)."
    )


def _flat(settings: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Flatten nested settings to names of several words, so that only the differing ones are listed."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name} ")
        else:
            yield f"{before}{name}", value


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def tidy_finished(uri: str, key: RunKey) -> None:
    """Remove leftovers of the run that finished ``uri`` but was killed before it removed them."""
    destination = Destination.at(uri, remote=True)
    if destination.path is None:
        destination.tidy()
        _remove_dead_lease(destination)
        return
    own = LocalFiles(destination.path)
    if destination.path.is_dir() and own.read(RECORD) is not None:
        own.clear(OWN_FOLDER)
    left = destination.files.read(RECORD)
    names = {p.name for p in destination.partial.iterdir()} if destination.partial.is_dir() else set()
    record = _parsed(left)
    # The output is finished: a file may have been staged in other chunks.
    if names <= {OWN_FOLDER} if left is None else key.accepts(record) or key.accepts_but_staging(record):
        destination.tidy()
        with suppress(OSError):  # on Windows, a run that begins may have opened it
            destination.lock_file.unlink(missing_ok=True)


def _parsed(record: bytes | None) -> dict[str, Any] | None:
    try:
        found = json.loads(record or b"null")
    except ValueError:  # a power cut tore it
        return None
    return found if isinstance(found, dict) else None


def _remove_dead_lease(destination: Destination) -> None:
    if destination.files.read(f"{OWN_FOLDER}/lock") is None:
        return
    lock = destination.lock()
    with suppress(OutputError):  # a live run removes its lease itself
        lock.acquire()
        lock.release()
