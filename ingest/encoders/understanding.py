"""Judgement whether an encoder understands a text, by the lexicon of its checkpoint.

A dual encoder turns any text into a vector, and any vector has nearest films. Whether the words
mean something to it is not in the cosine. An encoder that brings a lexicon is asked; of others it
is not known, and then nothing is claimed.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

#: The file that a checkpoint may bring; ``ingest.training.lexicon`` writes it.
FILE = "lexicon.json"
#: The second has words that turn a finding around.
_FORMATS = (1, 2)
#: A text may hold one unknown word for every two known, well-spelt ones; a certain word counts as
#: two.
_CARRY = 2
_SHORTEST_MISSPELT = 5
_TWO_SLIPS = 9
_MOST_WORDS_NAMED = 4
#: At most this many words about something that it cannot tell are about that alone.
_BRIEF = 3
#: Beginnings that make a word its opposite: no slips.
_DENYING = ("un", "in", "non", "no", "a", "an", "ab", "de", "dis", "anti")


@dataclass(frozen=True, slots=True)
class Understanding:
    """Verdict on a text.

    Attributes:
        understood: None where the encoder brings no lexicon: then nobody knows.
        reason: one sentence when it is not understood, else None.
    """

    understood: bool | None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class _Lexicon:
    about: str
    kinds: dict[str, str]  # word -> kind
    certain: frozenset[str]  # words that are hardly used of anything else
    strangers: frozenset[str]  # words that are no misspelling of another


def understand(folder: Path, text: str) -> Understanding:
    """Judge a text by the words that a checkpoint knows.

    Args:
        folder: of the checkpoint.
        text: a query.
    """
    known = _lexicon(folder)
    if known is None:
        return Understanding(None)
    return _judge(known, text)


def brings_lexicon(folder: Path) -> bool:
    """Whether a checkpoint has words to judge a text by."""
    return _lexicon(folder) is not None


def _judge(known: _Lexicon, text: str) -> Understanding:
    words = _words(text)
    if not words:
        return Understanding(False, "the sentence has no words that the encoder can read")
    found: dict[str, list[str]] = {}
    exact = 0
    for word in dict.fromkeys(words):
        kind = known.kinds.get(word)
        if kind in ("findings", "states", "parts", "hints"):
            exact += _CARRY if word in known.certain else 1
        if kind is None and word not in known.strangers:
            kind = _misspelt(word, known.kinds)
        if kind is None or kind == "elsewhere":
            kind = "unknown"
        found.setdefault(kind, []).append(word)
    unknown = found.get("unknown", [])
    says = "findings" in found or "states" in found or ("hints" in found and "parts" in found)
    if len(unknown) * _CARRY > (exact if says else 0):
        return Understanding(
            False, f"the encoder does not know {_named(unknown)}; {_learned(known)}"
        )
    if "turning" in found:
        what = _named(found["turning"])
        return Understanding(
            False,
            f"the encoder never learned that {what} denies a finding, and may take the sentence "
            "for "
            "its opposite",
        )
    elsewhere = "others" in found and not {"findings", "parts"} & found.keys()
    if says and not (elsewhere and len(words) <= _BRIEF):
        return Understanding(True)
    if "others" in found:
        return Understanding(
            False, f"the encoder cannot tell {_named(found['others'])} on a film; {_learned(known)}"
        )
    return Understanding(
        False, f"the sentence names nothing that a film shows or lacks; {_learned(known)}"
    )


def _learned(known: _Lexicon) -> str:
    return f"it learned about {known.about} only"


def _named(words: list[str]) -> str:
    shown = [f"“{word}”" for word in words[:_MOST_WORDS_NAMED]]
    return " or ".join(shown) + (" and more" if len(words) > len(shown) else "")


def _words(text: str) -> list[str]:
    """Lower-case words without accents; numbers say nothing, other scripts are words."""
    plain = unicodedata.normalize("NFKD", text.lower())
    plain = "".join(letter for letter in plain if not unicodedata.combining(letter))
    return re.findall(r"[^\W\d_]+", plain)


def _misspelt(word: str, kinds: dict[str, str]) -> str | None:
    """Kind of the known word that this one is a slip of, if it is; of several, the telling one."""
    near = [known for known in kinds if _is_slip(word, known)]
    order = ("findings", "states", "parts", "hints", "others", "plain")
    # Not of "turning": too little is won by finding that "locking" may have been "lacking".
    return min((kinds[w] for w in near if kinds[w] in order), key=order.index, default=None)


def _is_slip(word: str, known: str) -> bool:
    if sorted(word) == sorted(known) and _swapped(word, known):
        return len(word) > 3
    if word.endswith(known) and word.removesuffix(known) in _DENYING:
        return False
    if len(known) < _SHORTEST_MISSPELT or len(word) < _SHORTEST_MISSPELT - 1:
        return False
    if word[0] != known[0] and len(known) < _TWO_SLIPS:
        return False
    allowed = 2 if len(known) >= _TWO_SLIPS else 1
    return abs(len(word) - len(known)) <= allowed and _distance(word, known) <= allowed


def _swapped(word: str, known: str) -> bool:
    """Whether two neighbouring letters changed places."""
    differ = [place for place, (a, b) in enumerate(zip(word, known, strict=True)) if a != b]
    return len(differ) == 2 and differ[1] == differ[0] + 1


def _distance(one: str, other: str) -> int:
    """Optimal string alignment: letters left out, added, changed or swapped."""
    before: list[int] = []
    above = list(range(len(other) + 1))
    for i, a in enumerate(one, start=1):
        row = [i]
        for j, b in enumerate(other, start=1):
            best = min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (a != b))
            if i > 1 and j > 1 and a == other[j - 2] and one[i - 2] == b:
                best = min(best, before[j - 2] + 1)
            row.append(best)
        before, above = above, row
    return above[-1]


def _lexicon(folder: Path) -> _Lexicon | None:
    path = folder / FILE
    try:
        stat = path.stat()
    except OSError:
        return None
    return _read(folder, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=8)
def _read(folder: Path, changed: int, size: int) -> _Lexicon | None:
    """The lexicon, unless it is damaged or belongs to another tokenizer."""
    try:
        found = json.loads((folder / FILE).read_text("utf-8"))
        tokenizer = (folder / "tokenizer.json").read_bytes()
        if found["format"] not in _FORMATS:
            return None
        if found["tokenizer_sha256"] != hashlib.sha256(tokenizer).hexdigest():
            return None
        kinds = {str(word): str(kind) for kind, words in found["words"].items() for word in words}
        certain, strangers = (
            frozenset(map(str, found.get(key, []))) for key in ("certain", "strangers")
        )
        return _Lexicon(str(found["about"]), kinds, certain, strangers)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
