"""Parser of cells that are lists in text, as pandas, numpy and JSON write them.

``['normal']``, ``['pleural effusion', ' cardiomegaly ']``, ``["a", "b"]``, ``['a' 'b']``,
``array(['a'], dtype=object)``, ``('a', 'b')``. A cell is taken apart, never evaluated.
"""

from __future__ import annotations

import ast
import json
import re
from typing import Any

#: Longer cells are no list of findings.
MAX_CHARS = 20_000
_ARRAY = re.compile(r"(?:np\.|numpy\.)?array\(\s*(\[.*\])\s*(?:,\s*dtype=[^)]*)?\)", re.DOTALL)
_WRAPPED = re.compile(r"np\.str_\((\'[^\']*\'|\"[^\"]*\")\)")
# A quote ends an item only before a comma, a bracket, the end, or (numpy) another quote: so that
# apostrophes inside names stay.
_ITEM = re.compile(
    r"""\s*(?:
    (?P<quote>['"])(?P<quoted>(?:\\.|[^\\])*?)(?P=quote)(?=\s*(?:[,;|\[\]]|$)|\s+['"])
    |(?P<bare>[^,;|'"\[\]\s][^,;|\[\]]*)
    |[,;|\[\]]
    |$)""",
    re.DOTALL | re.VERBOSE,
)
_NUMBERS = re.compile(r"[-+0-9.]+(?:\s+[-+0-9.]+)+\.?")


def items(cell: str) -> tuple[str, ...] | None:
    """The items of a list in text, each stripped; None when the cell is no list.

    Lists inside lists are one list. Items that say nothing (``nan``, an empty text) are kept: the
    caller knows what is blank.

    Raises:
        ValueError: it begins as a list does and cannot be read as one, or is too long.
    """
    text = _unwrapped(cell.strip())
    if text is None:
        return None
    if len(text) > MAX_CHARS:
        raise ValueError(f"a list of {len(text):,} characters; at most {MAX_CHARS:,} are read")
    try:
        return tuple(_flat(json.loads(text)))
    except (ValueError, RecursionError):
        pass  # not JSON: single quotes, bare words, no commas
    return _taken_apart(_WRAPPED.sub(r"\1", text)[1:-1], cell)


def _unwrapped(text: str) -> str | None:
    """The list without what is around it; None when there is none."""
    if text[:1] in ("'", '"') and text[-1:] == text[:1] and text[1:].lstrip()[:1] == "[":
        try:
            inner = json.loads(text)  # a JSON text that holds a list, its quotes escaped
        except (ValueError, RecursionError):
            inner = text[1:-1]
        text = str(inner).strip()
    array = _ARRAY.fullmatch(text)
    if array is not None:
        text = array[1]
    first = text[1:].lstrip()[:1]
    if text.startswith("["):
        if text.endswith("]"):
            return text
        if first in ("'", '"') or "]" not in text:
            raise ValueError(f"{_short(text)} begins as a list and does not end as one")
    elif (text[:1], text[-1:]) in (("(", ")"), ("{", "}")) and first in ("'", '"'):
        if text[0] == "{" and re.match(r"\{\s*(['\"])[^'\"]*\1\s*:", text):
            return None  # names with values, no list
        return f"[{text[1:-1]}]"
    return None


def _flat(value: Any) -> list[str]:
    if isinstance(value, list):
        return [one for item in value for one in _flat(item)]
    if isinstance(value, dict):
        raise ValueError("names with values")
    return ["" if value is None else str(value).strip()]


def _taken_apart(inside: str, cell: str) -> tuple[str, ...]:
    found: list[str] = []
    place = 0
    while place < len(inside):
        item = _ITEM.match(inside, place)
        if item is None:
            raise ValueError(f"{_short(cell)} begins as a list and cannot be read as one")
        place = item.end()
        if item["quote"]:
            found.append(_unescaped(item["quoted"], item["quote"]).strip())
        elif item["bare"]:
            bare = item["bare"].strip()
            found += bare.split() if _NUMBERS.fullmatch(bare) else [bare]
    return tuple(found)


def _unescaped(text: str, quote: str) -> str:
    if "\\" not in text:
        return text
    try:
        return str(ast.literal_eval(f"{quote}{text}{quote}"))  # one quoted text, nothing else
    except (ValueError, SyntaxError):
        return text


def _short(cell: str) -> str:
    return repr(cell if len(cell) <= 40 else cell[:40] + "…")
