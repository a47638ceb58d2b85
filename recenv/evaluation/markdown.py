"""Markdown tables of reports."""

from __future__ import annotations

from collections.abc import Sequence


def table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table: first column left, the others right."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    rows = [header, rule, *lines]
    return "\n".join("| " + " | ".join(cell.replace("|", "/") for cell in r) + " |" for r in rows)
