"""Films of a DICOMweb service: a real server, and one that misbehaves."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ingest import Rejection, RemoteImage, ingest, open_source, study_link
from ingest.images.pseudonym import pseudonym
from ingest.sources.dicomweb import films as dicomweb_films
from ingest.sources.dicomweb import server as service
from store import BadSource, Gallery, UsageError
from tests.ingest.fakes import FakeEncoder
from tests.ingest.orthanc import Orthanc, free_port, instance, uid

QUERY = "Modality=DX"


def store(tmp_path: Path, address: str, query: str = QUERY, **options: Any) -> tuple[Any, Any]:
    encoder = FakeEncoder()
    uri = tmp_path / "gallery"
    gallery = Gallery.open(uri) if uri.exists() else Gallery.create(uri, encoder.stamp)
    source = open_source("dicomweb", address, query=query, **options)
    report = ingest(source, gallery, encoder, keep_going=True)
    gallery.refresh()
    return gallery, report


# -- a real server ---------------------------------------------------------------------------------


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[Orthanc]:
    one = Orthanc(tmp_path / "orthanc").start()
    try:
        yield one
    finally:
        one.kill()


def test_films_of_a_server(orthanc, tmp_path, monkeypatch):
    monkeypatch.setattr(service, "PAGE", 5)
    films = [instance(number) for number in range(12)]
    orthanc.add(films)
    gallery, report = store(tmp_path, orthanc.address, "Modality=DX&StudyDate=20240103-")
    assert (report.inserted, report.rejected) == (10, [])
    row = gallery.row(uid(4))
    assert row.source == (f"{orthanc.address}/studies/1.2.3.3/series/1.2.3.3.1/instances/{uid(4)}")
    assert study_link(row.source) == f"{orthanc.address}/studies/1.2.3.3"
    assert row.sha256 == hashlib.sha256(films[4]).digest()  # the film, not a picture of it
    assert (row.view, row.sex, row.age, row.labelled) == ("PA", "F", 50.0, False)
    assert (row.patient, row.study) == (pseudonym("patient", "P1"), pseudonym("study", "1.2.3.3"))
    # What is there is not fetched again; what came in since is.
    orthanc.add([instance(20)])
    fetched: list[str] = []
    retrieve = service.Server.fetch
    monkeypatch.setattr(
        service.Server,
        "fetch",
        lambda self, hit: fetched.append(hit.instance) or retrieve(self, hit),
    )
    gallery, report = store(tmp_path, orthanc.address)
    assert sorted(fetched) == sorted([uid(0), uid(1), uid(20)])
    assert (report.inserted, report.unchanged, report.updated) == (3, 10, 0)
    assert sorted(gallery.ids()) == sorted(uid(number) for number in (*range(12), 20))
    for query in ("StudyDescription=Th*", "StudyDescription=Thorax?PA", f"SOPInstanceUID={uid(1)}"):
        found = open_source("dicomweb", orthanc.address, query=query)
        assert found.total == (1 if "UID" in query else 13), query
    assert open_source("dicomweb", orthanc.address, query="Modality=CR").total == 0


def test_nothing_of_a_patient_is_stored(orthanc, tmp_path):
    orthanc.add([instance(0, PatientName="Secretname^X", PatientID="SECRET-7")])
    store(tmp_path, orthanc.address)
    held = [path for path in (tmp_path / "gallery").rglob("*") if path.is_file()]
    assert held
    for path in held:
        assert b"Secretname" not in path.read_bytes() and b"SECRET-7" not in path.read_bytes()


def test_a_server_that_is_killed_and_comes_back(orthanc, tmp_path, monkeypatch):
    orthanc.add(instance(number) for number in range(8))
    source = open_source("dicomweb", orthanc.address, query=QUERY)
    films = [one for one in source.records if isinstance(one, RemoteImage)]
    assert films[0].fetch() == instance(0)
    orthanc.kill()
    threading.Timer(0.5, orthanc.start).start()
    assert films[1].fetch() == instance(1)
    source = open_source("dicomweb", orthanc.address, query=QUERY, patience=0.5)
    films = [one for one in source.records if isinstance(one, RemoteImage)]
    orthanc.kill()
    encoder = FakeEncoder()
    gallery = Gallery.create(tmp_path / "other", encoder.stamp)
    source = type(source)(**{**_fields(source), "records": iter(films)})
    with pytest.raises(BadSource, match="the same command goes on"):
        ingest(source, gallery, encoder)


def test_a_job_that_broke_off_goes_on_where_it_was(orthanc, tmp_path, monkeypatch):
    orthanc.add(instance(number) for number in range(12))
    monkeypatch.setattr(dicomweb_films, "BATCH", 4)
    fetched: list[str] = []
    retrieve = service.Server.fetch

    def noting(self: service.Server, hit: service.Hit) -> bytes:
        fetched.append(hit.instance)
        return retrieve(self, hit)

    monkeypatch.setattr(service.Server, "fetch", noting)
    gallery = Gallery.create(tmp_path / "gallery", FakeEncoder().stamp)
    source = open_source("dicomweb", orthanc.address, query=QUERY)
    with pytest.raises(RuntimeError, match="broke"):
        ingest(source, gallery, FakeEncoder(fail_at=10))
    gallery.refresh()
    there = gallery.ids()
    assert len(there) == 8
    fetched.clear()
    gallery, report = store(tmp_path, orthanc.address)
    assert len(fetched) == 4 and not {*fetched} & {*there}
    assert (report.inserted, report.unchanged) == (4, 8)
    assert sorted(gallery.ids()) == sorted(uid(number) for number in range(12))


def _fields(source: Any) -> dict[str, Any]:
    return {name: getattr(source, name) for name in source.__dataclass_fields__}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_200_films_killed_and_restarted_half_way(orthanc, tmp_path):
    films = {uid(number): instance(number) for number in range(200)}
    orthanc.add(films.values())
    store_ = tmp_path / "gallery"
    command = [
        *(sys.executable, "-m", "ui.cli", "ingest", "dicomweb", orthanc.address, "--query", QUERY),
        *("--store", str(store_), "--encoder", "cxr-clip-28", "--rate", "30", "--json"),
    ]

    def running() -> subprocess.Popen[bytes]:
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def stored() -> int:
        try:
            return len(Gallery.open(store_).ids())
        except Exception:  # not there yet
            return 0

    def until(count: int) -> None:
        end = time.monotonic() + 200
        while stored() < count:
            assert time.monotonic() < end
            time.sleep(0.2)

    first = running()
    until(64)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    half = stored()
    assert 64 <= half < 200
    second = running()
    until(half + 1)
    orthanc.kill()
    time.sleep(3)
    orthanc.start()
    said, errors = second.communicate()
    assert second.returncode == 0, errors.decode()
    report = json.loads(said)
    assert (report["inserted"], report["unchanged"], report["rejected"]) == (200 - half, half, [])
    gallery = Gallery.open(store_)
    assert sorted(gallery.ids()) == sorted(films) and gallery.check() == []
    rows = gallery.rows(gallery.ids())
    assert {id_: row.sha256 for id_, row in rows.items()} == {
        id_: hashlib.sha256(data).digest() for id_, data in films.items()
    }
    third = subprocess.run(command, capture_output=True)
    report = json.loads(third.stdout)
    assert (report["inserted"], report["encoded"], report["unchanged"]) == (0, 0, 200)


# -- a server that misbehaves ----------------------------------------------------------------------


def json_hit(number: int, **told: Any) -> dict[str, Any]:
    uids = {"0020000D": "1.2.3", "0020000E": "1.2.3.1", "00080018": uid(number), "00080060": "DX"}
    return {tag: {"vr": "UI", "Value": [value]} for tag, value in {**uids, **told}.items()}


def multipart(data: bytes) -> tuple[int, dict[str, str], bytes]:
    body = b"--b\r\nContent-Type: application/dicom\r\n\r\n" + data + b"\r\n--b--\r\n"
    kind = 'multipart/related; type="application/dicom"; boundary=b'
    return 200, {"Content-Type": kind}, body


Answer = tuple[int, dict[str, str], bytes]


@contextmanager
def odd_server(answer: Callable[[str, int], Answer]) -> Iterator[tuple[str, list[Any]]]:
    """A server of one's own making; its address, and the requests that came."""
    asked: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked.append((self.path, dict(self.headers)))
            status, headers, body = answer(self.path, len(asked))
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{running.server_port}/dw", asked
    finally:
        running.shutdown()
        running.server_close()


