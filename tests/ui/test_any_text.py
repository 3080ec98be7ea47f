"""Any text as a name, an id, a label: in by folder, CSV, drop and import, and out again."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ingest import ingest, open_source
from ingest.encoders import load_encoder
from store import CxrError, Film, Gallery, Row, Where, audit
from tests.ingest.fakes import FakeEncoder
from tests.ingest.films import png
from tests.ui import films, page
from tests.ui.running import Cxr
from ui import tables
from ui.dashboard.batches import inbox
from ui.dashboard.components import html
from ui.dashboard.search import download, link
from ui.report.export import export

TEXTS = [
    "left 2''",
    "it's",
    "''",
    'a "quoted" b',
    "back\\slash\\",
    "100 %_",
    "' OR 1=1 --",
    "line\nbreak",
    "\u202egnp.exe\u202c",
    "תצלום חזה",
    "<img src=x onerror=alert(1)>",
    "=HYPERLINK(0)",
    "*[b](c)_ $x$ :material/x:",
    "x" * 1000,
]
LABELS = [text.replace("|", " ") for text in TEXTS]


def check(gallery: Gallery, ids: list[str], cxr: Cxr) -> None:
    """Each row is found and filtered by its own id and label, and no other is.

    Commands take ids as the library does: a few rows are searched and deleted by one.
    """
    assert sorted(gallery.ids()) == sorted(ids)
    # What a query or a line would be broken by, where names kept it.
    parts = ("''", "\\", "\n")
    some = sorted({next((id_ for id_ in ids if part in id_), ids[-1]) for part in parts})
    for id_ in ids:
        row = gallery.row(id_)
        hits = gallery.search_by_id(id_, len(ids))
        assert id_ not in [hit.row.id for hit in hits]
        for label in row.labels:
            assert id_ in gallery.ids(Where(label=(label,)))
    # What leaves reads back.
    hits = gallery.search_by_id(ids[0], len(ids))
    lines = [*csv.reader(io.StringIO(download.hits_csv(hits).decode(), newline=""))][1:]
    assert [line[1].removeprefix("'") for line in lines] == [
        hit.row.id.removeprefix("'") for hit in hits
    ]
    for id_ in [ids[0], *some]:
        found = cxr("search", "--store", gallery.uri, "--id", id_, "-k", 3, "--json")
        assert (found.code, found.document["query"]["id"]) == (0, id_), found.err
        nearest = [hit.row.id for hit in gallery.search_by_id(id_, 3)]
        assert [hit["id"] for hit in found.document["hits"]] == nearest
    left = list(ids)
    for id_ in some:
        assert cxr("delete", "--store", gallery.uri, "--id", id_, "--yes").code == 0
        left.remove(id_)
        assert sorted(Gallery.open(gallery.uri).ids()) == sorted(left)
    gallery.refresh()
    for id_ in left[::2]:
        assert gallery.delete(ids=[id_]) == 1
        left.remove(id_)
        gallery.refresh()
        assert sorted(gallery.ids()) == sorted(left)


def test_as_file_names_and_folder_names(tmp_path: Path, cxr: Cxr) -> None:
    root = tmp_path / "films"
    for number, text in enumerate(TEXTS):
        name = text.replace("/", "_")[:200]
        (root / name).mkdir(parents=True)
        for copy in range(2):  # a folder of one film each would be a patient
            (root / name / f"{copy} {name}.png").write_bytes(png(2 * number + copy))
    gallery = Gallery.create(tmp_path / "gallery", FakeEncoder().stamp)
    source = open_source("folder", root, label_from_folder=True, dataset="two''")
    report = ingest(source, gallery, FakeEncoder())
    assert (report.inserted, report.rejected) == (2 * len(TEXTS), [])
    assert gallery.facets()["dataset"] == {"two''": 2 * len(TEXTS)}
    assert ingest(
        open_source("folder", root, label_from_folder=True, dataset="two''"), gallery, FakeEncoder()
    ).unchanged == 2 * len(TEXTS)
    check(gallery, gallery.ids(), cxr)


@pytest.mark.parametrize("name", ["left 2''", "it's", "100 %_", "''"])
def test_as_names_of_a_folder_that_is_moved(tmp_path: Path, name: str) -> None:
    """Rows are told by their place and by how their ids begin, in the table's own language."""
    gallery = Gallery.create(tmp_path / "gallery", FakeEncoder().stamp)
    root = tmp_path / name
    root.mkdir()
    for number in range(3):
        (root / f"{number}.png").write_bytes(png(number))
    first = ingest(open_source("folder", root, dataset=name), gallery, FakeEncoder())
    assert ingest(open_source("folder", root, dataset=name), gallery, FakeEncoder()).unchanged == 3
    (tmp_path / "other").mkdir()
    moved = root.rename(tmp_path / "other" / name)
    again = ingest(open_source("folder", moved, dataset=name), gallery, FakeEncoder())
    assert (first.inserted, again.inserted, again.encoded, len(gallery)) == (3, 0, 0, 3)
    assert all(row.source.startswith(str(moved)) for row in gallery.rows(gallery.ids()).values())


