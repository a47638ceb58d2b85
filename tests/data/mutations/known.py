"""Faults of the readers that are known and still open; each goes when it is mended.

A test holds each entry's case to failing still, so that no entry outlives its fault.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Known:
    """An open fault.

    Attributes:
        formats: regular expression of the formats that have it.
        why: regular expression of what is told of its outcomes.
        wanted: what the reader should do.
        case: the smallest one known.
    """

    formats: str
    why: str
    wanted: str
    case: str


OPEN = (
    Known(
        r"complete-journey",
        r"parquet is damaged \(|zero_copy_only|Catalog\.price|no attribute 'dictionary'|overflow"
        r"|Column 'time', row|holds no purchase|missing or stands twice|differs from that"
        r"|weeks must lie|OverflowError",
        "An error names the file, the column and the row.",
        "complete-journey:cell-word:830015",
    ),
    Known(
        r"complete-journey",
        r"read although: (transactions|products|promotions)\.parquet .*(is no whole number|is no "
        r"number|no time|is no who)",
        "Hexadecimal text, dates, spans of time and floats from 2**53 on are no whole numbers.",
        "complete-journey:column-hexadecimal:529878",
    ),
    Known(
        r"amazon|recbole|mind|lastfm-1k|open-bandit",
        r"are one\b|: is blank|the price of \S+ is 0\.0|the text of .*without|no line.*not in",
        "Ids of text are stripped of outer blanks, or refused; one of blanks is none.",
        "recbole:id-with-spaces:60403",
    ),
    Known(
        r"amazon-ratings|open-bandit",
        r"more: \[\('.*\".*a quote",
        "An id in quotes, in a file that is never quoted, is refused or the id without them.",
        "amazon-ratings:quoted:928102",
    ),
    Known(
        r"lastfm-1k",
        r"more: \[\('user_\d+', ''|no event",
        "An artist of blanks has no name.",
        "lastfm-1k:blank:585585",
    ),
    Known(
        r"lastfm-1k",
        r"were left out or doubtful.*line of blanks|line of blanks",
        "A line of blanks that is left out is counted.",
        "lastfm-1k:spaces-line-inside+numbered-event-all+missing-cell:71741",
    ),
    Known(
        r"amazon-reviews|lastfm-hetrec",
        r"were left out or doubtful.* twice",
        "An item that stands in its file twice with other words is refused or noted.",
        "lastfm-hetrec:doubled-item-row:591646",
    ),
    Known(
        r"",
        r"names no file or column: SchemaError: No event was read",
        "Files without an event are named.",
        "kuairand:no-rows:113744",
    ),
    Known(
        r"movielens-100k",
        r"of the ratings: film|Item table, row",
        "Both files are named.",
        "movielens-100k:doubled-item-row:282634",
    ),
    Known(
        r"kuairec|movielens|recbole",
        r"RuntimeWarning: invalid value encountered in remainder \(from times",
        "A time that is not finite is refused with its line.",
        "kuairec:infinite:725318",
    ),
    Known(r"mind", r"'now' is no time", "`now` is no time.", "mind:now:731319"),
    Known(
        r"",
        r"no remedy: SchemaError: The log '[^']*' has no click",
        "The error says what to do about a log without a click.",
        "open-bandit:zero-all:237461",
    ),
    Known(
        r"",
        r"no line or a wrong one: SchemaError: .* holds zero bytes",
        "The line of a zero byte is told.",
        "movielens-100k:nul-inserted:393810",
    ),
    Known(
        r"table",
        r"FileNotFoundError: There is no (event|item) table",
        "A missing file is a DataNotFoundError, which is a RecenvError too.",
        "table-csv:missing-file:996738",
    ),
    Known(
        r"table",
        r"a (datetime|date|Timestamp) is no name",
        "Dates are no ids, as periods and spans of time are none.",
        "table-frame:column-date:52005",
    ),
    Known(
        r"table-csv",
        r"field larger than field limit",
        "A long text is read.",
        "table-csv:very-long:577758",
    ),
    Known(
        r"table",
        r"Pandas4Warning|complex128|RuntimeWarning: overflow",
        "Mixed times, complex numbers and prices beyond 32 bits are refused with column and row.",
        "table-frame:cell-complex:199978",
    ),
)


def known(case: str, why: str) -> Known | None:
    """The open fault that an outcome shows, if it is one."""
    name = case.split(":", 1)[0]
    for fault in OPEN:
        if re.match(fault.formats, name) and re.search(fault.why, why):
            return fault
    return None
