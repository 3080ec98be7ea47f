"""Words that no caption holds, beside words of captions that mean much the same."""

from __future__ import annotations

from pathlib import Path

#: What is short for a word of captions; WordNet has none of it.
ABBREVIATIONS: dict[str, tuple[str, ...]] = {
    "w/o": ("without",),
    "-ve": ("negative",),
    "+ve": ("positive",),
}
#: word -> words of captions; ``ingest.thesaurus`` makes the file.
SYNONYMS: dict[str, tuple[str, ...]] = {
    word: tuple(near)
    for line in Path(__file__).with_name("synonyms.txt").read_text("utf-8").splitlines()
    if line and not line.startswith("#")
    for word, *near in [line.split()]
}
