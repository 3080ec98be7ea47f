"""Query of a DICOMweb service: its keywords and values, checked before anybody is asked.

A service ignores a keyword that it does not know and answers as if it had not been there, so a
misspelt one would bring everything: keywords are looked up in the data dictionary here, and hits
are held against the query.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any
from urllib.parse import unquote

from ingest.sources.dicomweb.address import UID
from store import BadSource, UsageError

#: Parameters of the protocol itself, which paging is made with.
_OURS = ("limit", "offset", "includefield", "fuzzymatching")
_DATE = re.compile(r"[0-9]{8}")
_NUMBERS = ("IS", "DS", "US", "SS", "UL", "SL", "FL", "FD")
_EXAMPLE = "'Modality=CR&StudyDate=20240101-'"


def parse_query(text: str) -> dict[str, str]:
    """Keywords and values of ``Modality=CR&StudyDate=20240101-``.

    Args:
        text: conditions that all hold, joined by ``&``; keys are DICOM keywords or tags such as
            ``00080060``. ``*`` and ``?`` stand for any characters, ``A-B`` is a range of dates, and
            a comma stands between UIDs.

    Raises:
        UsageError: a keyword that is not in DICOM's dictionary, or one that chooses whole studies;
            a value that its kind cannot have; nothing.
    """
    from pydicom.datadict import dictionary_keyword, dictionary_VR, tag_for_keyword

    found: dict[str, str] = {}
    for one in text.strip().lstrip("?").split("&"):
        key, equals, value = (unquote(part).strip() for part in one.partition("="))
        if not one.strip():
            continue
        if not equals or not key or not value:
            raise UsageError(f"--query: {one!r} is no KEYWORD=VALUE, such as {_EXAMPLE}")
        if key.lower() in _OURS:
            raise UsageError(f"--query: {key} is left to cxr, which asks for page after page")
        tag = int(key, 16) if re.fullmatch(r"[0-9A-Fa-f]{8}", key) else tag_for_keyword(key)
        try:
            if tag is None:
                raise KeyError(key)
            keyword, kind = dictionary_keyword(tag), dictionary_VR(tag).partition(" or ")[0]
        except KeyError:
            raise UsageError(_unknown(key)) from None
        if keyword == "ModalitiesInStudy":
            raise UsageError(
                "--query: ModalitiesInStudy chooses whole studies with all that is in them, and "
                f"some servers lose pages over it; choose films: Modality={value}"
            )
        if keyword in found:
            raise UsageError(f"--query names {keyword} twice; give it once")
        _check_value(keyword, kind, value)
        found[keyword] = value
    if not found:
        raise UsageError(
            f"--query says which films to fetch, such as {_EXAMPLE}; without it, all that the "
            "server has would be"
        )
    return found


def _unknown(key: str) -> str:
    from pydicom.datadict import keyword_dict

    near = get_close_matches(key, keyword_dict, 1, 0.7)
    meant = f"; did you mean {near[0]}?" if near else ""
    return (
        f"--query: {key!r} is no keyword of DICOM's dictionary, and a server would ignore it{meant}"
    )


def _check_value(keyword: str, kind: str, value: str) -> None:
    expected = ""
    if kind == "DA":
        ends = value.split("-")
        good = len(ends) <= 2 and any(ends) and all(not e or _DATE.fullmatch(e) for e in ends)
        expected = "" if good else "a date such as 20240131, or a range: 20240101-20241231"
    elif kind == "UI":
        good = all(UID.fullmatch(one) for one in re.split(r"[,\\]", value))
        expected = "" if good else "a UID, or several with commas between"
    elif kind == "CS" and value != value.upper():
        expected = f"capitals: {value.upper()}"
    elif kind in _NUMBERS and not re.fullmatch(r"[-+.0-9eE\\,]+", value):
        expected = "a number"
    elif kind == "SQ":
        expected = "another keyword; this one holds others"
    if expected:
        raise UsageError(f"--query: {keyword}={value}: expected {expected}")


def check_hit(hit: Mapping[str, Any], query: Mapping[str, str], host: str) -> None:
    """Refuse a hit that the query rules out: then the server ignores a part of it.

    Args:
        hit: one result, DICOM JSON.
        query: see parse_query.
        host: for messages.

    Raises:
        BadSource: a date, code or UID that the hit tells is none of those asked for.
    """
    from pydicom.datadict import dictionary_VR, tag_for_keyword

    for keyword, wanted in query.items():
        tag = tag_for_keyword(keyword)
        assert tag is not None  # parse_query looked it up
        kind = dictionary_VR(tag).partition(" or ")[0]
        told = values_of(hit, f"{tag:08X}")
        if not told or kind not in ("DA", "CS", "UI"):
            continue
        if not any(_fits(kind, wanted, one) for one in told):
            raise BadSource(
                f"{host} answers with films of {keyword} {told[0]!r:.80} when asked for "
                f"{keyword}={wanted}: it ignores that part of the query; leave it out, or ask "
                "for another keyword"
            )


def _fits(kind: str, wanted: str, told: str) -> bool:
    if kind == "DA":
        low, dash, high = wanted.partition("-")
        return told == wanted if not dash else (low or told) <= told <= (high or told)
    choices = re.split(r"[,\\]", wanted)
    patterns = (re.escape(one).replace(r"\*", ".*").replace(r"\?", ".") for one in choices)
    return any(re.fullmatch(one, told, re.IGNORECASE) for one in patterns)


def values_of(hit: Mapping[str, Any], tag: str) -> list[str]:
    """Values of an element in DICOM JSON, as text; none where it is not there."""
    element = hit.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    if not isinstance(values, list):
        return []
    return [str(one) for one in values if isinstance(one, str | int | float)]
