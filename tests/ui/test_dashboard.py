"""The dashboard's pages and links, without a browser."""

from __future__ import annotations

import io
import re
import shutil
import tomllib
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from store import Gallery
from tests.ingest import films as dicom
from tests.ui import films
from tests.ui.page import APP, opened
from ui import tables
from ui.dashboard.components import html as markup
from ui.dashboard.search import answer, link, state
from ui.opening import FILE_MB

NASTY = "<script>alert(1)</script> ![x](http://evil.example/x.png) ' OR 1=1 -- \x00 😀"


@pytest.fixture
def made(drawn):
    """(gallery, encoder folder), shared and never written to."""
    return drawn


@pytest.fixture
def app(made, monkeypatch):
    """Start the dashboard on a gallery: app(query parameters, store=, encoder=)."""

    def start(link=(), store=made[0], encoder=made[1], page=None):
        return opened(monkeypatch, store, encoder, link, page)

    return start


def html(test) -> str:
    assert not test.exception, test.exception
    return "\n".join(element.body for element in test.get("html"))


def shown(test) -> list[str]:
    """Ids of the films in the grid."""
    return [button.key.removeprefix("more-") for button in more(test)]


def more(test):
    return [b for b in test.button if b.key and b.key.startswith("more-")]


def press(test, label):
    [button] = [b for b in test.button if b.label == label]
    return button.click().run()


def said(test) -> str:
    boxes = [*test.info, *test.warning, *test.error]
    return "\n".join(box.value.replace("\\", "") for box in boxes)


def params(test) -> dict:
    return dict(test.query_params)


# -- three ways in ----------------------------------------------------------------------------


def test_first_page_offers_films_and_prompts_and_says_what_it_is_for(app):
    test = app()
    assert len(shown(test)) == 10
    page = html(test)
    assert "Research and education only, not for diagnosis" in page
    assert "drawn: 60 films" in page
    assert "tiny-clip" in page
    assert "pneumonia opacity in lungs" in [button.label for button in test.button]


def test_id_search_never_shows_the_query_and_agrees_with_the_library(app, made):
    test = app({"id": "drawn/test/103"})
    hits = Gallery.open(made[0]).search_by_id("drawn/test/103", 10)
    assert shown(test) == [hit.row.id for hit in hits]
    assert "drawn/test/103" not in shown(test)
    page = html(test)
    for hit in hits:
        assert f">{hit.score:.3f}<" in page
    assert "%</span>" in page  # shares of labels
    assert "confidence" not in page


def test_text_search_from_the_box_and_from_a_prompt(app, made):
    from ingest.encoders import load_encoder

    test = app()
    test.text_input(key="box-text").input("clear lungs")
    press(test, "Search")
    vector = load_encoder(made[1]).encode_texts(["clear lungs"])
    hits = Gallery.open(made[0]).search(vector, 10)[0]
    assert shown(test) == [hit.row.id for hit in hits]
    assert "“clear lungs”" in html(test)
    press(test, "Clear")
    press(test, "normal chest radiograph")
    assert "“normal chest radiograph”" in html(test)
    assert test.text_input(key="box-text").value == "normal chest radiograph"


@pytest.mark.parametrize("text", ["", "   ", "\t"])
def test_empty_text_is_a_sentence_not_a_search(app, text):
    test = app()
    test.text_input(key="box-text").input(text)
    press(test, "Search")
    assert "Write a few words first" in said(test)
    assert "Query:" not in html(test)


def test_upload_is_searched_recognised_and_in_no_link(app, made):
    test = app()
    pixels = films.draw(103, True)
    test.file_uploader[0].upload("mine.png", films.png(pixels), "image/png").run()
    page = html(test)
    assert "Query: your film" in page
    assert "mine.png" in page
    assert shown(test)[0] == "drawn/test/103"  # it is stored, so it may be found
    assert "exact duplicate of the query" in page
    assert "mine" not in str(params(test))
    press(test, "Clear")
    assert "Query:" not in html(test)