def listed(*hits: dict[str, Any]) -> Callable[[str, int], Answer]:
    """Hits on the first page, and films by their UIDs."""

    def answer(path: str, _: int) -> Answer:
        if "/studies/" in path:
            number = int(path.rpartition(".")[2]) - 1
            return multipart(instance(number))
        page = hits if "offset=0" in path else ()
        return 200, {"Content-Type": "application/dicom+json"}, json.dumps(page).encode()

    return answer


def only(address: str, **options: Any) -> RemoteImage | Rejection:
    (found,) = open_source("dicomweb", address, query=QUERY, **options).records
    assert isinstance(found, RemoteImage | Rejection)
    return found


def test_a_busy_server_is_given_the_time_it_asks_for():
    films = listed(json_hit(0))

    def answer(path: str, count: int) -> Answer:
        if count in (2, 3):
            return (429, {"Retry-After": "1"}, b"") if count == 2 else (503, {}, b"")
        return films(path, count)

    with odd_server(answer) as (address, asked):
        begin = time.monotonic()
        assert only(address).fetch() == instance(0)
        assert time.monotonic() - begin >= 1  # what it asked for is a promise, not a speed
        assert len(asked) == 5


def test_the_token_goes_to_its_own_host_alone(monkeypatch):
    monkeypatch.setenv("CXR_DICOMWEB_TOKEN", "abc.def")
    with odd_server(listed(json_hit(0))) as (address, asked):
        only(address).fetch()
        host = address.split("/")[2]
        assert {headers["Host"] for _, headers in asked} == {host}  # with its port
        assert {headers["Authorization"] for _, headers in asked} == {"Bearer abc.def"}
    with (
        odd_server(listed(json_hit(0))) as (_, elsewhere),
        odd_server(lambda *_: (302, {"Location": "http://127.0.0.1:1/"}, b"")) as (address, _),
        pytest.raises(BadSource, match="sends us elsewhere"),
    ):
        only(address)
    assert elsewhere == []


