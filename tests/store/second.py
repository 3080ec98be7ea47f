"""A second process on the same store, told what to do by lines on stdin.

Run as ``python -m tests.store.second URI``; answers one JSON line per line.
"""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from store import Gallery, StoreUnreachable
from tests.store.rows import make_rows, random_vectors


def rows_of(names: list[str], seed: int) -> list[Any]:
    """Rows with these ids whose vectors and digests depend on the seed."""
    from dataclasses import replace

    vectors = random_vectors(len(names), seed)
    made = make_rows(vectors, [(f"seed {seed}",)] * len(names), batch=f"b{seed}")
    return [replace(row, id=name) for row, name in zip(made, names, strict=True)]


def answer(gallery: Gallery, seed: int, k: int) -> list[list[Any]]:
    """Ids and scores of a search, as plain lists."""
    hits = gallery.search(random_vectors(1, seed), k)[0]
    return [[hit.row.id, hit.score, list(hit.row.labels)] for hit in hits]


class Second:
    """The other process, seen from here."""

    def __init__(self, uri: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.store.second", uri],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parent.parent.parent,
        )

    def ask(self, *command: Any) -> Any:
        self.send(*command)
        return self.receive()

    def send(self, *command: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()

    def receive(self) -> Any:
        """The answer; None when the object store refused."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the second process died"
        return json.loads(line)

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=120)


def main() -> None:
    gallery = Gallery.open(sys.argv[1])
    for line in sys.stdin:
        what, *given = json.loads(line)
        found: Any = None
        if what == "open":
            gallery = Gallery.open(given[0])
        elif what == "upsert":
            with suppress(StoreUnreachable):
                report = gallery.upsert(rows_of(*given))
                found = [report.inserted, report.updated, report.unchanged]
        elif what == "delete":
            found = gallery.delete(ids=given[0])
        elif what == "optimize":
            gallery.optimize()
        elif what == "look":
            gallery.refresh()
            found = [len(gallery), answer(gallery, *given) if len(gallery) else []]
        sys.stdout.write(json.dumps(found) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
