"""Everything that people have, in one folder: no crash, each file a row or the right refusal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from ingest.images.file_tree import shown
from store import Gallery
from tests.ingest import torture

ROOT = Path(__file__).parents[2]
CHILD = """
import json, sys
from pathlib import Path
from ingest import ingest, open_source
from store import Gallery
from tests.ingest.fakes import FakeEncoder

root, store = sys.argv[1:]
encoder = FakeEncoder()
gallery = Gallery.create(store, encoder.stamp)
source = open_source("folder", root)
told = []
report = ingest(source, gallery, encoder, keep_going=True, progress=told.append)
again = ingest(open_source("folder", root), gallery, encoder, keep_going=True)
# Not ru_maxrss: a child starts with that of the process which started it.
status = Path("/proc/self/status")
peak = int(status.read_text().split("VmHWM:")[1].split()[0]) / 1024 if status.exists() else 0
print(json.dumps({"report": report.as_dict(), "again": again.as_dict(), "peak_mb": peak,
                  "total": source.total, "done": told[-1].done}))
"""


def test_torture(tmp_path: Path) -> None:
    root = tmp_path / "torture"
    expected = torture.make(root)
    assert len(expected) >= 200
    arguments = [sys.executable, "-W", "ignore", "-c", CHILD]
    arguments += [str(root), str(tmp_path / "store")]
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    report = told["report"]

    reasons = {one["source"]: one["reason"] for one in report["rejected"]}
    assert len(reasons) == len(report["rejected"])
    gallery = Gallery.open(tmp_path / "store")
    rows = {row.source for row in gallery.rows(gallery.ids()).values()}
    wrong = []
    for relative, allowed in expected.items():
        place = shown(os.fsdecode(os.fsencode(root.resolve()) + b"/" + relative))
        outcome = "row" if place in rows else reasons.get(place, "ignored")
        if outcome not in allowed and "any" not in allowed:
            wrong.append((relative[:80], outcome, allowed))
    assert not wrong, wrong
    assert len(rows) + len(reasons) == told["total"] == told["done"]
    assert gallery.check() == []
    for id_ in gallery.ids():
        assert id_.isprintable() and "\n" not in id_
    assert not any("secret" in source for source in rows)

    again = told["again"]
    assert again["unchanged"] == len(rows) and again["encoded"] == 0
    assert again["rejected"] == report["rejected"]
    assert told["peak_mb"] < 1500, told["peak_mb"]
