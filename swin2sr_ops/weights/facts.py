"""Cache what was found out about a model file, by a key of its content; a cache that fails costs only time."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from swin2sr_ops.io.storage.moves import replacing
from swin2sr_ops.weights.download import cache_folder

__all__ = ["remember_facts", "remembered_facts"]


def remembered_facts(subject: str, key: str) -> dict[str, Any] | None:
    """Return the facts that `remember_facts` stored; None if there are none.

    Parameters
    ----------
    subject : str
        Folder of the cache.
    key : str
        Names the file by its content, and everything else that the facts depend on.
    """
    try:
        found = json.loads(_place(subject, key).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found["facts"] if isinstance(found, dict) and found.get("key") == key else None


def remember_facts(subject: str, key: str, facts: dict[str, Any]) -> None:
    """Write facts, which are JSON-ready, completely or not at all."""
    place = _place(subject, key)
    with suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        with replacing(place) as part:
            part.write_text(json.dumps({"key": key, "facts": facts}), encoding="utf-8")


def _place(subject: str, key: str) -> Path:
    return cache_folder() / subject / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"
