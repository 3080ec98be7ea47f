"""The search page beyond one query: marks, pages, history, pairs, pasting, taking away."""

from __future__ import annotations

import base64
import contextlib
import csv
import io
import json
import shlex
import tracemalloc
import zipfile
from dataclasses import replace
from datetime import date
from urllib.parse import parse_qs, urlencode

import pytest

from store import BadImage, Gallery, Hit, Range, Row
from store.gallery import refined_search
from store.search.relevance_feedback import Weights
from tests.ui import films
from tests.ui.page import APP, opened

pytest.importorskip("streamlit")
from streamlit.testing.v1 import AppTest

from ui.dashboard.search import answer, download, link, session, state, uploads
from ui.dashboard.search.state import Search
from ui.opening import FILE_MB

ASK, LIKE, UNLIKE = "drawn/test/103", "drawn/train/5", "drawn/train/8"
KNOWN = {"label": ["normal", "pneumonia"], "split": ["train", "test"], "dataset": ["drawn"]}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(gallery, encoder folder), shared and never written to."""
    root = tmp_path_factory.mktemp("searching")
    encoder = films.tiny_clip(root / "tiny-clip")
    (encoder / "training.json").write_text(
        json.dumps({"trained_on": [{"dataset": "drawn", "split": "train"}]})
    )
    films.add(root / "gallery", encoder, films.films())
    return root / "gallery", encoder


@pytest.fixture(scope="module")
def gallery(made):
    return Gallery.open(made[0])


@pytest.fixture
def app(made, monkeypatch):
    """Open the search page: app(query parameters)."""

    def start(link=()):
        return opened(monkeypatch, *made, link)

    return start


def page(test) -> str:
    assert not test.exception, test.exception
    parts = [element.body for element in test.get("html")]
    parts += [element.value for element in (*test.caption, *test.markdown, *test.info)]
    return "\n".join(parts).replace("\\", "")


def shown(test) -> list[str]:
    return [b.key.removeprefix("more-") for b in test.button if (b.key or "").startswith("more-")]


def press(test, key):
    return test.button(key=key).click().run()


def params(test) -> dict:
    found = dict(test.query_params)
    return {name: [value] if isinstance(value, str) else value for name, value in found.items()}


# -- marks ------------------------------------------------------------------------------------


def test_marks_are_the_library_s_answer_and_a_link(app, gallery):
    test = app({"id": ASK})
    like = shown(test)[2]
    press(test, f"mark-like-{like}")
    unlike = shown(test)[4]
    press(test, f"mark-unlike-{unlike}")
    hits = refined_search(gallery, ASK, 10, like=[like], unlike=[unlike])
    assert shown(test) == [hit.row.id for hit in hits]
    for hit in hits:
        assert f">{hit.score:.3f}<" in page(test)
    assert params(test) == {"id": [ASK], "like": [like], "unlike": [unlike]}
    assert "0.75 × (mean of 1 film to be like) − 0.15" in page(test)
    assert not {ASK, like, unlike} & set(shown(test))
    again = app(params(test))
    assert shown(again) == shown(test)
    test.number_input(key="box-weight-unlike").set_value(1.5).run()
    hits = refined_search(
        gallery, ASK, 10, like=[like], unlike=[unlike], weights=Weights(1, 0.75, 1.5)
    )
    assert shown(test) == [hit.row.id for hit in hits]
    assert params(test)["weights"] == ["1,0.75,1.5"]
    press(test, f"mark-off-{like}")
    assert "like" not in params(test)
    press(test, "unmark")
    assert params(test) == {"id": [ASK]}


def test_a_sentence_joins_the_marks_and_another_film_starts_afresh(app, gallery, made):
    from ingest.encoders import load_encoder

    test = app({"id": ASK, "like": [LIKE]})
    test.text_input(key="box-text").input("clear lungs")
    [search] = [b for b in test.button if b.label == "Search"]
    search.click().run()
    vector = load_encoder(made[1]).encode_texts(["clear lungs"])[0]
    hits = refined_search(gallery, vector, 10, like=[LIKE])
    assert shown(test) == [hit.row.id for hit in hits]
    assert "sentence and images combined" in page(test)
    assert "bar combined" in page(test)
    press(test, f"more-{shown(test)[0]}")
    assert "like" not in params(test)


def test_marks_alone_are_a_query(app, gallery):
    test = app({"like": [LIKE, "drawn/train/7"]})
    hits = refined_search(gallery, None, 10, like=[LIKE, "drawn/train/7"])
    assert shown(test) == [hit.row.id for hit in hits]
    assert "Query: the marked films" in page(test)


@pytest.mark.parametrize(
    ("asked_for", "said"),
    [
        (
            {"like": ["nobody"], "id": ASK},
            "Not in this gallery, so left out of the query: 'nobody'",
        ),
        ({"unlike": [LIKE]}, "only says what films should be unlike"),
        ({"id": ASK, "like": [LIKE], "weights": "1,2"}, "are not three numbers from 0 to 10"),
        ({"id": ASK, "like": [LIKE], "weights": "nan,1,1"}, "are not three numbers"),
        ({"id": ASK, "page": "99"}, "There is no page 99; this is the last one, page 6"),
        ({"id": ASK, "page": "-1"}, "The link asks for page '-1'"),
        ({"id": ASK, "page": "x"}, "The link asks for page 'x'"),
        ({"id": ASK, "with": "nobody"}, "No film 'nobody' in this gallery to look at"),
        (
            {"id": ASK, "like": [f"x{n}" for n in range(30)]},
            "The link marks 30 films +; 20 are used",
        ),
    ],
)
def test_nonsense_in_a_link_is_a_sentence(app, asked_for, said):
    test = app(asked_for)
    assert said in page(test)
    assert shown(test)


def test_marks_that_cancel_each_other_out_are_said(app):
    test = app({"id": ASK, "unlike": [ASK], "weights": "1,1,1"})
    assert "cancel each other out" in page(test)
    press(test, "unmark")
    assert len(shown(test)) == 10


# -- pages, history, badges -------------------------------------------------------------------


def test_pages_go_on_where_the_last_one_ended(app, gallery):
    hits = gallery.search_by_id(ASK, 59)
    test = app({"id": ASK, "page": "2"})
    assert shown(test) == [hit.row.id for hit in hits[10:20]]
    assert "#11<" in page(test)
    test = app({"id": ASK, "page": "6"})
    assert shown(test) == [hit.row.id for hit in hits[50:]]
    test.slider(key="box-k").set_value(20).run()
    assert shown(test) == [hit.row.id for hit in hits[:20]]
    assert params(test) == {"id": [ASK], "k": ["20"]}


def test_history_of_the_visit_restores_uploads_too(app):
    test = app({"id": ASK})
    test.file_uploader[0].upload("mine.png", films.png(films.draw(7, True)), "image/png").run()
    found = shown(test)
    press(test, f"mark-like-{found[0]}")
    combined = shown(test)
    press(test, f"more-{found[1]}")
    titles = [b.label.replace("\\", "") for b in test.button if (b.key or "").startswith("past-")]
    assert titles == [found[1], "your film mine.png · +1", "your film mine.png", ASK]
    press(test, "past-1")
    assert shown(test) == combined
    assert "mine.png" in page(test)
    assert params(test) == {}
    press(test, "past-2")  # it moved down when the one above was restored
    assert "Query: your film" in page(test)
    assert "to be like)" not in page(test)
    press(test, "forget")
    assert not [b for b in test.button if (b.key or "").startswith("past-")]


def test_history_keeps_one_entry_a_search():
    plain = Search(id="a")
    assert session.identity(plain) == session.identity(replace(plain, page=3, pair="b"))
    assert session.identity(plain) != session.identity(plain.mark("b", "+"))
    assert session.identity(plain) != session.identity(plain.choose("split", ["test"]))


def test_seen_in_training_is_said_of_training_films_only(app):
    test = app({"id": ASK, "split": ["train"]})
    assert page(test).count(">seen in training<") == 10
    test = app({"id": ASK, "split": ["test"]})
    assert "seen in training" not in page(test)


def test_badges():
    def hit(rank, score=0.5, **fields):
        return Hit(rank, score, Row(**{"id": str(rank), "sha256": bytes([rank]) * 32, **fields}))

    mine = Row("q", b"q" * 32, patient="p1")
    hits = [
        hit(1, sha256=b"q" * 32),
        hit(2, 1.0, patient="p1"),
        hit(3, sha256=b"x" * 32),
        hit(4, sha256=b"x" * 32, dataset="d", split="train"),
        hit(5, patient=None),
    ]
    said = answer.badges(hits, [mine], [mine.sha256], {("d", "train")})
    assert said == [
        ["exact duplicate of the query"],
        ["same vector as the query", "same patient as the query"],
        [],
        ["exact duplicate of #3", "seen in training"],
        [],
    ]
    assert "same vector" not in str(answer.badges(hits, [mine], [mine.sha256], alone=False))


def test_a_filter_chip_is_there_before_any_query_too(app):
    test = app({"split": ["test"]})
    press(test, "off-split-test")
    assert params(test) == {}


# -- why these two ----------------------------------------------------------------------------


def test_why_these_two_states_how_the_map_and_the_score_relate(app, gallery):
    test = app({"id": ASK})
    other = shown(test)[3]
    press(test, f"pair-{other}")
    score = gallery.search_by_id(ASK, 10)[3].score
    said = page(test)
    assert params(test)["with"] == [other]
    assert "Where they agree." in said
    means = f"{score:.3f} and {score:.3f} (the search, on the original films: {score:.3f})"
    assert f"The means of the two maps are the cosine of the pictures shown: {means}" in said
    test = app({"text": "clear lungs", "with": other})
    assert "The map's mean is the cosine of the pictures shown" in page(test)
    test = app({"id": ASK, "like": [LIKE], "with": other})
    assert "all marks in it" in page(test)


def test_an_encoder_without_patches_says_so(made, monkeypatch, tmp_path):
    from tests.ingest.test_encoders import save_processor, save_tokenizer, tiny_model

    encoder = tmp_path / "tiny-siglip"
    tiny_model("siglip").save_pretrained(encoder)
    save_processor(encoder)
    save_tokenizer(encoder)
    films.add(tmp_path / "gallery", encoder, [films.film(n, "train") for n in range(4)])
    monkeypatch.setenv("CXR_STORE", str(tmp_path / "gallery"))
    monkeypatch.setenv("CXR_ENCODER", str(encoder))
    test = AppTest.from_file(APP, default_timeout=60)
    test.query_params["id"], test.query_params["with"] = "drawn/train/1", "drawn/train/2"
    test.run()
    assert "No patch map." in page(test)
    assert "tiny-siglip" in page(test)


# -- pasting ----------------------------------------------------------------------------------


def test_what_is_pasted_is_checked():
    data = films.png(films.draw(3, True))
    sent = {"name": "image.png", "data": base64.b64encode(data).decode(), "size": len(data)}
    assert uploads.decode(sent) == ("pasted image.png", data)
    for bad, reason in (
        (None, "unreadable"),
        ([1], "unreadable"),
        ({**sent, "data": None}, "unreadable"),
        ({**sent, "data": "§"}, "unreadable"),
        ({"name": "x", "size": (FILE_MB + 1) << 20}, "too_large"),
    ):
        with pytest.raises(BadImage) as refused:
            uploads.decode(bad)
        assert refused.value.reason == reason


def test_a_large_film_keeps_a_larger_picture_for_looking_closely(made):
    import numpy as np
    from PIL import Image

    from ingest.encoders import load_encoder

    pixels = np.random.default_rng(0).integers(0, 255, (1500, 3000), dtype=np.uint8)
    upload = uploads.read("large.png", films.png(pixels), load_encoder(made[1]))
    assert Image.open(io.BytesIO(upload.picture)).size == (1024, 512)
    assert Image.open(io.BytesIO(upload.thumbnail)).size == (256, 128)


def test_a_film_of_20_megapixels_is_taken_uncompressed_and_no_more_than_its_pixels(made):
    import numpy as np
    from PIL import Image

    from ingest.encoders import load_encoder
    from tests.ingest import films as files

    encoder = load_encoder(made[1])
    pixels = np.random.default_rng(0).integers(0, 1 << 12, (5000, 4000), dtype=np.uint16)
    data = files.film(pixels, BitsStored=16, HighBit=15)
    assert 40_000_000 < len(data) < FILE_MB << 20
    tracemalloc.start()
    try:
        upload = uploads.read("film.dcm", data, encoder)
        assert (upload.width, upload.height) == (4000, 5000)
        assert tracemalloc.get_traced_memory()[1] < 4 * len(data)
        # what is kept of it for the rest of the visit
        assert len(upload.picture) + len(upload.thumbnail) < 2 << 20
        # few bytes that say they are many pixels
        bomb = io.BytesIO()
        Image.new("1", (8_001, 8_000)).save(bomb, "PNG")
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        with pytest.raises(BadImage) as refused:
            uploads.read("bomb.png", bomb.getvalue(), encoder)
        assert refused.value.reason == "too_large"
        assert tracemalloc.get_traced_memory()[1] - before < 1 << 20
    finally:
        tracemalloc.stop()


# -- what is taken away -----------------------------------------------------------------------


@pytest.fixture
def cxr(made, capsys, monkeypatch):
    """Run a command line; what it printed."""
    from ui import cli

    monkeypatch.setenv("CXR_DEVICE", "cpu")

    def run(command: str) -> str:
        monkeypatch.setattr("sys.argv", shlex.split(command))
        capsys.readouterr()
        with contextlib.suppress(SystemExit):
            cli.main()
        return capsys.readouterr().out

    return run


SEARCHES = {
    "id": Search(id=ASK, k=7),
    "filters and page": Search(id=ASK, k=5, page=3).choose("label", ["normal", "pneumonia"]),
    "text": Search(text='clear lungs\' "$HOME" `ls`'),
    "marks": Search(text="clear lungs", like=(LIKE, "drawn/test/110"), unlike=(UNLIKE,)),
    "weights": Search(id=ASK, like=(LIKE,), weights=Weights(0.2, 1.5, 0)),
    "only marks": Search(like=(LIKE,), page=2).choose("split", ["test"]),
    "upload": Search(k=4, like=(LIKE,)),
}


@pytest.mark.parametrize("name", SEARCHES)
def test_command_line_and_python_give_the_page_s_hits(name, made, gallery, cxr, tmp_path):
    from ingest.encoders import load_encoder

    search = replace(SEARCHES[name], page=1) if name == "filters and page" else SEARCHES[name]
    if name == "filters and page":
        search = replace(search, page=3)
    encoder = load_encoder(made[1])
    vector, path = None, tmp_path / "my film.png"
    if name == "upload":
        path.write_bytes(films.png(films.draw(555, True)))
        upload = uploads.read("my film.png", path.read_bytes(), encoder)
        search, vector = replace(search, upload=upload), upload.vector
    elif search.text:
        vector = encoder.encode_texts([search.text])[0]
    films_passing = len(gallery.ids(search.where))
    hits = answer.answer(gallery, search, vector, films_passing).hits
    assert hits
    expected = [(hit.rank, hit.row.id, f"{hit.score:.6f}") for hit in hits]

    command = download.command(search, gallery.uri, str(made[1]))
    script = download.python(search, gallery.uri, str(made[1]))
    assert (
        (download.PLACEHOLDER in command) == (download.PLACEHOLDER in script) == (name == "upload")
    )
    quoted = shlex.quote(str(path))
    document = json.loads(cxr(command.replace(download.PLACEHOLDER, quoted) + " --json"))
    found = [(hit["rank"], hit["id"], f"{hit['score']:.6f}") for hit in document["hits"]]
    assert found == expected

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(script.replace(download.PLACEHOLDER, str(path)), name, "exec"), {})
    lines = [line.split("\t") for line in printed.getvalue().splitlines()]
    assert [(int(rank), id_, score) for rank, score, id_ in lines] == expected

    if name != "upload":  # the page's own query.json is what the command prints
        ours = download.document(search, hits, gallery.describe())
        theirs = {key: document["query"][key] for key in ours["query"]}
        assert ours["query"] == theirs
        assert ours["hits"] == document["hits"]


def test_csv_is_no_spreadsheet_formula_and_reads_back():
    evil = Row('=HYPERLINK("x")', b"", labels=("+a", "b"), split="@x", source="-1+2")
    (line,) = csv.DictReader(io.StringIO(download.hits_csv([Hit(1, 0.25, evil)]).decode()))
    assert [*line][:3] == ["rank", "id", "cosine"]
    assert [*line.values()][:3] == ["1", '\'=HYPERLINK("x")', "0.250000"]
    assert (line["labels"], line["split"], line["source"]) == ("'+a; b", "'@x", "'-1+2")


def test_zip_holds_query_table_and_pictures(gallery):
    search = Search(id=ASK, k=3, like=(LIKE,))
    found = answer.answer(gallery, search, None, 60)
    with zipfile.ZipFile(io.BytesIO(download.archive(gallery, search, found))) as whole:
        assert whole.testzip() is None
        pictures = [f"films/000{rank}.png" for rank in (1, 2, 3)]
        assert whole.namelist() == ["query.json", "hits.csv", *pictures, "query.png"]
        query = json.loads(whole.read("query.json"))
        first = gallery.thumbnails([found.hits[0].row.id])[found.hits[0].row.id]
        assert whole.read("films/0001.png") == first
    assert query["query"]["like"] == [LIKE]
    assert query["query"]["weights"] == {"query": 1.0, "like": 0.75, "unlike": 0.15}
    assert query["store"]["fingerprint"] == gallery.stamp.fingerprint


def test_contact_sheet_is_a_pdf_the_same_every_time(gallery):
    search = Search(id=ASK, k=12)
    found = answer.answer(gallery, search, None, 60)
    sheet = download.contact_sheet(gallery, search, found)
    assert sheet.startswith(b"%PDF-")
    assert b"/FontFile2" in sheet
    assert sheet == download.contact_sheet(gallery, search, found)


def test_links_carry_everything_but_uploads():
    search = Search(text="x & y", k=5, page=4, like=("a b", "c"), unlike=("d&e",), pair="f/g")
    search = replace(search, weights=Weights(1, 2, 3), filters={"split": ("test",)})
    assert link.from_link(link.to_link(search), KNOWN) == (search, [])
    upload = state.Upload("n", b"", (b"", b""), 1, 1, None, "f")
    assert link.to_link(replace(search, text=None, upload=upload)) == {
        "split": ["test"],
        "k": ["5"],
    }


#: Addresses as 7afeb16 wrote them: links that people keep go on to mean the same search.
ADDRESSES = [
    ("", Search()),
    ("id=drawn%2Ftest%2F103", Search(id="drawn/test/103")),
    ("id=a+b%2F%C3%BC%26%3D%3F%23%2B%25.png&k=7", Search(id="a b/ü&=?#+%.png", k=7)),
    ("text=clear+lungs%2C+no+consolidation", Search(text="clear lungs, no consolidation")),
    ("text=x+%26+y%3D1+%232+%2B+3&k=50&page=20", Search(text="x & y=1 #2 + 3", k=50, page=20)),
    (
        "label=normal&label=pneumonia&split=test&k=20",
        Search(filters={"label": ("normal", "pneumonia"), "split": ("test",)}, k=20),
    ),
    (
        "id=drawn%2Ftest%2F103&uncertain=pneumonia&absent=normal&dataset=drawn&view=PA&view=AP&sex=F&k=5&page=3",
        Search(
            id="drawn/test/103",
            filters={
                "uncertain": ("pneumonia",),
                "absent": ("normal",),
                "dataset": ("drawn",),
                "view": ("PA", "AP"),
                "sex": ("F",),
            },
            k=5,
            page=3,
        ),
    ),
    (
        "text=clear+lungs&like=drawn%2Ftrain%2F1&like=drawn%2Ftest%2F110&unlike=drawn%2Ftrain%2F2",
        Search(
            text="clear lungs", like=("drawn/train/1", "drawn/test/110"), unlike=("drawn/train/2",)
        ),
    ),
    (
        "id=drawn%2Ftest%2F103&like=drawn%2Ftrain%2F1&weights=0.2%2C1.5%2C0",
        Search(id="drawn/test/103", like=("drawn/train/1",), weights=Weights(0.2, 1.5, 0)),
    ),
    (
        "split=test&age=30..90&page=2&like=drawn%2Ftrain%2F1&with=drawn%2Ftrain%2F9",
        Search(
            filters={"split": ("test",), "age": ("30..90",)},
            page=2,
            like=("drawn/train/1",),
            pair="drawn/train/9",
        ),
    ),
    (
        "id=drawn%2Ftest%2F103&age=..41.5&with=drawn%2Ftrain%2F9",
        Search(id="drawn/test/103", filters={"age": ("..41.5",)}, pair="drawn/train/9"),
    ),
    (
        "text=opacity&own.beds=2..&own.taken=2024-02-01..2024-09-30&own.urgent=true&own.ward=ICU&own.ward=it%27s+1..2",
        Search(
            text="opacity",
            filters={
                "own.beds": ("2..",),
                "own.taken": ("2024-02-01..2024-09-30",),
                "own.urgent": ("true",),
                "own.ward": ("ICU", "it's 1..2"),
            },
        ),
    ),
    (
        "id=drawn%2Ftest%2F103&own.k=page&own.score=..4.5&k=1",
        Search(id="drawn/test/103", filters={"own.k": ("page",), "own.score": ("..4.5",)}, k=1),
    ),
]
ADDRESSED = {
    **KNOWN,
    "uncertain": ["pneumonia"],
    "absent": ["normal"],
    "view": ["AP", "PA"],
    "sex": ["F", "M"],
    "age": Range("float", 0.0, 100.0, 60),
    "own.ward": ["ICU", "it's 1..2"],
    "own.urgent": ["false", "true"],
    "own.k": ["page", "text"],
    "own.beds": Range("int", 0, 5, 60),
    "own.score": Range("float", -1.0, 5.0, 60),
    "own.taken": Range("date", date(2024, 1, 1), date(2024, 12, 31), 60),
}


@pytest.mark.parametrize(("address", "search"), ADDRESSES)
def test_addresses_of_before_mean_the_same_search_and_are_written_the_same(address, search):
    assert link.from_link(parse_qs(address), ADDRESSED) == (search, [])
    assert urlencode(link.to_link(search), doseq=True) == address