def test_a_dicom_file_without_an_ending_is_searched(app):
    values = dicom.chest(3, 300).astype("uint16") * 16
    test = app()
    assert not test.file_uploader[0].proto.type  # a browser offers and takes any name
    film = dicom.film(values, BitsStored=12, HighBit=11)
    test.file_uploader[0].upload("IM000001", film, "application/octet-stream").run()
    assert "Query: your film" in html(test)
    assert "IM000001" in html(test) and "300 × 300" in html(test)
    assert len(shown(test)) == 10


def test_the_box_takes_the_end_of_an_id(app):
    def found(text):
        test = app()
        test.text_input(key="box-id").input(text)
        return press(test, "Find")

    assert params(found("test/103"))["id"] == "drawn/test/103"
    assert params(found("07"))["id"] == "drawn/test/107"
    assert params(found("nowhere"))["id"] == "nowhere"  # which the page says


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("empty.png", b"", "empty"),
        ("text.png", b"not an image at all", "not_an_image"),
        ("vector.png", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not_an_image"),
        ("cut.png", films.png(films.draw(1, True))[:200], "truncated"),
        ("large.png", b"\x89PNG" + bytes(FILE_MB << 20), "too_large"),
    ],
)
def test_broken_uploads_are_refused_with_a_reason(app, name, data, reason):
    test = app()
    test.file_uploader[0].upload(name, data, "image/png").run()
    assert f"({reason})" in said(test)
    assert name in said(test)
    assert "Query:" not in html(test)
    assert not test.exception


def test_more_like_this_and_random_and_clear(app):
    test = app({"id": "drawn/test/103"})
    first = shown(test)[3]
    more(test)[3].click().run()
    assert f'Query: a film of the gallery</span><div class="soft mono id" title="{first}"' in html(
        test
    )
    assert first not in shown(test)
    press(test, "Random film")
    assert "Query: a film of the gallery" in html(test)
    press(test, "Clear")
    assert "Or start from one of these" in [sub.value for sub in test.subheader]


# -- filters ----------------------------------------------------------------------------------


def test_filters_apply_before_the_search_and_show_live_counts(app, made):
    test = app({"id": "drawn/test/103"})
    test.button_group(key="box-split").set_value(["train"]).run()
    assert len(shown(test)) == 10
    assert all(id_.startswith("drawn/train/") for id_ in shown(test))
    labels = test.button_group(key="box-label")
    counts = [option.content.replace("\\", "") for option in labels.proto.options]
    assert counts == ["normal (20)", "pneumonia (20)"]
    labels.set_value(["pneumonia"]).run()
    rows = Gallery.open(made[0]).rows(shown(test))
    assert {row.labels for row in rows.values()} == {("pneumonia",)}
    press(test, "split: train")  # the chip takes the filter off again
    assert any(id_.startswith("drawn/test/") for id_ in shown(test))


def test_number_of_hits(app):
    test = app({"id": "drawn/test/103"})
    test.slider(key="box-k").set_value(25).run()
    assert len(shown(test)) == 25
    test.slider(key="box-k").set_value(50).run()
    assert len(shown(test)) == 50


def test_a_filter_that_empties_the_set_is_named(app, made, tmp_path):
    store = tmp_path / "gallery"
    films.add(store, made[1], [films.film(1, "train"), films.film(2, "test")])
    test = app({"id": "drawn/train/1", "label": "pneumonia", "split": "test"}, store=store)
    assert "No film passes label pneumonia and split test" in said(test)
    press(test, "Without the label filter: 1 film")
    assert shown(test) == ["drawn/test/2"]


# -- links ------------------------------------------------------------------------------------


def test_a_link_restores_query_filters_and_k(app):
    test = app({"text": "clear lungs", "split": ["test"], "label": ["normal"], "k": "7"})
    assert len(shown(test)) == 7
    assert all(id_.startswith("drawn/test/") for id_ in shown(test))
    assert test.button_group(key="box-split").value == ["test"]
    assert test.button_group(key="box-label").value == ["normal"]
    assert test.slider(key="box-k").value == 7
    assert test.text_input(key="box-text").value == "clear lungs"


