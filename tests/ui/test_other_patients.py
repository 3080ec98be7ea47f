"""Browsing without the query's own patient: the library, the command line, the search page."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ingest import patient_of, pixels_digest, read_image
from store import EncoderStamp, Gallery, Row, UnknownId, refined_search
from tests.ingest.films import chest, film, png, write
from tests.store.rows import unit
from tests.ui import films
from tests.ui.page import opened
from tests.ui.running import invoked

pytest.importorskip("streamlit")

from ui.dashboard.search import answer, download, link, session
from ui.dashboard.search.state import Search, Upload


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(gallery, encoder folder): films of a gallery of drawings, three of each patient."""
    root = tmp_path_factory.mktemp("patients")
    encoder = films.tiny_clip(root / "tiny-clip")
    films.add(root / "gallery", encoder, films.films())
    gallery = Gallery.open(root / "gallery")
    ids = gallery.ids()
    named = [
        replace(row, patient=f"p{at // 3}" if at < 24 else None, told=frozenset({"patient"}))
        for at, row in enumerate(gallery.rows(ids)[id_] for id_ in ids)
    ]
    gallery.update_metadata(named)
    return root / "gallery", encoder


@pytest.fixture
def gallery(made) -> Gallery:
    return Gallery.open(made[0])


def of_patient(gallery: Gallery, id_: str) -> set[str]:
    rows = gallery.rows(gallery.ids())
    return {one for one, row in rows.items() if row.patient == rows[id_].patient}


def test_films_of_the_own_patient_are_not_among_hits(gallery) -> None:
    query, unnamed = gallery.ids()[4], gallery.ids()[-1]
    own = of_patient(gallery, query)
    assert len(own) == 3 and gallery.own_films([query]).ids == tuple(sorted(own))
    every = len(gallery)
    hits = gallery.search_by_id(query, every, other_patients=True)
    assert {hit.row.id for hit in hits} == set(gallery.ids()) - own
    plain = [hit for hit in gallery.search_by_id(query, every) if hit.row.id not in own]
    assert [hit.score for hit in hits] == [hit.score for hit in plain]
    assert gallery.own_films([unnamed]).kind is None
    assert len(gallery.search_by_id(unnamed, every, other_patients=True)) == every - 1
    liked = gallery.ids()[15]
    found = refined_search(gallery, query, every, like=[liked], other_patients=True)
    assert {hit.row.id for hit in found} == set(gallery.ids()) - own - of_patient(gallery, liked)
    with pytest.raises(UnknownId):
        gallery.own_films(["nobody"])


def test_a_name_in_another_data_set_is_somebody_else(tmp_path) -> None:
    gallery = Gallery.create(tmp_path, EncoderStamp("tiny", "ab" * 32, 4))
    columns: list[dict[str, Any]] = [
        {"dataset": "a", "patient": "1"},
        {"dataset": "a", "patient": "1"},
        {"dataset": "b", "patient": "1"},
        {"patient": "1"},
        {"dataset": "a", "study": "s"},
        {"dataset": "a", "study": "s"},
        {"dataset": "it's", "patient": "o'1"},
        {"dataset": "it's", "patient": "o'1"},
    ]
    vectors = unit(np.random.default_rng(0).normal(size=(len(columns), 4)))
    gallery.upsert(
        [
            Row(f"f{at}", bytes([at]) * 32, vector, **given)
            for at, (vector, given) in enumerate(zip(vectors, columns, strict=True))
        ]
    )
    gallery.refresh()
    own = {id_: gallery.own_films([id_]) for id_ in gallery.ids()}
    assert own["f0"].ids == ("f0", "f1") and own["f2"].ids == ("f2",) and own["f3"].ids == ("f3",)
    assert (own["f4"].kind, own["f4"].ids) == ("study", ("f4", "f5"))
    assert own["f6"].ids == ("f6", "f7")
    assert gallery.knows_patients()


@pytest.fixture
def cxr(made):
    def run(*arguments: object) -> tuple[int, str, str]:
        return invoked(*arguments, "--store", made[0], "--encoder", made[1])

    return run


def test_the_command_line_leaves_them_out_and_says_so(gallery, cxr, tmp_path) -> None:
    query = gallery.ids()[4]
    own = of_patient(gallery, query)
    code, out, err = cxr("search", "--id", query, "-k", "50", "--other-patients", "--json")
    found = json.loads(out)
    assert code == 0 and not own & {hit["id"] for hit in found["hits"]}
    assert found["query"]["other_patients"] == {"excluded": "patient", "films": 3}
    assert "3 films of the query's own patient" in err
    _, out, err = cxr("search", "--id", gallery.ids()[-1], "--other-patients", "--json")
    assert json.loads(out)["query"]["other_patients"] == {"excluded": None, "films": 0}
    assert "not known here: no film was left out" in err
    _, out, _ = cxr("search", "--id", query, "--json")
    assert "other_patients" not in json.loads(out)["query"]


