"""Put the version and the SHA-256 of a built archive into the recipe beside this file.

Usage: ``python installers/conda/fill.py dist/swin2sr_ops-*.tar.gz``.
"""

from __future__ import annotations

import hashlib
import re
import sys
from pathlib import Path

RECIPE = Path(__file__).with_name("recipe.yaml")


def filled(recipe: str, archive: Path) -> str:
    """Return the text of ``recipe`` with the version and the SHA-256 of ``archive``.

    Raises
    ------
    ValueError
        The file is not a source archive of a release.
    """
    found = re.fullmatch(r"swin2sr_ops-(\d+\.\d+\.\d+)\.tar\.gz", archive.name)
    if found is None:
        raise ValueError(
            f"{archive.name} is not the source archive of a release: give dist/swin2sr_ops-X.Y.Z.tar.gz, without .dev"
        )
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    for key, value in (("version", found[1]), ("sha256", digest)):
        recipe, count = re.subn(rf'^( +{key}: )"[^"]*"$', rf'\g<1>"{value}"', recipe, flags=re.MULTILINE)
        if count != 1:
            raise ValueError(f'{RECIPE.name} has {count} lines `{key}: "..."`, and one is needed')
    return recipe


def script(words: list[str]) -> int:
    """Fill the recipe in place; return the exit status."""
    if len(words) != 1:
        print("usage: python installers/conda/fill.py dist/swin2sr_ops-X.Y.Z.tar.gz", file=sys.stderr)
        return 2
    try:
        text = filled(RECIPE.read_text(encoding="utf-8"), Path(words[0]))
    except (OSError, ValueError) as exc:
        print(exc, file=sys.stderr)
        return 2
    RECIPE.write_text(text, encoding="utf-8", newline="\n")
    return 0


if __name__ == "__main__":
    sys.exit(script(sys.argv[1:]))