def test_the_address_follows_what_is_shown(app):
    test = app({"id": "drawn/test/103"})
    more(test)[0].click().run()
    test.slider(key="box-k").set_value(12).run()
    first = params(test)["id"]
    assert params(test) == {"id": first, "k": "12"}
    assert first != "drawn/test/103"
    assert first not in shown(test)
    press(test, "Clear")
    press(test, "normal chest radiograph")
    assert params(test) == {"text": "normal chest radiograph", "k": "12"}


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"k": "9999", "id": "drawn/test/103"}, "here 50"),
        ({"k": "0", "id": "drawn/test/103"}, "here 1"),
        ({"k": "-3", "id": "drawn/test/103"}, "here 1"),
        ({"k": "DROP TABLE", "id": "drawn/test/103"}, "here 10"),
        ({"k": "1e3", "id": "drawn/test/103"}, "here 10"),
        ({"k": "²", "id": "drawn/test/103"}, "here 10"),
        ({"k": "9" * 400, "id": "drawn/test/103"}, "here 10"),
        ({"id": "no/such/film"}, "No film has the id 'no/such/film'"),
        ({"id": NASTY}, "No film has the id"),
        ({"id": "../../etc/passwd"}, "No film has the id"),
        ({"id": "x" * 600}, "more than 512"),
        ({"label": "tuberculosis"}, "This gallery has no label 'tuberculosis'"),
        ({"label": NASTY}, "This gallery has no label"),
        ({"split": ["test", "nowhere"]}, "no split 'nowhere'"),
        ({"dataset": "' OR 1=1 --"}, "no dataset"),
        ({"id": "drawn/test/103", "text": "clear"}, "the id is used"),
        ({"text": "clear " * 400}, "the first 2000 are searched"),
    ],
)
def test_nonsense_in_a_link_is_a_sentence(app, asked, message):
    test = app(asked)
    assert message in said(test)
    assert "<script>alert" not in html(test)


def test_hostile_text_is_searched_and_shown_as_text(app):
    test = app({"text": NASTY})
    page = html(test)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<script>alert" not in page
    assert len(shown(test)) == 10


def test_unknown_id_offers_those_that_may_be_meant(app):
    test = app({"id": "103"})
    assert "No film has the id '103'" in said(test)
    [meant] = [b for b in test.button if b.key and b.key.startswith("meant-")]
    meant.click().run()
    assert "drawn/test/103" in html(test)
    assert len(shown(test)) == 10


# -- states of the store and the encoder --------------------------------------------------------


def test_missing_store_says_what_to_run(app, tmp_path):
    test = app(store=tmp_path / "none")
    assert "No gallery here yet" in [header.value for header in test.header]
    own, public = (code.value for code in test.code)
    assert own == f"cxr ingest folder PATH-TO-YOUR-FILMS --store {tmp_path / 'none'}"
    assert public == f"cxr ingest medmnist:pneumoniamnist --store {tmp_path / 'none'}"
    assert "not for diagnosis" in html(test)


def test_empty_store_says_what_to_run_and_follows(app, made, tmp_path):
    from ingest.encoders import load_encoder

    store = tmp_path / "empty"
    Gallery.create(store, load_encoder(made[1]).stamp)
    test = app(store=store)
    assert "This gallery is empty" in [header.value for header in test.header]
    assert "cxr ingest" in test.code[0].value
    films.add(store, made[1], [films.film(number, "train") for number in range(5)])
    test.run()
    assert len(shown(test)) == 5


def test_damaged_store_says_what_to_run(app, made, tmp_path):
    store = tmp_path / "damaged"
    shutil.copytree(made[0], store)
    for file in store.rglob("*.lance"):
        if file.is_file():
            file.write_bytes(b"\0" * 64)
    test = app(store=store)
    assert "The gallery cannot be read" in [header.value for header in test.header]
    assert "cxr check" in test.code[0].value
    assert not test.exception


def test_another_encoder_stops_texts_and_uploads_but_not_ids(app, tmp_path):
    other = films.tiny_clip(tmp_path / "other-clip")
    config = other / "preprocessor_config.json"
    config.write_text(config.read_text().replace("0.25", "0.3"))
    test = app({"text": "clear lungs"}, encoder=other)
    assert "Another encoder made this gallery" in said(test)
    assert "tiny-clip" in said(test)
    assert "other-clip" in said(test)
    assert "cxr serve" in test.code[0].value
    assert test.text_input(key="box-text").disabled
    assert test.file_uploader[0].proto.disabled
    more(test)[0].click().run()
    assert "Query: a film of the gallery" in html(test)