def test_an_image_that_is_stored_has_the_patient_of_its_row(made, cxr, tmp_path) -> None:
    gallery = Gallery.open(made[0])
    query = gallery.ids()[4]
    path = tmp_path / "film.png"
    Image.fromarray(np.random.default_rng(1).integers(0, 255, (28, 28), np.uint8)).save(path)
    row = gallery.rows([query])[query]
    pixels = read_image(path)
    _, out, err = cxr("search", "--image", path, "-k", "50", "--other-patients", "--json")
    assert "not known here" in err
    stored = Row(
        "stored/film",
        pixels_digest(pixels),
        gallery.vectors([query])[0],
        patient=row.patient,
        dataset=row.dataset,
    )
    gallery.upsert([stored])
    try:
        _, out, err = cxr("search", "--image", path, "-k", "50", "--other-patients", "--json")
        hits = {hit["id"] for hit in json.loads(out)["hits"]}
        assert not hits & (of_patient(Gallery.open(made[0]), query) | {"stored/film"})
        assert "4 films of the query's own patient" in err
    finally:
        gallery.delete(ids=["stored/film"])


def test_a_dicom_film_names_its_patient_where_the_gallery_has_it(
    made, cxr, tmp_path, monkeypatch
) -> None:
    monkeypatch.setenv("CXR_SALT_FILE", str(tmp_path / "salt"))
    data = film(chest(), PatientID="MRN-1", ViewPosition="PA")
    path = write(tmp_path, "query.dcm", data)
    assert patient_of(data) is None and not (tmp_path / "salt").exists()
    _, _, err = cxr("search", "--image", path, "--other-patients")
    assert "not known here" in err
    (tmp_path / "salt").write_bytes(bytes(range(32)))
    name = patient_of(data)
    assert name and patient_of(png()) is None
    gallery = Gallery.open(made[0])
    vector = gallery.vectors([gallery.ids()[0]])[0]
    gallery.upsert([Row(f"dicom/{at}", bytes([at]) * 32, vector, patient=name) for at in (1, 2)])
    try:
        _, out, err = cxr("search", "--image", path, "-k", "60", "--other-patients", "--json")
        hits = {hit["id"] for hit in json.loads(out)["hits"]}
        assert hits and not hits & {"dicom/1", "dicom/2"}
        assert "2 films of the query's own patient" in err
        like = gallery.ids()[0]  # of a patient as well
        both = "search", "--image", path, "--like", like, "-k", "40", "--other-patients", "--json"
        _, out, _ = cxr(*both)
        hits = {hit["id"] for hit in json.loads(out)["hits"]}
        assert hits and not hits & {"dicom/1", "dicom/2", *gallery.own_films([like]).ids}
    finally:
        gallery.delete(ids=["dicom/1", "dicom/2"])