def test_a_name_and_a_password(monkeypatch):
    monkeypatch.setenv("CXR_DICOMWEB_USER", "me")
    monkeypatch.setenv("CXR_DICOMWEB_PASSWORD", "pw")
    with odd_server(listed(json_hit(0))) as (address, asked):
        only(address)
        assert {headers["Authorization"] for _, headers in asked} == {"Basic bWU6cHc="}
    monkeypatch.setenv("CXR_DICOMWEB_TOKEN", "abc")
    with pytest.raises(UsageError, match="keep one of them"):
        only("http://127.0.0.1:1")


def test_wildcards_travel_as_they_are():
    with odd_server(listed()) as (address, asked):
        open_source("dicomweb", address, query="StudyDescription=Th*ax P?&PatientName=D^*")
    path = asked[0][0]
    assert "StudyDescription=Th*ax%20P?" in path and "%2A" not in path


@pytest.mark.parametrize(("status", "said"), [(401, "does not let us in"), (404, "answers 404")])
def test_a_server_that_refuses_the_query(status, said):
    with (
        odd_server(lambda *_: (status, {}, b"")) as (address, _),
        pytest.raises(BadSource, match=said),
    ):
        only(address)


def test_nobody_there():
    with pytest.raises(BadSource, match="does not answer"):
        only(f"http://127.0.0.1:{free_port()}", patience=0.5)


def test_a_server_that_ignores_a_keyword():
    with (
        odd_server(listed(json_hit(0, **{"00080060": "CT"}))) as (address, _),
        pytest.raises(BadSource, match="it ignores that part"),
    ):
        only(address)


def test_a_server_that_does_not_page():
    body = json.dumps([json_hit(0)]).encode()
    with (
        odd_server(lambda *_: (200, {"Content-Type": "application/json"}, body)) as (address, _),
        pytest.raises(BadSource, match="does not page"),
    ):
        only(address)


@pytest.mark.parametrize(
    "body", [b"<html>", b'{"a": 1}x', b'["x"]', b'[{"00080018": {"Value": ["1.2"]}}]']
)
def test_answers_that_are_no_list_of_films(body):
    with (
        odd_server(lambda *_: (200, {"Content-Type": "application/json"}, body)) as (address, _),
        pytest.raises(BadSource),
    ):
        only(address)


def test_films_that_cannot_be_had_are_refused_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(service, "MAX_BYTES", 100_000)
    bad: dict[int, Answer] = {
        1: (404, {}, b""),
        2: multipart(instance(7)),
        3: multipart(b"no film"),
        4: multipart(instance(4) + b"\0" * 300_000),
        5: (500, {}, b""),
        6: (200, {"Content-Type": "text/html"}, b"<html>"),
    }
    films = listed(*(json_hit(number) for number in range(7)))

    def answer(path: str, count: int) -> Answer:
        number = int(path.rpartition(".")[2]) - 1 if "/studies/" in path else 0
        return bad.get(number) or films(path, count)

    with odd_server(answer) as (address, _):
        gallery, report = store(tmp_path, address)
    assert gallery.ids() == [uid(0)]
    reasons = {one.source.rpartition("/")[2]: one.reason for one in report.rejected}
    assert reasons == {
        uid(1): "not_there",
        uid(2): "wrong_instance",
        uid(3): "damaged",
        uid(4): "too_large",
        uid(5): "not_there",
        uid(6): "damaged",
    }


