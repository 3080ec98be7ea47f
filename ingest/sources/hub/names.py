"""Names of files: their natural order, the split that they tell, ids of the rows in them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from ingest.metadata import split
from ingest.sources.source import SPLITS

#: Of one file of several, as `datasets` and the hub name them: ``train-00000-of-00002``.
_SHARD = re.compile(r"(.+)-(\d+)-of-(\d+)")


def natural(text: str) -> list[tuple[int, str]]:
    """Sort key by which 2 comes before 10; compares digits as text, so of any length."""
    parts = re.split(r"(\d+)", text)
    keys = [(0, part) for part in parts]
    for place in range(1, len(parts), 2):
        digits = parts[place].lstrip("0")
        keys[place] = (len(digits), digits)
    return [*keys, (0, text)]


def split_in(*names: str) -> str | None:
    """The split that names tell, the first that tells one: ``train-00000-of-00002`` and so on."""
    for name in names:
        words = {split(word) for word in re.split(r"[^a-z]+", name.casefold())} & {*SPLITS}
        if len(words) == 1:
            return words.pop()
    return None


def made_ids(files: Sequence[tuple[str, int]]) -> Iterable[list[str]]:
    """Ids of rows without one, ``<name of the file>/<row>``, file by file.

    Files of a whole series (``train-00000-of-00002`` and its like) are one, ``train``, whose rows
    are counted through: ids stay when a file is added, which changes the names of all.

    Args:
        files: name and number of rows of each, in their order.
    """
    shards = [_SHARD.fullmatch(name) for name, _ in files]
    series: dict[tuple[str, int], list[int]] = {}
    for found in filter(None, shards):
        series.setdefault((found[1], int(found[3])), []).append(int(found[2]))
    rows: Counter[str] = Counter()
    for (name, count), shard in zip(files, shards, strict=True):
        called, first = name, 0
        if shard and sorted(series[shard[1], int(shard[3])]) == [*range(int(shard[3]))]:
            called = shard[1]
            first = rows[called]
            rows[called] += count
        yield [f"{called}/{first + row}" for row in range(count)]
