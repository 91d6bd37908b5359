"""HTML for Jupyter: small tables of facts, which `_repr_html_` methods return."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape

__all__ = ["facts_table", "rows_table"]


def facts_table(title: str, facts: Mapping[str, object]) -> str:
    """Return a table with a row for each fact, under ``title``; empty facts are left out.

    Examples
    --------
    >>> facts_table("Plan", {"tiles": 4, "note": ""})
    '<table><caption>Plan</caption><tr><th>tiles</th><td>4</td></tr></table>'
    """
    rows = "".join(
        f"<tr><th>{escape(name)}</th><td>{escape(str(value))}</td></tr>"
        for name, value in facts.items()
        if value not in (None, "", (), [], {})
    )
    return f"<table><caption>{escape(title)}</caption>{rows}</table>"


def rows_table(title: str, names: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Return a table with columns of ``names``, under ``title``."""
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    body = "".join("<tr>" + "".join(f"<td>{escape(str(v))}</td>" for v in row) + "</tr>" for row in rows)
    return f"<table><caption>{escape(title)}</caption><tr>{head}</tr>{body}</table>"