def test_an_encoder_that_has_changed_is_not_advised_by_its_own_name(app, tmp_path):
    changed = films.tiny_clip(tmp_path / "tiny-clip")  # the name that the gallery has
    config = changed / "preprocessor_config.json"
    config.write_text(config.read_text().replace("0.25", "0.3"))
    test = app({"text": "clear lungs"}, encoder=changed)
    assert "The encoder has changed since this gallery was made" in said(test)
    assert "fingerprint" in said(test)
    assert "cxr ingest" in test.code[0].value
    assert "--encoder" not in test.code[0].value
    assert test.text_input(key="box-text").disabled


def test_uncertain_and_absent_findings_and_own_columns_are_on_the_card(app, made, tmp_path):
    rows = [
        replace(
            films.film(number, "train"),
            uncertain=("effusion",),
            absent=("pneumothorax",),
            extra={"ward": "3 <b>", "score": number},
        )
        for number in range(6)
    ]
    films.add(tmp_path / "gallery", made[1], rows)
    test = app({"id": "drawn/train/1"}, store=tmp_path / "gallery")
    cards = [one.body for one in test.get("html") if "cxr hit" in one.body]
    assert len(cards) == 5
    for card in [*cards, next(one.body for one in test.get("html") if "cxr query" in one.body)]:
        assert "effusion?" in card
    for card in cards:
        assert "effusion? · no pneumothorax" in card  # on hover
        assert "3 &lt;b&gt; · score " in card


def test_uncertain_and_absent_findings_filter(app, made, tmp_path):
    rows = [
        replace(
            films.film(n, "train"), uncertain=("effusion",) * (n < 4), absent=("mass",) * (n % 2)
        )
        for n in range(8)
    ]
    films.add(tmp_path / "gallery", made[1], rows)
    link = {"id": "drawn/train/1", "uncertain": "effusion", "absent": "mass"}
    test = app(link, store=tmp_path / "gallery")
    assert shown(test) == ["drawn/train/3"]
    assert "of 1 film that passes the filters" in "".join(one.value for one in test.caption)
    assert params(test)["absent"] == "mass"


def test_missing_encoder_stops_texts_but_not_ids(app, tmp_path):
    test = app({"id": "drawn/test/103"}, encoder=tmp_path / "nowhere")
    assert "The encoder is not available" in said(test)
    assert len(shown(test)) == 10


