"""Recognise records that versions before 2026-12 wrote, so that their outputs are resumed, and not restored again.

They stored torch's version for every engine, options of the output as they were given, defaults too, nodata as
0 or 0.0, and no shards.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

__all__ = ["EarlierArchive", "EarlierImage", "digest_of"]

#: Values that today's settings do not name, by the name in a record: what was given does not change the file.
_GIVEN: dict[str, tuple[Any, ...]] = {
    "output anywhere": (True, False),
    "output ngff": ("0.5",),
    "output pyramid": (True,),
    "output context": (False,),
    "output spread": (False,),
    "output labels": ("leave",),
}
#: Settings that only the record of an unfinished output has.
_WHOLE = "result version"


def digest_of(settings: Mapping[str, Any]) -> str:
    """Return the digest of JSON-ready settings."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def _forms(record: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield settings that a version that wrote ``record`` may have stored, and today's does not."""
    kept = record.get("settings")
    kept = kept if isinstance(kept, Mapping) else {}
    same = {name: kept[name] for name in ("torch", "nodata") if name in kept}
    if _WHOLE in kept:
        yield same | {name: value for name, value in kept.items() if value in _GIVEN.get(name, ())}
        return
    for values in product(*((None, *values) for values in _GIVEN.values())):
        given = zip(_GIVEN, values, strict=True)
        yield same | {name: value for name, value in given if value is not None}


def _in_form(settings: Mapping[str, Any], form: Mapping[str, Any]) -> str:
    """Return an earlier fingerprint, which is never one of today: today's settings always name the shard."""
    found = {**form, **settings}
    if form.get("nodata") == settings.get("nodata"):
        found["nodata"] = form.get("nodata")
    return digest_of({name: value for name, value in found.items() if name != "shard"})


def _today(settings: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    found = {name: value for name, value in settings.items() if value not in _GIVEN.get(name, ())}
    if "torch" not in now:
        found.pop("torch", None)
    return {"shard": now.get("shard"), **found}


@dataclass(frozen=True)
class EarlierImage:
    """Forms in which earlier versions wrote the settings of one image; see `swin2sr_ops.io.output.claim.RunKey`."""

    settings: Mapping[str, Any]

    def digests(self, record: Mapping[str, Any]) -> Iterator[str]:
        """Yield the fingerprints that an earlier version may have computed, if it wrote ``record``."""
        for form in _forms(record):
            yield _in_form(self.settings, form)

    def today(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return recorded settings in today's form."""
        return _today(settings, self.settings)


@dataclass(frozen=True)
class EarlierArchive:
    """The same for an archive, whose fingerprint is the digest of those of its images.

    Attributes
    ----------
    images : dict
        Settings by path.
    settings : dict
        Those of the archive.
    """

    images: Mapping[str, Mapping[str, Any]]
    settings: Mapping[str, Any]

    def digests(self, record: Mapping[str, Any]) -> Iterator[str]:
        """Yield the fingerprints that an earlier version may have computed, if it wrote ``record``.

        A finished archive's own provenance lacks the settings. Those of an image in it, ``record["image"]`` as path
        and provenance, select the form, so that an archive of many images is digested once.
        """
        path, image = record.get("image", ("", {}))
        if not image and "settings" not in record:
            return
        for form in _forms(image or record):
            inside = form | {"output anywhere": True}  # the archive names its images' places itself
            if not image or _in_form(self.images[path], inside) == image.get("fingerprint"):
                given = {name: value for name, value in form.items() if name != "output anywhere"}
                yield digest_of({one: _in_form(settings, given) for one, settings in self.images.items()})

    def today(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return recorded settings in today's form."""
        return _today(settings, self.settings)