def test_as_cells_of_a_csv(tmp_path: Path, cxr: Cxr) -> None:
    root = tmp_path / "films"
    root.mkdir()
    with (tmp_path / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "id", "label", "ward"])
        for number, text in enumerate(TEXTS):
            (root / f"{number}.png").write_bytes(png(number))
            writer.writerow([f"{number}.png", f"{number} {text}", "seen", text])
    gallery = Gallery.create(tmp_path / "gallery", FakeEncoder().stamp)
    options: dict[str, Any] = {"labels": tmp_path / "labels.csv", "id_column": "id"}
    options |= {"label_column": ["label"], "columns": ["ward"], "dataset": "it's"}
    report = ingest(open_source("folder", root, **options), gallery, FakeEncoder())
    assert (report.inserted, report.rejected) == (len(TEXTS), [])
    wards = {row.extra["ward"]: id_ for id_, row in gallery.rows(gallery.ids()).items()}
    assert len(wards) == len(TEXTS)
    for ward, id_ in wards.items():
        assert gallery.ids(Where(extra=(("ward", ward),))) == [id_]
    check(gallery, gallery.ids(), cxr)


def test_as_names_of_a_drop(tmp_path: Path, cxr: Cxr) -> None:
    gallery = Gallery.create(tmp_path / "gallery", FakeEncoder().stamp)
    dropped = [(f"{text}.png", png(number)) for number, text in enumerate(TEXTS)]
    place, table = inbox.put(gallery.uri, "b1", dropped, label="it's; left 2''")
    source = open_source("folder", place, labels=table, dataset="added")
    report = ingest(source, gallery, FakeEncoder())
    assert (report.inserted, report.rejected) == (len(TEXTS), [])
    assert gallery.facets()["labels"] == {"it's": len(TEXTS), "left 2''": len(TEXTS)}
    check(gallery, gallery.ids(), cxr)


@pytest.fixture
def full(tmp_path: Path) -> tuple[Gallery, Path]:
    """A gallery whose ids, labels, data sets and patients are these texts; its encoder."""
    encoder = films.tiny_clip(tmp_path / "tiny-clip")
    loaded = load_encoder(encoder)
    drawn = [films.draw(number, number % 2 == 0) for number in range(len(TEXTS))]
    vectors = loaded.encode_images(drawn)
    gallery = Gallery.create(tmp_path / "full", loaded.stamp)
    gallery.upsert(
        [
            Row(
                id=f"{number}/{text}",
                sha256=bytes([number]) * 32,
                embedding=vectors[number],
                labels=(text,),
                split="test",
                dataset=text[:200],
                patient=text,
                source=text,
                thumbnail=films.png(drawn[number]),
                batch=text,
            )
            for number, text in enumerate(TEXTS)
        ]
    )
    return gallery, encoder


def test_exported_and_imported(full: tuple[Gallery, Path], tmp_path: Path, cxr: Cxr) -> None:
    gallery, _ = full
    broken = [id_ for id_ in gallery.ids() if "\n" in id_]
    with pytest.raises(CxrError, match="one id is one line"):  # of ids.txt
        export(gallery, tmp_path / "out")
    assert gallery.delete(ids=broken) == 1
    export(gallery, tmp_path / "out")
    found = cxr("import", tmp_path / "out", "--store", tmp_path / "again", "--json")
    assert found.code == 0, found.err
    again = Gallery.open(tmp_path / "again")
    ids = gallery.ids()
    for id_ in ids:
        ours, theirs = gallery.row(id_), again.row(id_)
        assert (theirs.labels, theirs.dataset) == (ours.labels, ours.dataset)
    np.testing.assert_array_equal(again.vectors(ids), gallery.vectors(ids))
    check(again, ids, cxr)


