"""The HTTP service of ``cxr api``, over a gallery of drawn films."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from store import EncoderUnavailable, Gallery
from tests.store.rows import make_rows, random_vectors
from tests.ui.running import Cxr, runner

pytest.importorskip("fastapi")
from starlette.testclient import TestClient

from ingest.encoders import load_encoder
from ui.api.guards import Limits
from ui.api.service import make
from ui.api.serving import Served

TOKEN = "a-token-of-some-length"


@pytest.fixture(scope="module")
def encoder() -> Any:
    return load_encoder("cxr-clip-28", device="cpu")


@pytest.fixture
def gallery(tmp_path: Path, encoder: Any) -> Gallery:
    found = Gallery.create(tmp_path / "gallery", encoder.stamp)
    dimension = encoder.stamp.dimension
    labels = [("pneumonia",) if at % 2 else ("normal",) for at in range(30)]
    source = "/home/me/films/one.png"
    vectors = random_vectors(30, 1, dimension)
    found.upsert(make_rows(vectors, labels, source=source, thumbnail=None))
    return found


def client_of(
    gallery: Gallery, encoder: Any, limits: Limits | None = None, **more: Any
) -> TestClient:
    def load() -> Any:
        if isinstance(encoder, Exception):
            raise encoder
        return encoder

    app = make(Served(gallery, load), limits or Limits(), **more)
    return TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=True)


@pytest.fixture
def client(gallery: Gallery, encoder: Any) -> Iterator[TestClient]:
    with client_of(gallery, encoder) as found:
        yield found


def test_the_document_is_that_of_the_command_line(
    client: TestClient, gallery: Gallery, monkeypatch: Any, capsys: Any
) -> None:
    cxr: Cxr = runner(monkeypatch, capsys)
    for given, body in (
        (["--text", "pneumonia"], {"text": "pneumonia"}),
        (["--text", "covid normal"], {"text": "covid normal"}),
        (
            ["--id", "set/test/3", "--where", "label=normal"],
            {"id": "set/test/3", "where": ["label=normal"]},
        ),
        (
            [
                "--id",
                "set/test/3",
                "--like",
                "set/test/4",
                "--unlike",
                "set/test/5",
                "--weights",
                "1,1,.5",
            ],
            {
                "id": "set/test/3",
                "like": ["set/test/4"],
                "unlike": ["set/test/5"],
                "weights": "1,1,.5",
            },
        ),
    ):
        theirs = cxr("search", *given, "-k", 5, "--json", "--store", gallery.uri).document
        ours = client.post("/search", json={**body, "k": 5}).json()
        assert bool(ours.pop("warnings")) == ("covid normal" in given)
        assert ours["store"].pop("uri") == "gallery"
        theirs["store"].pop("uri")
        for hit in theirs["hits"]:
            hit["source"] = Path(hit["source"]).name
        assert ours == theirs


def test_words_of_reports_as_on_the_command_line(
    client: TestClient, gallery: Gallery, encoder: Any, monkeypatch: Any, capsys: Any
) -> None:
    refused = client.post("/search", json={"words": "effusion"})
    assert (refused.status_code, "report" in refused.json()["error"]) == (400, True)
    assert str(Path(gallery.uri).parent) not in refused.text
    vectors = random_vectors(6, 2, encoder.stamp.dimension)
    texts = ["Effusion.", "No effusion.", "Small effusion, stable.", None, "Nodule.", None]
    rows = make_rows(vectors, [("normal",)] * 6, prefix="r/", source="/r.png", thumbnail=None)
    gallery.upsert([replace(row, report=text) for row, text in zip(rows, texts, strict=True)])
    gallery.refresh()  # the index of words is a version of its own
    cxr: Cxr = runner(monkeypatch, capsys)
    for given, body in (
        ([], {}),
        (["--negated"], {"negated": True}),
        (["--id", "r/3"], {"id": "r/3"}),
        (["--id", "r/3", "--fusion", "0.7"], {"id": "r/3", "fusion": 0.7}),
        (["--text", "effusion", "--fusion", "rrf"], {"text": "effusion", "fusion": "rrf"}),
        (["--like", "r/4"], {"like": ["r/4"]}),
    ):
        line = ["search", "--words", "effusion", *given, "-k", 5, "--json"]
        theirs = cxr(*line, "--store", gallery.uri).document
        ours = client.post("/search", json={"words": "effusion", **body, "k": 5}).json()
        assert "warnings" in ours, ours
        ours.pop("warnings")
        for one in (ours, theirs):
            one["store"].pop("uri")
        for hit in theirs["hits"]:
            hit["source"] = Path(hit["source"]).name
        assert ours == theirs
        assert "stable" not in str(ours)  # no text of a report
        if not {"like"} & {*body}:
            found = client.get("/search", params={"words": "effusion", **body, "k": 5}).json()
            assert found["hits"] == ours["hits"]
    picture = io.BytesIO()
    Image.fromarray(np.full((40, 40), 90, np.uint8)).save(picture, "png")
    found = client.post(
        "/search/image", params={"words": "effusion"}, content=picture.getvalue()
    ).json()
    assert "query" in found, found
    assert found["query"]["fusion"] == "rrf"
    assert {*found["hits"][0]["found_by"]} == {"words", "picture"}
    for body in ({"negated": True, "id": "r/3"}, {"words": "a", "fusion": "rrf"}, {"words": ""}):
        assert client.post("/search", json=body).status_code in (400, 422)
    beyond = client.post("/search", json={"words": "effusion", "id": "r/3", "fusion": 2})
    assert (beyond.status_code, "from 0 to 1" in beyond.json()["error"]) == (400, True)


def test_text_and_id_in_the_address(client: TestClient) -> None:
    by_id = client.get("/search", params={"id": "set/test/3", "k": 4}).json()
    assert by_id == client.post("/search", json={"id": "set/test/3", "k": 4}).json()
    assert [hit["rank"] for hit in by_id["hits"]] == [1, 2, 3, 4]
    assert "set/test/3" not in [hit["id"] for hit in by_id["hits"]]
    second = client.get("/search", params={"id": "set/test/3", "k": 2, "page": 2}).json()
    assert [hit["id"] for hit in second["hits"]] == [hit["id"] for hit in by_id["hits"][2:]]
    nonsense = client.get("/search", params={"text": "a recipe for cake"}).json()
    assert nonsense["warnings"]


def test_a_vector_and_an_image(client: TestClient, gallery: Gallery, encoder: Any) -> None:
    own = gallery.vectors(["set/test/7"])[0]
    found = client.post("/search", json={"vector": own.tolist(), "k": 1}).json()
    assert found["hits"][0]["id"] == "set/test/7"
    pixels = np.random.default_rng(0).integers(0, 255, (40, 40), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    answer = client.post("/search/image", content=file.getvalue(), params={"k": 3}).json()
    wanted = gallery.search(encoder.encode_images([pixels]), 3)[0]
    assert [hit["id"] for hit in answer["hits"]] == [hit.row.id for hit in wanted]
    assert answer["query"]["nearness"]["rows"] == 30


def test_films_facets_thumbnails_and_evaluation(client: TestClient) -> None:
    listed = client.get("/films", params={"where": "label=normal", "start": 2, "count": 3}).json()
    assert listed["total"] == 15 and len(listed["films"]) == 3
    one = client.get(f"/films/{listed['films'][0]['id']}").json()
    assert one == listed["films"][0] and one["labels"] == ["normal"]
    assert client.get("/facets").json()["facets"]["labels"] == {"normal": 15, "pneumonia": 15}
    assert client.get("/thumbnails/set/test/1").status_code == 404  # vectors alone
    found = client.get("/evaluation", params={"k": "1,5"}).json()
    assert found["queries"] == 30 and {*found["precision"]} == {"1", "5"}
    assert client.get("/health").json()["rows"] == 30


def test_evaluation_asks_the_films_that_the_command_line_asks(
    client: TestClient, gallery: Gallery, encoder: Any, monkeypatch: Any, capsys: Any
) -> None:
    for seed, split in enumerate(("train", "test")):
        vectors = random_vectors(8, seed + 3, encoder.stamp.dimension)
        rows = make_rows(vectors, [("a",), ("b",)] * 4, prefix=f"{split}/", split=split)
        gallery.upsert([replace(row, thumbnail=None) for row in rows])
    cxr: Cxr = runner(monkeypatch, capsys)
    for protocol in ("leave-one-out", "split"):
        line = ["evaluate", "--protocol", protocol, "--k", "1,3", "--json", "--store", gallery.uri]
        theirs = cxr(*line).document
        ours = client.get("/evaluation", params={"protocol": protocol, "k": "1,3"}).json()
        assert all(ours[key] == theirs[key] for key in ("queries", "precision"))


@pytest.mark.parametrize(
    ("asked", "status", "said"),
    [
        ({}, 400, "exactly one of text, id and vector"),
        ({"text": "a", "id": "b"}, 400, "exactly one"),
        ({"id": "nowhere"}, 404, "nowhere"),
        ({"vector": [1.0, 2.0]}, 400, "expected (n, 128)"),
        ({"id": "set/test/1", "where": ["labl=x"]}, 400, "labl"),
        ({"id": "set/test/1", "k": 0}, 422, "k: "),
        ({"id": "set/test/1", "kk": 3}, 422, "kk: "),
        ({"id": "set/test/1", "k": 1000, "page": 11}, 400, "10,000"),
        ({"text": "x" * 30_000}, 422, "text: "),
        ({"text": "a", "like": ["set/test/1"], "long_text": "best"}, 400, "mean"),
    ],
)
def test_bad_requests_say_what_is_wrong(
    client: TestClient, asked: dict[str, Any], status: int, said: str
) -> None:
    answer = client.post("/search", json=asked)
    assert answer.status_code == status
    assert said in answer.json()["error"]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"id": ""}, "id: "),
        ({"id": "set/test/3", "k": 0}, "k: "),
        ({"id": "set/test/3", "where": ["split=test"] * 51}, "where: "),
        ({"id": "set/test/3", "long_text": "all"}, "long_text: "),
    ],
)
def test_bad_addresses_say_what_is_wrong(
    client: TestClient, asked: dict[str, Any], said: str
) -> None:
    answer = client.get("/search", params=asked)
    assert answer.status_code == 422 and answer.json()["error"].startswith(said)


def test_names_in_an_address(client: TestClient) -> None:
    asked = {"id": "set/test/3", "k": 3, "where": ["split=test", "label=pneumonia"]}
    found = client.get("/search", params={**asked, "unheard": "of"})  # passed over
    assert found.json() == client.post("/search", json=asked).json()
    paths = client.get("/openapi.json").json()["paths"]
    told = paths["/search"]["get"]["parameters"], paths["/search/image"]["post"]["parameters"]
    shared = {"words", "negated", "fusion", "k", "page", "where", "other_patients"}
    names = [{one["name"] for one in some if one["in"] == "query"} for some in told]
    assert names == [shared | {"text", "id", "long_text"}, shared | {"body_part"}]


def test_bad_bodies(client: TestClient) -> None:
    for body, said in ((b"", "empty"), (b"no image at all", "is not a PNG")):
        answer = client.post("/search/image", content=body)
        assert answer.status_code == 400 and said in answer.json()["error"]
    answer = client.post("/search", content=b"{", headers={"content-type": "application/json"})
    assert answer.status_code == 422
    for method in ("put", "delete", "patch"):
        assert getattr(client, method)("/films/set/test/1").status_code == 405


def test_a_gallery_smaller_than_k_gives_all_its_films(client: TestClient) -> None:
    assert len(client.get("/search", params={"id": "set/test/3", "k": 500}).json()["hits"]) == 29


def test_no_local_path_unless_asked(gallery: Gallery, encoder: Any, client: TestClient) -> None:
    answers = [
        client.get("/search", params={"id": "set/test/3"}),
        client.get("/films"),
        client.get("/films/set/test/3"),
        client.get("/facets"),
        client.get("/evaluation"),
        client.get("/health"),
    ]
    for answer in answers:
        assert "/home" not in answer.text and gallery.uri not in answer.text
    with client_of(gallery, encoder, paths=True) as open_one:
        assert open_one.get("/films/set/test/3").json()["source"] == "/home/me/films/one.png"


def test_a_token(gallery: Gallery, encoder: Any) -> None:
    with client_of(gallery, encoder, Limits(token=TOKEN)) as client:
        assert client.get("/films").status_code == 401
        for wrong in (f"Bearer {TOKEN}x", f"Basic {TOKEN}", "Bearer", TOKEN):
            assert client.get("/films", headers={"authorization": wrong}).status_code == 401
        assert client.get("/films", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
        assert client.get("/health").status_code == 200
        assert client.get("/docs").status_code == 200


def test_rate_and_size(gallery: Gallery, encoder: Any) -> None:
    with client_of(gallery, encoder, Limits(rate="3/minute", body=1000)) as client:
        codes = [client.get("/films").status_code for _ in range(5)]
        assert codes == [200, 200, 200, 429, 429]
        assert int(client.get("/films").headers["retry-after"]) <= 60
    with client_of(gallery, encoder, Limits(body=1000)) as client:
        assert client.post("/search/image", content=b"x" * 2000).status_code == 413
        pieces = iter([b"x" * 600] * 3)  # no length is told
        assert client.post("/search/image", content=pieces).status_code == 413


def test_other_names_of_this_machine_are_refused(gallery: Gallery, encoder: Any) -> None:
    with client_of(gallery, encoder, hosts=("127.0.0.1",)) as client:
        assert client.get("/health").status_code == 200
        assert client.get("/health", headers={"host": "films.example"}).status_code == 400


def test_the_documentation_asks_no_other_host(client: TestClient) -> None:
    page = client.get("/docs").text
    assert "http://" not in page and "https://" not in page.replace("https://fastapi", "")
    assert client.get("/static-offline-docs/swagger-ui-bundle.js").status_code == 200
    paths = client.get("/openapi.json").json()["paths"]
    assert {"/search", "/search/image", "/films", "/facets", "/evaluation", "/health"} <= {*paths}


def test_without_its_encoder_ids_are_searched(gallery: Gallery) -> None:
    with client_of(gallery, EncoderUnavailable("its files are not here")) as client:
        answer = client.get("/search", params={"text": "pneumonia"})
        assert answer.status_code == 503 and "not here" in answer.json()["error"]
        assert client.get("/search", params={"id": "set/test/3"}).status_code == 200


def test_versions_do_not_mix_while_batches_come_in(
    gallery: Gallery, client: TestClient, encoder: Any
) -> None:
    rows_at = {gallery.table_version: 30}
    ended = threading.Event()

    def ask(number: int) -> list[dict[str, Any]]:
        found = []
        while not ended.is_set():
            found.append(
                client.get("/search", params={"id": f"set/test/{number}", "k": 500}).json()
            )
        return found

    writer = Gallery.open(gallery.uri)
    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask, number) for number in range(4)]
        for at in range(3):
            vectors = random_vectors(10, at + 9, encoder.stamp.dimension)
            report = writer.upsert(make_rows(vectors, [("new",)] * 10, prefix=f"batch/{at}/"))
            rows_at[report.table_version] = 40 + 10 * at
        waited = threading.Event()
        for _ in range(100):
            if client.get("/health").json()["rows"] == 60:
                break
            waited.wait(0.1)
        ended.set()
        answers = [one for each in asking for one in each.result()]
    assert client.get("/health").json()["rows"] == 60
    for one in answers:
        rows = rows_at[one["store"]["table_version"]]
        assert one["store"]["rows"] == rows and len(one["hits"]) == rows - 1


def test_the_command_refuses_to_be_open_to_all(
    gallery: Gallery, monkeypatch: Any, capsys: Any
) -> None:
    cxr = runner(monkeypatch, capsys)
    monkeypatch.delenv("CXR_API_TOKEN", raising=False)
    refused = cxr("api", "--host", "0.0.0.0", "--store", gallery.uri)
    assert refused.code == 2 and "CXR_API_TOKEN" in refused.err
    monkeypatch.setenv("CXR_API_TOKEN", "short")
    assert cxr("api", "--store", gallery.uri).code == 2
    monkeypatch.setenv("CXR_API_TOKEN", TOKEN)
    wrong = cxr("api", "--rate", "often", "--store", gallery.uri)
    assert wrong.code == 2 and "--rate 'often'" in wrong.err