# -- cxr evaluate ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def leaking(tmp_path_factory):
    """Two films of each of 200 patients next to each other; the label is a coin toss by patient."""
    folder = tmp_path_factory.mktemp("leaking")
    random = np.random.default_rng(5)
    people = random.normal(size=(200, 16))
    vectors = unit(np.repeat(people, 2, axis=0) + 0.05 * random.normal(size=(400, 16)))
    labels = np.repeat(random.choice(["normal", "pneumonia"], 200), 2)
    gallery = Gallery.create(folder, EncoderStamp("tiny", "ab" * 32, 16))
    gallery.upsert(
        [
            Row(
                f"{i:03d}",
                bytes([i % 256, i // 256] * 16),
                vector,
                labels=(label,),
                patient=f"{i // 2}",
            )
            for i, (vector, label) in enumerate(zip(vectors, labels.tolist(), strict=True))
        ]
    )
    return folder


def test_a_coin_toss_by_patient_is_at_chance_unless_patients_count(leaking) -> None:
    _, out, err = invoked("evaluate", "--store", leaking, "--k", "1", "--json")
    found = json.loads(out)
    low, high = found["ci95"]["1"]
    assert low < found["baselines"]["random"]["precision"]["1"] < high < 0.62
    assert (found["protocol"], found["excluded"]) == ("leave-one-out", "patient")
    assert found["patients"] == {"known": 400, "unknown": 0, "in_both_sides": None}
    assert (found["interval"]["over"], found["interval"]["units"]) == ("patients", 200)
    assert "same-patient" not in err
    _, out, err = invoked(
        "evaluate", "--store", leaking, "--k", "1", "--same-patient", "count", "--json"
    )
    found = json.loads(out)
    assert found["precision"]["1"] == 1.0 and found["excluded"] == "film"
    assert found["interval"]["over"] == "patients"
    assert "films of the query's own patient count as any other (400 films name theirs)" in err
    code, _, err = invoked("evaluate", "--store", leaking, "--same-patient", "some")
    assert code == 2 and "--same-patient 'some': expected exclude or count" in err
    _, out, _ = invoked("evaluate", "--store", leaking, "--k", "1")
    assert "Films of the query's own patient are not in its ranking" in out
    assert "over 200 patients" in out


def test_the_case_that_was_reported(data, tmp_path) -> None:
    place = data.parent / "cases" / "embeddings" / "leak.parquet"
    if not place.exists():
        pytest.skip(f"no {place}")
    assert invoked("import", place, "--store", tmp_path)[0] == 0
    document = {}
    for counted in ("exclude", "count"):
        asked = ("--store", tmp_path, "--k", "1", "--same-patient", counted, "--json")
        document[counted] = json.loads(invoked("evaluate", *asked)[1])
    low, high = document["exclude"]["ci95"]["1"]
    assert low < document["exclude"]["baselines"]["random"]["precision"]["1"] < high
    assert document["count"]["precision"]["1"] == 1.0


# -- the search page -------------------------------------------------------------------------------


def test_a_link_carries_it_and_so_do_command_and_script(gallery) -> None:
    query = gallery.ids()[4]
    search = Search(id=query, other_patients=True)
    assert link.to_link(search) == {"id": [query], "patients": ["other"]}
    assert link.from_link(link.to_link(search), {}) == (search, [])
    again, notes = link.from_link({"id": [query], "patients": ["same"]}, {})
    assert not again.other_patients and "patients 'same'" in notes[0]
    words = shlex.split(download.command(search, "uri"))
    assert "--other-patients" in words and "other" not in words
    assert "other patients" in session.title(search)
    found = answer.answer(gallery, search, None, len(gallery))
    own = of_patient(gallery, query)
    assert found.candidates == len(gallery) - 3 and found.own.ids == tuple(sorted(own))
    assert not own & {hit.row.id for hit in found.hits}
    document = download.document(search, found.hits, {}, found.own)
    assert document["query"]["other_patients"] == {"excluded": "patient", "films": 3}
    assert download.document(replace(search, other_patients=False), found.hits, {})["query"] == {
        "id": query,
        "k": 10,
        "where": "",
    }


@pytest.mark.parametrize("by_upload", [False, True])
def test_the_script_finds_what_the_page_shows(gallery, by_upload, capsys) -> None:
    query = gallery.ids()[4]
    vector = gallery.vectors([query])[0]
    search = Search(id=query, other_patients=True)
    if by_upload:
        digest = gallery.row(query).sha256
        upload = Upload("film.png", b"", (digest, digest), 28, 28, vector, "f")
        search = Search(upload=upload, other_patients=True)
    found = answer.answer(gallery, search, vector if by_upload else None, len(gallery))
    assert not of_patient(gallery, query) & {hit.row.id for hit in found.hits}
    script = download.python(search, gallery.uri, "tiny")
    lines = [line for line in script.splitlines() if "encoder" not in line and "ingest" not in line]
    exec("\n".join(lines), {"query": vector})
    shown = [line.split("\t")[2] for line in capsys.readouterr().out.splitlines()]
    assert shown == [hit.row.id for hit in found.hits]


def test_the_page_has_a_switch_where_patients_are_known(made, monkeypatch, tmp_path) -> None:
    query = Gallery.open(made[0]).ids()[4]
    app = opened(monkeypatch, *made, {"id": query})
    assert not app.toggle(session.OTHERS_BOX).value
    app.toggle(session.OTHERS_BOX).set_value(True).run()
    assert not app.exception
    assert app.query_params["patients"] in ("other", ["other"])  # as Streamlit has it
    said = " ".join(one.value for one in app.caption)
    assert "3 films of the query's own patient" in said
    films.add(tmp_path / "gallery", made[1], films.films()[:12])
    bare = Gallery.open(tmp_path / "gallery")
    told = frozenset({"patient"})
    bare.update_metadata([replace(bare.row(i), patient=None, told=told) for i in bare.ids()])
    app = opened(monkeypatch, tmp_path / "gallery", made[1], {})
    assert session.OTHERS_BOX not in [one.key for one in app.toggle]
