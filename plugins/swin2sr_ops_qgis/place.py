"""Find QGIS on this machine: its profile folder and its ``qgis_process``.

Environment
-----------
SWIN2SR_OPS_QGIS_PROFILE
    Name or folder of the profile to use instead of the one that QGIS starts with.
QGIS_CUSTOM_CONFIG_PATH
    QGIS's own: the folder that its profiles are in.
"""

from __future__ import annotations

import os
import shutil
import sys
from configparser import ConfigParser, Error
from pathlib import Path

__all__ = ["PROFILE", "environment", "plugins_folder", "process_command", "profile"]

#: The variable that names the profile.
PROFILE = "SWIN2SR_OPS_QGIS_PROFILE"


def profile() -> Path:
    """The profile that was chosen, or that QGIS starts with. It is there once QGIS has run with it."""
    folder = _settings() / "profiles"
    return folder / (os.environ.get(PROFILE) or _starts_with(folder))  # an absolute path stays itself


def plugins_folder() -> Path:
    """Return the folder of the profile's Python plugins."""
    return profile() / "python" / "plugins"


def process_command() -> str | None:
    """QGIS without its windows; None where it is not found.

    Debian's ``qgis_process`` is a wrapper that adds an option which its own program refuses.
    """
    for name in ("qgis_process.bin", "qgis_process", "qgis_process-qgis", "qgis_process-qgis-ltr"):
        found = shutil.which(name)
        if found:
            return found
    places = [Path("/Applications/QGIS.app/Contents/MacOS/bin/qgis_process")]
    places += sorted(Path(os.environ.get("PROGRAMFILES", "C:/Program Files")).glob("QGIS*/bin/qgis_process*.bat"))
    return next((str(place) for place in places if place.exists()), None)


def environment(ask: str, scratch: Path) -> dict[str, str]:
    """Variables to run ``ask``, of `process_command`, with: its own Python, no windows, our profile.

    Parameters
    ----------
    ask : str
    scratch : Path
        An empty folder for as long as it runs: ``qgis_process`` knows the profile ``default``
        alone, so any other is lent to it there under that name.

    Raises
    ------
    OSError
        The profile cannot be lent: Windows lets few people make links.
    """
    found = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON") and k != "VIRTUAL_ENV"}
    found.setdefault("QT_QPA_PLATFORM", "offscreen")
    if os.name == "posix":
        # QGIS takes the modules of the first `python3` in the path: that of an active environment has no QGIS.
        found["PATH"] = os.pathsep.join([str(Path(ask).parent), os.defpath])
    if profile() != _settings() / "profiles" / "default":
        (scratch / "profiles").mkdir()
        (scratch / "profiles" / "default").symlink_to(profile(), target_is_directory=True)
        found["QGIS_CUSTOM_CONFIG_PATH"] = str(scratch)
    return found


def _starts_with(folder: Path) -> str:
    """The profile that QGIS's window opens with: the last one unless another was made the default."""
    parser = ConfigParser(interpolation=None)
    try:
        parser.read(folder / "profiles.ini", encoding="utf-8")
    except (Error, UnicodeDecodeError):
        return "default"
    settings = {key: parser.get("core", key, fallback="").strip('"') for key in ("selectionPolicy", "lastProfile")}
    if (
        settings["selectionPolicy"] in ("", "0")
        and settings["lastProfile"]
        and (folder / settings["lastProfile"]).is_dir()
    ):
        return settings["lastProfile"]
    return parser.get("core", "defaultProfile", fallback="default").strip('"')


def _settings() -> Path:
    """QGIS's folder of settings, as it finds it itself; the newest where there are several."""
    own = os.environ.get("QGIS_CUSTOM_CONFIG_PATH")
    if own:
        return Path(own)
    if sys.platform == "win32":
        base = Path(os.environ.get("APPDATA", Path.home() / "AppData" / "Roaming"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    newest = base / "QGIS" / "QGIS4"
    return newest if newest.is_dir() else base / "QGIS" / "QGIS3"
