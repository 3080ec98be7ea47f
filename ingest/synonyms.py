"""Words that no caption holds, beside words of captions that mean much the same."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

#: word -> words of captions; ``ingest.thesaurus`` makes the file.
SYNONYMS: Mapping[str, tuple[str, ...]] = {
    word: tuple(near)
    for line in Path(__file__).with_name("synonyms.txt").read_text("utf-8").splitlines()
    if line and not line.startswith("#")
    for word, *near in [line.split()]
}
