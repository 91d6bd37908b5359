"""Check calls from Python before anything is opened: names of keywords, and paths."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from functools import wraps
from os import PathLike, fspath
from typing import Any, TypeVar, cast

from swin2sr_ops.errors import RequestError

__all__ = ["check_keywords", "keywords_of", "path_of", "suggest_keywords", "with_article"]

#: Words of other libraries, and ours.
_SYNONYMS = {"depth": "halo", "overlap": "halo"}

_Function = TypeVar("_Function", bound=Callable[..., Any])


def with_article(value: object) -> str:
    """Return the name of a value's type with its article.

    Examples
    --------
    >>> with_article([]), with_article(1)
    ('a list', 'an int')
    """
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' or name == 'ndarray' else 'a'} {name}"


def path_of(given: str | PathLike[str], name: str, otherwise: str = "") -> str:
    """Return the text of a path or URL.

    Parameters
    ----------
    given : str or path-like
    name : str
        The keyword, for the message.
    otherwise : str
        Second sentence of the message: what to call instead.

    Raises
    ------
    RequestError
        It is something else, such as an array.
    """
    if not isinstance(given, (str, PathLike)):
        raise RequestError(f"{name} is {with_article(given)}: give a path or a URL. {otherwise}".rstrip())
    if not fspath(given):  # an unset variable of a shell, which must not mean the working folder
        raise RequestError(f"{name} is an empty text: give a path or a URL. A dot is the working folder.")
    return fspath(given)


def check_keywords(function: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Reject a keyword that ``function`` does not have, with the nearest one that it has.

    Raises
    ------
    RequestError
    """
    names = list(known)
    for name in given:
        if name not in names:
            near = get_close_matches(_SYNONYMS.get(name, name), names, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names)}."
            raise RequestError(f"{name!r} is not a keyword of {function}: {hint}")


def keywords_of(function: Callable[..., Any]) -> list[str]:
    """List the parameters of ``function`` that a call may name.

    Examples
    --------
    >>> keywords_of(path_of)
    ['given', 'name', 'otherwise']
    """
    named = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
    found = inspect.signature(function).parameters.items()
    return [name for name, one in found if name != "self" and one.kind in named]


def suggest_keywords(function: _Function) -> _Function:
    """Decorate a public function so that `check_keywords` sees its calls.

    Python itself suggests a keyword only from version 3.13 on.
    """
    known = keywords_of(function)
    shown = function.__qualname__.removesuffix(".__init__")

    @wraps(function)
    def checked(*values: Any, **keywords: Any) -> Any:
        check_keywords(shown, keywords, known)
        return function(*values, **keywords)

    return cast(_Function, checked)
