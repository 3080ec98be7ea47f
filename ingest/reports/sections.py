"""Sections of a report in plain text: ``FINDINGS:``, ``IMPRESSION:`` and whatever stands before."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ingest.reports.texts import clean, joined

#: A heading at the begin of a line, in capitals.
_HEADING = re.compile(r"^[ \t]*([A-Z][A-Z /,()&-]*[A-Z)])[ \t]*:", re.MULTILINE)
_TITLE = re.compile(r"\A\s*(?:FINAL REPORT|WET READ\b.*)\s*$", re.MULTILINE)
#: Sections that tell why and how a film was taken, not what it shows.
_BEFORE = re.compile(
    r"EXAM|INDICATION|HISTORY|TECHNIQUE|COMPARISON|REASON|CLINICAL|STUDY|REFERENCE|NOTIFICATION|"
    r"WET READ|FINAL REPORT|TYPE OF|PROCEDURE"
)
#: A line that begins an item of a list.
_ITEM = re.compile(r"\s*(?:\d+[.)]|[-*•])\s")


def sections(text: str) -> list[tuple[str, str]]:
    """Heading and text of every section; what stands before the first one has none.

    Lines of a paragraph are joined; paragraphs and items of lists stay lines of their own.
    """
    text = _TITLE.sub("", clean(text))
    begins = list(_HEADING.finditer(text))
    ends = [*(found.start() for found in begins), len(text)]
    found = [("", text[: ends[0]])]
    found += [(one[1], text[one.end() : end]) for one, end in zip(begins, ends[1:], strict=True)]
    return [(heading, _unwrapped(inside)) for heading, inside in found if inside.strip()]


def report_of(text: str, wanted: Sequence[str]) -> tuple[str | None, bool]:
    """Some sections of a report as one text.

    Args:
        text: of the whole report.
        wanted: their names, in the order wanted; one that occurs in a heading is meant by it, as
            impression by ``FINDINGS AND IMPRESSION``.

    Returns:
        The text, and whether one of the sections is there. Without any it is all but what stands
        before the findings (indication, technique, comparison); None of a report that is blank.
    """
    found = sections(text)
    taken: set[int] = set()
    parts: list[tuple[str, str]] = []
    for name in wanted:
        for at, (heading, inside) in enumerate(found):
            if at not in taken and name.upper() in heading:
                taken.add(at)
                parts.append((heading, inside))
    if parts:
        blank = [(name, "") for name in wanted[len(parts) :]]  # so that one alone keeps its heading
        return joined([*parts, *blank]), True
    rest = [(heading, inside) for heading, inside in found if not _BEFORE.search(heading)]
    text = "\n\n".join(
        f"{heading.capitalize()}: {inside}" if heading else inside
        for heading, inside in rest or found
    )
    return text or None, False


def _unwrapped(text: str) -> str:
    paragraphs: list[str] = []
    for block in re.split(r"\n\s*\n", text):
        lines: list[str] = []
        for line in block.split("\n"):
            if lines and not _ITEM.match(line):
                lines[-1] += f" {line.strip()}"
            else:
                lines.append(line.strip())
        paragraphs += [" ".join(line.split()) for line in lines if line.strip()]
    return "\n".join(paragraphs)
