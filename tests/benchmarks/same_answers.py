"""The answers of this build beside those of an earlier one: same command lines, same gallery.

``python -m tests.benchmarks.same_answers --peer FOLDER``; FOLDER is a checkout of that build, which
makes the gallery (``--source medmnist:pneumoniamnist`` instead of the synthetic cohort). Each build
then works on its own copy, one process a command. Compared are exit codes, both streams, JSON
documents key by key, and written files byte by byte; times and places are masked. A key that only
this build prints is named and passes. Exits with 1 when an answer differs.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

_RUN = "from ui.cli import main; main()"
_ROOT = Path(__file__).parents[2]
#: What is never the same twice, and what stands for it.
_MASKS = (
    (r"\d{4}-\d\d-\d\dT\d\d[:_-]?\d\d[:_-]?\d\d(\.\d+)?Z?", "TIME"),
    (r"\b[\d,.]+ (images/s|s\b|minutes)", r"N \1"),
    (r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b|\b[0-9a-f]{32}\b", "UUID"),
    (r"recall@10 [\d.]+", "recall@10 N"),
    (r"ingest: .*\n", ""),
    (r"-[0-9a-f]{8}\.csv", "-UUID.csv"),
    (r"bytes +[\d,]+( -> [\d,]+)?", "bytes N"),
)
_UNSTEADY = {"seconds", "images_per_second", "bytes", "recall_at_10", "probes"}


@dataclass(frozen=True, slots=True)
class Line:
    """One command line: exit code, streams and the files it writes are compared.

    Attributes:
        text: after ``cxr``; ``{id}`` and ``{other}`` are ids of stored films.
        files: files or folders that it writes.
        reworded: why only the exit code and stdout are compared, where stderr was changed on
            purpose.
    """

    text: str
    files: tuple[str, ...] = ()
    reworded: str = ""


_PARSED = "what does not parse is one line"
LINES = (
    Line("stats --store gallery"),
    Line("stats --store gallery --json"),
    Line("check --store gallery --json"),
    Line("search --store gallery --id {id} -k 5"),
    Line("search --store gallery --id {id} -k 5 --json"),
    Line("search --store gallery --id {id} -k 3 --page 2 --where split=test --json"),
    Line("search --store gallery --id {id} --like {other} --unlike {third} --json"),
    Line("search --store gallery --like {other} --weights 1,1,0 --json"),
    Line("search --store gallery --text 'clear lungs' --figure text.png", ("text.png",)),
    Line("search --store gallery --text 'fractured femur' --where label=normal --json"),
    Line("search --store gallery --image query.png"),
    Line("search --store gallery --image query.png --json --figure image.png", ("image.png",)),
    Line("search --store gallery --id {id} -k 20 --where split=nowhere"),
    Line("evaluate --store gallery"),
    Line("evaluate --store gallery --json"),
    Line("evaluate --store gallery --protocol leave-one-out --split all --no-map --k 1,5 --json"),
    Line("evaluate --store gallery --prompts bundled"),
    Line("evaluate --store gallery --prompts prompts.csv --json"),
    Line("audit --store gallery --quiet"),
    Line("audit --store gallery --csv lists --compare vectors --json --quiet", ("lists",)),
    Line("map --store gallery --quiet"),
    Line("map --store gallery --json --quiet"),
    Line("export artefacts --store gallery", ("artefacts",)),
    Line("export artefacts --store gallery --json --k 1,1000 --quiet", ("artefacts",)),
    Line("import artefacts --store imported --json"),
    Line("import artefacts --store imported"),
    Line("compare imported --store gallery --quiet"),
    Line("compare imported --store gallery --k 1,3 --json --quiet"),
    Line("ingest folder films --store gallery --batch own --labels labels.csv --columns age,ward"),
    Line("ingest folder films --store gallery --batch own --labels labels.csv --columns age,ward"),
    Line("ingest folder films --store gallery --prune --label-from-folder --json"),
    Line("ingest embeddings artefacts --store imported --json"),
    Line("search --store gallery --id {id} --where age=40..60 --where ward=A --json"),
    Line("batches --store gallery"),
    Line("batches --store gallery --json"),
    Line("batches --store gallery --undo own --json"),
    Line("batches --store gallery --undo own --yes"),
    Line("delete --store gallery --where split=val --dry-run"),
    Line("delete --store gallery --id {other} --yes --json"),
    Line("index build --store gallery --quiet"),
    Line("index show --store gallery --json"),
    Line("search --store gallery --id {id} --index lance"),
    Line("index drop --store gallery"),
    Line("optimize --store gallery"),
    Line("encoders"),
    Line("encoders --json"),
    Line("search --store gallery"),
    Line("search --store gallery --id nobody"),
    Line("search --store gallery --id {id} -k 0"),
    Line("search --store gallery --id {id} -k 2.5", reworded=_PARSED),
    Line("search --store gallery --id {id} --page 0"),
    Line("search --store gallery --id {id} --where colour=red"),
    Line("search --store gallery --id {id} --nonsense", reworded=_PARSED),
    Line("search --store nowhere --id {id}"),
    Line("search --store gallery --image labels.csv"),
    Line("search --store gallery --id {id} --figure no/such/folder.png"),
    Line("audit --store gallery --compare colours"),
    Line("evaluate --store gallery --protocol neither"),
    Line("evaluate --store gallery --prompts none.csv"),
    Line("evaluate --store gallery --k one"),
    Line("ingest folder nowhere --store gallery"),
    Line("ingest nonsense --store gallery"),
    Line("ingest folder films --store gallery --yes"),
    Line("ingest folder films --store gallery --workers 2"),
    Line("ingest embeddings artefacts --store imported --labels labels.csv"),
    Line("ingest folder films --store gallery --nice 40", reworded=_PARSED),
    Line("import films --store imported"),
    Line("export labels.csv --store gallery"),
    Line("map --store gallery --method nonsense"),
    Line("batches --store gallery --undo nobody"),
    Line("nonsense", reworded=_PARSED),
    Line("--version"),
)


@dataclass(frozen=True, slots=True)
class Answer:
    """Exit code, streams with times and places masked, and written files by relative path."""

    code: int
    out: str
    err: str
    files: dict[str, bytes]


@dataclass(frozen=True, slots=True)
class Build:
    """A checkout and the folder that its command lines run in."""

    root: Path
    place: Path

    def run(self, arguments: list[str]) -> subprocess.CompletedProcess[str]:
        """One command in a process of its own; nothing is kept outside the folder."""
        homes = {f"XDG_{name}_HOME": str(self.place / name) for name in ("CACHE", "DATA", "STATE")}
        return subprocess.run(
            [sys.executable, "-c", _RUN, *arguments],
            env={**os.environ, **homes, "PYTHONPATH": str(self.root), "COLUMNS": "100"},
            cwd=self.place,
            capture_output=True,
            text=True,
        )

    def answer(self, line: Line, ids: dict[str, str]) -> Answer:
        """One command line's answer."""
        done = self.run(shlex.split(line.text.format(**ids)))
        files = {
            str(path.relative_to(self.place)): path.read_bytes()
            for name in line.files
            for path in sorted([self.place / name, *(self.place / name).rglob("*")])
            if path.is_file()
        }
        return Answer(done.returncode, self._masked(done.stdout), self._masked(done.stderr), files)

    def _masked(self, text: str) -> str:
        text = text.replace(str(self.place), "PLACE")
        for pattern, stand_in in _MASKS:
            text = re.sub(pattern, stand_in, text)
        return text