def test_on_the_dashboard(full: tuple[Gallery, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    gallery, encoder = full
    for id_ in [one for one in gallery.ids() if len(one) <= link.ID_MAX][::3]:
        test = page.opened(monkeypatch, Path(gallery.uri), encoder, [("id", id_)])
        assert not test.exception
        shown = "\n".join(one.value for one in test.get("html"))
        assert "<img src=x" not in shown
        assert html.escape(" ".join(id_.split()))[:20] in " ".join(shown.split())
    label = "' OR 1=1 --"
    test = page.opened(
        monkeypatch, Path(gallery.uri), encoder, {"id": "0/left 2''", "label": label}
    )
    assert not test.exception


def test_lists_of_an_audit_read_back() -> None:
    one = Film("=1", ("a", "b"), None, "@x", "it's", None, "found")
    group = audit.Group("source", (one,), False, True, "one patient")
    head, rows = tables.exact([group])
    assert json.loads(json.dumps(rows))[0][4:9] == ["=1", "a; b", None, "@x", "it's"]
    assert len(head) == len(rows[0])


# -- what is no text at all ------------------------------------------------------------------------

HALF = "\udcff"


def test_names_that_no_system_can_decode(tmp_path: Path, cxr: Cxr) -> None:
    """Bytes of a command line that are not UTF-8 arrive as halves of characters."""
    encoder = films.tiny_clip(tmp_path / "tiny-clip")
    root, store = tmp_path / f"films {HALF}", tmp_path / "gallery"
    root.mkdir()
    (root / f"{HALF}.png").write_bytes(films.png(films.draw(1, True)))
    options = ["--store", store, "--encoder", encoder]
    assert cxr("ingest", "folder", root, *options, "--dataset", f"a{HALF}").code == 0
    assert cxr("ingest", "folder", root, *options).code == 0
    assert Gallery.open(store).ids() == [r"a\xff/\xff.png", r"films \xff/\xff.png"]
    assert cxr("batches", "--store", store).code == 0
    assert cxr("export", tmp_path / f"out {HALF}", "--store", store, "--json").code == 0
    for command in (
        ["search", "--id", HALF],
        ["search", "--id", HALF, "--json"],
        ["search", "--text", HALF],
        ["search", "--image", f"{HALF}.png"],
        ["search", "--id", r"a\xff/\xff.png", "--like", HALF],
        ["search", "--id", r"a\xff/\xff.png", "--where", f"label={HALF}"],
        ["delete", "--id", HALF, "--yes"],
        ["delete", "--batch", HALF, "--yes"],
        ["ingest", "folder", root, "--batch", HALF],
        ["ingest", "folder", root, "--store", tmp_path / HALF],
        ["serve", "--public-url", f"http://{HALF}"],
    ):
        given = [] if "--store" in command else ["--store", store]
        found = cxr(*command, *given, *([] if command[0] == "delete" else ["--encoder", encoder]))
        assert found.code in (1, 2), command
        told = [line for line in found.err.splitlines() if line.startswith("cxr: ")]
        assert len(told) == 1, (command, found.err)
    assert len(Gallery.open(store)) == 2


@pytest.mark.parametrize(
    ("command", "line"),
    [
        ("search --id x -k 2.5", "-k '2.5': expected a valid integer; see cxr search --help"),
        ("search --id x --page 1.5", "--page '1.5': expected a valid integer; see cxr search"),
        ("audit -k 2.5", "-k '2.5': expected a valid integer; see cxr audit --help"),
        ("audit --threshold half", "--threshold 'half': expected a valid number; see cxr audit"),
        ("serve --port 0", "--port '0': expected a number greater than or equal to 1; see"),
        ("ingest folder . --nice 40", "--nice '40': expected a number less than or equal to 19;"),
        ("search --jsn", "no such option: --jsn (Possible options: "),
        ("search --id", "option '--id' requires an argument; see cxr --help"),
        ("ingest", "missing argument 'SOURCE'; see cxr ingest --help"),
        ("map a b", "got unexpected extra argument(s) (a b); see cxr map --help"),
        ("nothing", "no such command 'nothing'; see cxr --help"),
    ],
)
def test_what_does_not_parse_is_one_line(cxr: Cxr, command: str, line: str) -> None:
    found = cxr(*command.split())
    assert found.code == 2 and found.out == ""
    assert found.err.startswith(f"cxr: {line}") and found.err.count("\n") == 1


def test_a_link_that_asks_for_half_a_hit_says_so() -> None:
    search, notes = link.from_link({"id": ["x"], "k": ["2.5"], "page": ["1e3"]}, {})
    assert (search.k, search.page) == (link.K_DEFAULT, 1)
    assert len(notes) == 2 and "'2.5'" in notes[0]
