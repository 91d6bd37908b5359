"""Parse arguments: the parser's class and the types of options. Only argparse is loaded."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any, NoReturn

from swin2sr_ops.errors import RequestError

__all__ = ["Parser", "halo", "number", "size", "tile", "whole", "workers"]


class Parser(argparse.ArgumentParser):
    """Report errors like all other commands: in one sentence, without the usage.

    Options may stand between sources and output, which argparse alone does not allow. Options cannot be abbreviated:
    in a later version, an abbreviation might stand for another option.
    """

    _mixing = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        usual: dict[str, Any] = {"allow_abbrev": False, "formatter_class": argparse.RawDescriptionHelpFormatter}
        super().__init__(*args, **(usual | kwargs))

    def error(self, message: str) -> NoReturn:
        command = re.match(r"argument COMMAND: invalid choice: '([^']*)'", message)
        if command and self._subparsers is not None:
            (known,) = (a.choices for a in self._subparsers._group_actions if a.choices)
            self._unknown("command", command[1], list(known))
        # argparse does not list SRC as missing, since --list can replace it.
        message = message.replace("are required: DST", "are required: SRC, DST")
        raise RequestError(f"{message}. `{self.prog} --help` says more.")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if self._subparsers is not None or self._mixing:
            return super().parse_known_args(args, namespace)
        self._mixing = True  # argparse's method for it calls this one twice
        try:
            found, rest = self.parse_known_intermixed_args(args, namespace)
        finally:
            self._mixing = False
        for word in rest:
            if word.startswith("-"):
                self._unknown("option", word.partition("=")[0], list(self._option_string_actions))
        return found, rest

    def _unknown(self, kind: str, name: str, known: Sequence[str]) -> NoReturn:
        close = get_close_matches(name, known, n=1)
        meant = f"; did you mean {close[0]}?" if close else "."
        raise RequestError(f"There is no {kind} {name}{meant} `{self.prog} --help` lists all.")


def size(text: str) -> int:
    """Parse a number of bytes such as ``20GB`` or ``512 MiB``."""
    found = re.fullmatch(r"(\d+(?:\.\d*)?)\s*([kMGT]?)(i?)B?", text.strip(), re.IGNORECASE)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size: give bytes, or a number with a unit, such as 20GB")
    number, unit, binary = found.groups()
    return int(float(number) * (1024 if binary else 1000) ** " KMGT".index(unit.upper() or " "))


def whole(text: str) -> int:
    """Parse a whole number."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None


def number(text: str) -> float:
    """Parse a number."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None


def workers(text: str) -> int | str:
    """Parse a number of processes, or ``gpus``."""
    try:
        return text if text == "gpus" else int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither gpus nor a number of processes such as 4") from None


def halo(text: str) -> int | str:
    """Parse a number of pixels, or ``exact``."""
    try:
        return text if text == "exact" else int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither exact nor a number of pixels such as 16") from None


def tile(text: str) -> int | tuple[int, int]:
    """Parse one side of a tile, or rows and columns."""
    try:
        sides = [int(part) for part in text.split(",")]
    except ValueError:
        sides = []
    if len(sides) not in (1, 2):
        raise argparse.ArgumentTypeError(f"{text!r} is neither N nor ROWS,COLUMNS, such as 512 or 256,1024")
    return sides[0] if len(sides) == 1 else (sides[0], sides[1])