def inputs(place: Path) -> None:
    """Films with a table, a file that is no image, a query and sentences."""
    random = np.random.default_rng(0)
    rows = ["file,finding,age,ward"]
    for number in range(12):
        label = ("normal", "pneumonia")[number % 2]
        path = place / "films" / label / f"film{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 120, (64, 64)).astype(np.uint8)
        pixels[20 + number : 40, 10:50] += 100
        Image.fromarray(pixels).save(path)
        rows.append(f"{path.relative_to(place / 'films')},{label},{40 + number},{'AB'[number % 2]}")
    Image.fromarray(pixels.T.copy()).save(place / "query.png")
    (place / "films" / "normal" / "broken.png").write_bytes(b"no image")
    (place / "labels.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (place / "prompts.csv").write_text(
        "text,label,held_out\nclear lungs,normal,yes\nconsolidation,pneumonia,no\n", "utf-8"
    )


def changes(old: Any, new: Any, at: str = "") -> Iterator[tuple[str, bool]]:
    """Where two JSON documents differ, and whether that is a difference in an answer."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in {**old, **new}:
            if key not in old:
                yield f"{at}/{key} is new", False
            elif key not in new:
                yield f"{at}/{key} is lost", True
            elif key not in _UNSTEADY:
                yield from changes(old[key], new[key], f"{at}/{key}")
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for place, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from changes(one, other, f"{at}/{place}")
    elif old != new:
        yield f"{at}: {old!r:.120} -> {new!r:.120}", True


def differences(line: Line, old: Answer, new: Answer) -> Iterator[tuple[str, bool]]:
    """What differs between two answers, and whether it counts."""
    if old.code != new.code:
        yield f"exit code {old.code} -> {new.code}: {new.err.strip()[-300:]}", True
    try:
        yield from changes(json.loads(old.out), json.loads(new.out))
    except ValueError:
        yield from _texts("stdout", old.out, new.out)
    if not line.reworded:
        yield from _texts("stderr", old.err, new.err)
    for name in sorted({*old.files, *new.files}):
        before, after = old.files.get(name), new.files.get(name)
        if before != after and name.endswith(".json") and before and after:
            yield from changes(json.loads(before), json.loads(after), name)
        elif before != after:
            yield f"{name}: {len(before or b''):,} -> {len(after or b''):,} bytes", True


def _texts(stream: str, old: str, new: str) -> Iterator[tuple[str, bool]]:
    if old != new:
        before, after = old.splitlines(), new.splitlines()
        lost = [line for line in before if line not in after]
        came = [line for line in after if line not in before]
        yield f"{stream}: {lost[:3]} -> {came[:3]}", True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", type=Path, required=True, help="a checkout of the earlier build")
    parser.add_argument("--source", default="synthetic", help="of the gallery")
    parser.add_argument("--only", default="", help="command lines that match this pattern")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        peer = Build(options.peer.resolve(), Path(folder) / "peer")
        ours = Build(_ROOT, Path(folder) / "ours")
        peer.place.mkdir()
        inputs(peer.place)
        made = peer.run(["ingest", *options.source.split(), "--store", "gallery", "--quiet"])
        if made.returncode:
            print(made.stderr)
            return 1
        shutil.copytree(peer.place, ours.place)
        search = "search --store gallery --text 'clear lungs' -k 3 --json"
        hits = json.loads(peer.run(shlex.split(search)).stdout)["hits"]
        ids = dict(zip(("id", "other", "third"), (hit["id"] for hit in hits), strict=True))
        wrong = 0
        with ThreadPoolExecutor(2) as both:
            for line in LINES:
                if not re.search(options.only, line.text):
                    continue
                old, new = both.map(lambda build, line=line: build.answer(line, ids), (peer, ours))
                seen = list(differences(line, old, new))
                wrong += any(counts for _, counts in seen)
                print("same" if not seen else "    ", old.code, "cxr", line.text, flush=True)
                for what, counts in seen:
                    print("  ", "DIFFERS" if counts else "new", what, flush=True)
    print(f"{wrong} of {len(LINES)} command lines answer otherwise")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
