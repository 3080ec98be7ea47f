"""Lexicon of the bundled encoder: the words that a query may be made of to be understood.

The captions that it learned from speak of two things, normal chest films and pneumonia. Around
their words stand those that a reader of such films uses for the same; every other word is unknown.
What the words mean to the encoder is its text tower's matter; here is only what it has grounds for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from ingest.training.captions import ENGLISH, SYNONYMS
from store import expanded

#: File beside a checkpoint's tokenizer.
FILE = "lexicon.json"
FORMAT = 2


def _read() -> dict[str, list[str]]:
    kinds: dict[str, list[str]] = {}
    words: list[str] = []
    for line in Path(__file__).with_name("lexicon.txt").read_text("utf-8").splitlines():
        if line.endswith(":"):
            kinds[line.removesuffix(":")] = words = []
        elif not line.startswith("#"):
            words += line.split()
    return kinds


_lists = _read()
#: What else is known of some words, of whatever kind.
CERTAIN, STRANGERS = _lists.pop("certain"), _lists.pop("strangers")
#: Kind of word -> words; lexicon.txt says what each kind is.
WORDS: Mapping[str, Sequence[str]] = _lists


def lexicon(tokenizer: bytes) -> dict[str, object]:
    """The content of ``lexicon.json``.

    Args:
        tokenizer: content of the checkpoint's tokenizer.json, which ties the two together.
    """
    kinds = {kind: sorted(set(words)) for kind, words in WORDS.items()}
    # Of a word that the tower has whole, and none taught it, a synonym told what it denies.
    entries = json.loads(tokenizer).get("added_tokens", [])
    told = set(kinds["turning"]) & SYNONYMS.keys() & {entry["content"] for entry in entries}
    kinds["turning"] = sorted(set(kinds["turning"]) - told)
    kinds["plain"] = sorted({*kinds["plain"], *told})
    known = {word for words in kinds.values() for word in words}
    return {
        "format": FORMAT,
        "tokenizer_sha256": hashlib.sha256(tokenizer).hexdigest(),
        "about": "normal chest films and pneumonia",
        "words": kinds,
        "certain": sorted(CERTAIN),
        "strangers": sorted({*STRANGERS, *ENGLISH} - known),
    }


def save_lexicon(folder: str | Path) -> Path:
    """Write the lexicon beside the tokenizer of a checkpoint that ``train`` made.

    It decides no vector, so the encoder's fingerprint stays what it is.

    Args:
        folder: holds tokenizer.json.
    """
    place = expanded(folder)
    found = lexicon((place / "tokenizer.json").read_bytes())
    path = place / FILE
    path.write_text(json.dumps(found, indent=0, ensure_ascii=False) + "\n", "utf-8")
    return path
