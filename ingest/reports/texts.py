"""Text of a report: several columns or sections as one, headings kept."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

#: Cells that hold no report, in small letters.
_BLANK = {"", "nan", "na", "n/a", "none", "null", "-"}
#: Characters that no text of a report needs: control characters but line feed and tab.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def clean(text: str) -> str:
    """A text with line feeds between lines, without control characters and space around it."""
    plain = text.replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n")
    return _CONTROL.sub("", plain).strip()


def heading_of(name: str) -> str:
    """A column or section as the heading of a part of a report: ``Findings``."""
    words = " ".join(re.findall(r"[^\W_]+", name))
    return (
        words[:1].upper() + words[1:].lower() if words.isupper() else words[:1].upper() + words[1:]
    )


def joined(parts: Iterable[tuple[str, str]]) -> str | None:
    """One report of several parts; None where all are blank.

    A part alone is the report as it stands. Of several each gets its heading, unless it begins with
    it, and they are paragraphs: ``Findings: Clear lungs.`` and ``Impression: Normal.`` A part that
    says the same as one before it is left out.

    Args:
        parts: name and text of each, in the order wanted.
    """
    asked = [(heading_of(name), clean(text)) for name, text in parts]
    told: dict[str, str] = {}
    for heading, text in asked:
        if text.casefold() not in _BLANK:
            told.setdefault(text, heading)
    if not told:
        return None
    if len(asked) == 1:
        return next(iter(told))
    return "\n\n".join(
        text
        if re.match(rf"{re.escape(heading)}\s*:", text, re.IGNORECASE)
        else f"{heading}: {text}"
        for text, heading in told.items()
    )


def of_studies(films: Iterable[Mapping[str, Any]]) -> dict[tuple[Any, Any], str]:
    """Reports of studies, for their films without one: those of studies whose films agree.

    Args:
        films: metadata of each film: ``report``, ``study``, ``patient``.

    Returns:
        (patient, study) to report.
    """
    found: dict[tuple[Any, Any], set[str]] = {}
    for film in films:
        if film.get("report") and film.get("study"):
            found.setdefault(study_of(film), set()).add(film["report"])
    return {study: next(iter(texts)) for study, texts in found.items() if len(texts) == 1}


def study_of(film: Mapping[str, Any]) -> tuple[Any, Any]:
    """The study of a film; names of studies may occur again with other patients."""
    return film.get("patient"), film.get("study")
