"""Answer ``swin2sr-ops hosts`` for QGIS, and install the plugin into it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

from swin2sr_ops import RequestError, __version__, hookimpl, list_models
from swin2sr_ops.hosting import HostAdapter, HostStatus, place_of

__all__ = ["NAME", "QgisHost"]

#: The plugin's folder in a profile, where QGIS imports it by this name; the package's own would hide the package.
NAME = "swin2sr_ops_provider"
_ALGORITHM = "swin2sr:restore"
_PATIENCE = 120  # seconds: the first start of a QGIS is slow
_MISSING = "QGIS is not found here: install it, start it once, then run `swin2sr-ops hosts install qgis`."
_INSTALL = "The plugin is not in QGIS's profile yet: run `swin2sr-ops hosts install qgis`."


class QgisHost:
    """QGIS, whose Processing lists the algorithm once the plugin is in the profile and switched on."""

    name = "qgis"
    title = "QGIS"

    def status(self) -> HostStatus:
        """Ask ``qgis_process`` for its algorithms, if the plugin is installed."""
        from swin2sr_ops_qgis.place import plugins_folder, process_command, profile

        ask = process_command()
        if ask is None and not profile().is_dir():
            return HostStatus(self.name, self.title, present=False, detail=_MISSING)
        folder = plugins_folder() / NAME
        version = _version(ask)
        if not folder.is_dir():
            return HostStatus(self.name, self.title, present=True, version=version, detail=_INSTALL)
        python = _broken_python(folder)
        registered = ask is not None and _ALGORITHM in _asked(ask, "list")
        detail = f"Processing toolbox > Swin2SR restoration ({_ALGORITHM}), from {folder}."
        if python:
            detail = python
        elif ask is None:
            detail = f"The plugin is in {folder}, but qgis_process, which could show if QGIS loads it, was not found."
        elif not registered:
            detail = f"The plugin is in {folder}, but not switched on: tick it in QGIS under Plugins > Manage."
        return HostStatus(
            self.name, self.title, present=True, registered=registered, working=registered and not python,
            version=version, detail=detail,
        )  # fmt: skip

    def install(self) -> str:
        """Copy the plugin into the profile, tell it which Python to run, and switch it on."""
        from swin2sr_ops_qgis.place import plugins_folder, process_command

        ask = process_command()
        _check_profile(ask)
        folder = plugins_folder() / NAME
        try:
            _copy(folder)
        except OSError as exc:
            raise RequestError(f"The plugin cannot be copied to {folder}: {exc}.") from exc
        if ask is not None:
            _asked(ask, "plugins", "enable", NAME)
            if _ALGORITHM in _asked(ask, "list"):
                return (
                    f"The plugin is in {folder} and switched on. A QGIS that runs must be started again; then look for"
                    f" Swin2SR restoration in the Processing toolbox, or run `qgis_process run {_ALGORITHM}`."
                )
        return f"The plugin is in {folder}: tick it in QGIS under Plugins > Manage and Install Plugins."


def _check_profile(ask: str | None) -> None:
    """Reject a machine without QGIS, and a named profile that QGIS does not have."""
    from swin2sr_ops_qgis.place import PROFILE, profile

    folder = profile()
    if folder.is_dir():
        return
    if os.environ.get(PROFILE):
        known = sorted(p.name for p in folder.parent.glob("*") if p.is_dir())
        raise RequestError(
            f"{PROFILE} names the profile {folder}, which is not there: make it in QGIS first, or name one of"
            f" {', '.join(known) or 'QGIS, which has none here yet'}."
        )
    if ask is None:
        raise RequestError(_MISSING)


def _copy(folder: Path) -> None:
    """Beside the old one first: a half copied plugin would stop QGIS from starting well."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    new = folder.with_name(f".{NAME}.new")
    shutil.rmtree(new, ignore_errors=True)
    shutil.copytree(Path(__file__).parent / "provider", new, ignore=shutil.ignore_patterns("__pycache__"))
    metadata = new / "metadata.txt"
    metadata.write_text(metadata.read_text(encoding="utf-8").replace("version=0", f"version={__version__}", 1), "utf-8")
    specs = list_models()
    settings = {
        "python": sys.executable,
        "version": __version__,
        "models": [spec.name for spec in specs],
        # Those that are fetched, and where they lie then: the form marks the others.
        "files": {spec.name: str(place_of(spec)) for spec in specs if spec.weights.startswith("http")},
    }
    (new / "settings.json").write_text(json.dumps(settings, indent=1), encoding="utf-8")
    if folder.is_dir():
        shutil.rmtree(folder)
    new.rename(folder)


def _broken_python(folder: Path) -> str:
    """A sentence where the interpreter that the plugin runs is gone or knows no swin2sr_ops; else nothing."""
    try:
        python = str(json.loads((folder / "settings.json").read_text(encoding="utf-8"))["python"])
        words = [python, "-P", "-c", "import swin2sr_ops"]
        subprocess.run(words, check=True, capture_output=True, timeout=_PATIENCE)  # noqa: S603  (written by `install`)
    except (OSError, ValueError, KeyError, subprocess.SubprocessError) as exc:
        return f"The plugin in {folder} cannot run swin2sr-ops ({exc}): run `swin2sr-ops hosts install qgis` again."
    return ""


def _version(ask: str | None) -> str:
    words = _asked(ask, "--version").split() if ask else []
    return words[1].partition("-")[0] if len(words) > 1 and words[0] == "QGIS" else ""  # without the place's name


def _asked(ask: str, *words: str) -> str:
    """Return the output of ``qgis_process`` for ``words``; empty if it fails."""
    from swin2sr_ops_qgis.place import environment

    try:
        with TemporaryDirectory() as scratch:
            done = subprocess.run(  # noqa: S603  (QGIS's own program, with words from above)
                [ask, *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, encoding="utf-8",
                errors="replace", timeout=_PATIENCE,
                env=environment(ask, Path(scratch)), check=False,
            )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout


@hookimpl
def swin2sr_ops_hosts() -> Iterable[HostAdapter]:
    """The adapter of QGIS."""
    return [QgisHost()]