def test_browsing_by_id_loads_no_torch(made):
    import subprocess
    import sys

    code = (
        "import os, sys\n"
        f"os.environ.update(CXR_STORE={str(made[0])!r}, CXR_ENCODER={str(made[1])!r})\n"
        "from streamlit.testing.v1 import AppTest\n"
        f"t = AppTest.from_file({str(APP)!r}, default_timeout=60)\n"
        "t.query_params['id'] = 'drawn/test/103'\n"
        "t.run()\n"
        "assert not t.exception\n"
        "assert sum((b.key or '').startswith('more-') for b in t.button) == 10\n"
        "sys.exit('torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_synthetic_films_are_announced_on_every_page(app, made, tmp_path):
    store = tmp_path / "synthetic"
    records = [films.film(number, "test", "synthetic-cohort") for number in range(20)]
    films.add(store, made[1], records)
    for page in (None, "evaluation", "store"):
        test = app(store=store, page=page)
        assert "SYNTHETIC DATA" in said(test), page


# -- following, evaluation, store page ----------------------------------------------------------


def test_a_new_batch_is_found_without_a_restart(app, made, tmp_path):
    store = tmp_path / "gallery"
    films.add(store, made[1], [films.film(number, "train") for number in range(6)])
    test = app({"id": "drawn/train/1"}, store=store)
    assert len(shown(test)) == 5
    films.add(store, made[1], [films.film(200, "test", of=1)])
    test.run()
    assert shown(test)[0] == "drawn/test/200"
    assert "exact duplicate of the query" in html(test)
    assert "drawn: 7 films" in html(test)


@pytest.mark.parametrize(
    "asked", [{}, {"split": "test"}, {"id": "drawn/test/103", "split": "test"}]
)
def test_the_search_page_lists_all_ids_once_a_version(app, asked, monkeypatch):
    """A million ids take a quarter of a second to sort; a click must not."""
    test = app(asked)
    listed = []
    ids = Gallery.ids
    monkeypatch.setattr(
        Gallery, "ids", lambda self, where=None: [listed.append(where), ids(self, where)][1]
    )
    test.run()
    assert test.text_input(key="box-id").placeholder == "drawn/test/100"
    assert listed == []


def test_evaluation_page_shows_the_library_s_figures(app, made):
    from ingest.encoders.baselines import pixel_vectors

    test = app(page="evaluation")
    page = html(test)
    gallery = Gallery.open(made[0])
    for protocol in ("leave-one-out", "split"):
        found = gallery.evaluate(protocol, baselines={"raw_pixels": pixel_vectors})
        for k in (1, 3, 5, 10):
            assert f"{found.precision[k]:.3f}" in page
            assert f"{found.ci95[k][0]:.3f}–{found.ci95[k][1]:.3f}" in page
            assert f"{found.baselines['raw_pixels']['precision'][k]:.3f}" in page
        assert f"{found.map:.3f}" in page
    assert "cxr evaluate --split test --gallery-split train --k 1,3,5,10" in test.code[0].value
    test.selectbox(key="evaluation-queries").set_value("every film").run()
    assert "needs two splits" in said(test)
    assert "60 queries, 60 films" in "\n".join(caption.value for caption in test.caption)


def test_evaluation_of_too_few_films_says_so(app, made, tmp_path):
    store = tmp_path / "gallery"
    films.add(store, made[1], [films.film(1, "train"), films.film(2, "test")])
    test = app(store=store, page="evaluation")
    assert "Nothing to measure" in said(test)
    assert not test.exception


def test_evaluation_in_which_chance_is_1_says_so(app, made, tmp_path):
    store = tmp_path / "gallery"
    films.add(store, made[1], [films.film(number, "train") for number in range(1, 13, 2)])
    test = app(store=store, page="evaluation")
    assert "Nothing to measure: all 6 labelled films share a label" in said(test)
    assert "chance is 1, so Precision@k is 1 whatever the encoder" in said(test)
    assert not test.exception


def test_evaluation_of_a_single_patient_says_so(app, made, tmp_path):
    store = tmp_path / "gallery"
    films.add(store, made[1], [films.film(number, "train", of=1) for number in range(2, 14, 2)])
    test = app(store=store, page="evaluation")
    assert "Nothing to measure: all 6 films are of one patient" in said(test)
    assert not test.exception


def test_store_page_tells_what_is_loaded(app, made):
    test = app(page="store")
    page = html(test)
    gallery = Gallery.open(made[0])
    assert gallery.stamp.fingerprint in page
    assert str(made[0]) in page
    assert "cxr ingest medmnist:pneumoniamnist" in test.code[0].value
    assert [metric.value for metric in test.metric][:1] == ["60"]


# -- the parts that need no page ----------------------------------------------------------------


def test_links_survive_the_round_trip():
    known = {"label": ["a b", "ü&=?#"], "split": ["test"], "dataset": ["d"]}
    search = state.Search(text="x & y=1 #2 + 3", k=33)
    search = search.choose("label", ["ü&=?#", "a b"]).choose("split", ["test"])
    again, notes = link.from_link(link.to_link(search), known)
    assert (again, notes) == (search, [])


def test_upload_is_not_in_the_link():
    upload = state.Upload("n", b"", (b"", b""), 1, 1, np.ones(1, np.float32), "f")
    assert link.to_link(state.Search(upload=upload)) == {}


def test_markup_escapes_everything():
    from store import Hit, Row

    evil = "<img src=x onerror=alert(1)>\"'&"
    labels = markup.Labels({evil: 3})
    row = Row(evil, b"", labels=(evil,), split=evil)
    drawn = [
        markup.hit(Hit(1, 0.5, row), b"png", labels, markup.IMAGE_SCALE, [evil]),
        markup.film_card(row, None, labels),
        markup.query_card(evil, evil, evil),
        markup.neighbours([markup.LabelShare(evil, 1, 2, 0.5, 0.1, 0.9)], evil, evil, labels),
        markup.mark_card(row, None, labels, "+"),
        markup.status([evil, evil]),
        markup.table([evil], [[evil + "\n" + evil]]),
        markup.fact(evil, evil),
    ]
    for page in drawn:
        assert "<img src=x" not in page
        assert "&lt;img src=x" in page


def test_bar_stays_in_its_track():
    assert "width:100.0%" in markup.bar(1.7, markup.IMAGE_SCALE)
    assert "width:0.0%" in markup.bar(-0.4, markup.TEXT_SCALE)
    assert "width:25.0%" in markup.bar(0.125, markup.Scale(0, 0.5, "text"))


def test_a_label_has_a_colour_of_its_own_while_there_are_some_and_a_mark_of_its_own_for_long():
    names = [f"finding {number}" for number in range(70)]
    eight, all_ = markup.Labels(names[:8]), markup.Labels(names)
    marks = [eight.mark(name) for name in names[:8]]
    assert len({glyph for glyph, _ in marks}) == len({colour for _, colour in marks}) == 8
    found = [all_.mark(name) for name in names]
    assert len(set(found)) == 65  # 64 marks, and a ring for what is beyond
    assert found.count(("○", "#808080")) == 6


def test_neighbour_labels_count_hits_against_the_base():
    from store import Hit, Row

    hits = [Hit(n, 0.5, Row(str(n), b"", labels=("a",) if n < 3 else ())) for n in range(1, 5)]
    lines = answer.neighbour_labels(hits, {"a": 10, "b": 30}, 40)
    assert [line[:4] for line in lines] == [("a", 2, 4, 0.25), ("b", 0, 4, 0.75)]
    # Solved by hand for 0 of n: the upper end is z² / (n + z²).
    assert lines[1][4:] == pytest.approx((0, 0.48989), abs=1e-5)
    assert lines[0].low < 0.5 < lines[0].high


def test_precision_table_without_floors_or_intervals():
    found = {
        "precision": {"1": 0.5},
        "ci95": {},
        "map": 0.25,
        "baselines": {"random": {"precision": {"1": 0.1}}},
        "per_label": {},
        "vote": {},
        "hit_rate": {"1": 0.5},
    }
    head, rows = tables.precision_table(found, "e")
    assert head == ["", "P@1", "mAP"]
    assert rows == [["e", "0.500", "0.250"], ["chance", "0.100", "–"]]
    assert tables.fitting((1, 3, 5, 10), 5) == (1, 3)


def test_served_safely():
    config = tomllib.loads((APP.parent / ".streamlit" / "config.toml").read_text())
    assert config["server"]["address"] == "127.0.0.1"
    assert config["server"]["enableCORS"] and config["server"]["enableXsrfProtection"]
    assert config["server"]["maxUploadSize"] == FILE_MB
    # what goes around a file in a body is no reason for a proxy to refuse it
    guide = (APP.parents[2] / "docs" / "serving.md").read_text()
    assert re.findall(r"client_max_body_size (\d+)m;|max_size (\d+)MiB", guide) == [
        (f"{FILE_MB + 1}", ""),
        ("", f"{FILE_MB + 1}"),
    ]
    assert set(re.findall(r"\b(\d+) MB (?:a file|and a little)", guide)) == {str(FILE_MB)}
    assert config["browser"]["gatherUsageStats"] is False
    assert config["client"]["showErrorDetails"] == "none"
    assert not (APP.parent / "pages").exists()  # Streamlit would serve it without the frame


def test_large_uploads_keep_their_size_in_words(app):
    file = io.BytesIO()
    wide = np.linspace(0, 255, 600 * 900).reshape(600, 900).astype(np.uint8)
    Image.fromarray(wide).save(file, "JPEG")
    test = app()
    test.file_uploader[0].upload("wide.jpg", file.getvalue(), "image/jpeg").run()
    assert "900 × 600" in html(test)


def test_no_store_to_compare_with_may_be_told_as_an_empty_one(app, monkeypatch):
    monkeypatch.setenv("CXR_COMPARE", "")
    for page in (None, "evaluation"):
        assert not app({"id": "drawn/test/103"}, page=page).exception