def test_other_kinds_of_object_are_not_fetched():
    structured_report = "1.2.840.10008.5.1.4.1.1.88.11"
    with odd_server(listed(json_hit(0, **{"00080016": structured_report}))) as (address, asked):
        found = only(address)
        assert isinstance(found, Rejection) and found.reason == "wrong_modality"
        assert len(asked) == 2


def test_pages_that_shift_are_asked_for_again(monkeypatch):
    monkeypatch.setattr(service, "PAGE", 2)
    # While the list is read, film 9 comes in before the others: 1 is on both pages.
    first = [[json_hit(0), json_hit(1)], [json_hit(1), json_hit(2)], []]
    second = [[json_hit(9), json_hit(0)], [json_hit(1), json_hit(2)], []]
    pages = iter([*first, *second])

    def answer(*_: Any) -> Answer:
        return 200, {"Content-Type": "application/json"}, json.dumps(next(pages)).encode()

    with odd_server(answer) as (address, _):
        source = open_source("dicomweb", address, query=QUERY)
    assert {one.id for one in source.records if isinstance(one, RemoteImage)} == {
        uid(number) for number in (0, 1, 2, 9)
    }


def test_fetching_keeps_to_its_rate_and_its_connections():
    most, now, lock = 0, 0, threading.Lock()
    times: list[float] = []
    films = listed(*(json_hit(number) for number in range(6)))

    def answer(path: str, count: int) -> Answer:
        nonlocal most, now
        with lock:
            now += 1
            most = max(most, now)
            times.append(time.monotonic())
        time.sleep(0.05)
        with lock:
            now -= 1
        return films(path, count)

    with odd_server(answer) as (address, _):
        source = open_source("dicomweb", address, query=QUERY, connections=2, rate=20)
        remote = [one for one in source.records if isinstance(one, RemoteImage)]
        threads = [threading.Thread(target=one.fetch) for one in remote]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
    assert most <= 2 and len(times) == 8
    assert times[-1] - times[0] >= 7 / 20 * 0.9  # a floor on politeness, not on speed


# -- what is asked ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("", "says which films"),
        ("Modalty=CR", "did you mean Modality"),
        ("Foo=1", "would ignore it"),
        ("Modality", "no KEYWORD=VALUE"),
        ("Modality=", "no KEYWORD=VALUE"),
        ("Modality=CR&Modality=DX", "twice"),
        ("Modality=cr", "capitals: CR"),
        ("ModalitiesInStudy=CR", "Modality=CR"),
        ("StudyDate=2024", "a date such as"),
        ("StudyDate=-", "a date such as"),
        ("StudyInstanceUID=abc", "a UID"),
        ("limit=5", "left to cxr"),
        ("Rows=many", "a number"),
        ("99999999=1", "no keyword"),
    ],
)
def test_queries_that_are_refused(query, said):
    with pytest.raises(UsageError, match=said):
        open_source("dicomweb", "http://127.0.0.1:1/dw", query=query)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("http://me:geheim@127.0.0.1/dw", "holds a name or password"),
        ("ftp://me:geheim@127.0.0.1/dw", "no address"),
        ("http://me:geheim@127.0.0.1:x/dw", "no address"),
        ("https://host/dw?key=geheim", "ends in a query"),
        ("http://pacs.example.org/dw", "https, or --insecure-http"),
        ("pacs", "no address"),
        ("http://[::1]:80/dw", "IPv6"),
    ],
)
def test_addresses_that_are_refused(address, said):
    with pytest.raises(UsageError, match=said) as error:
        open_source("dicomweb", address, query=QUERY)
    assert "geheim" not in str(error.value)


@pytest.mark.parametrize(
    ("source", "link"),
    [
        ("https://h:1/a/studies/1.2/series/3/instances/4", "https://h:1/a/studies/1.2"),
        ("/films/studies/1.2/series/3/instances/4", None),
        ("https://h/films/a.png", None),
        ("", None),
    ],
)
def test_links_to_studies(source, link):
    assert study_link(source) == link


def test_not_on_a_cluster(tmp_path):
    with odd_server(listed(json_hit(0))) as (address, _):
        source = open_source("dicomweb", address, query=QUERY)
        encoder = FakeEncoder()
        gallery = Gallery.create(tmp_path / "gallery", encoder.stamp)
        with pytest.raises(UsageError, match="no --ray"):
            ingest(source, gallery, encoder, stage=lambda tasks: tasks)  # type: ignore[arg-type]
