"""Source of the films of a DICOMweb service that match a query.

The id is the SOPInstanceUID, as of files: a film that the gallery has, from wherever, is not
fetched again, so that a run that was cut off is finished by running it again. A row's source is the
film's address, whose beginning is that of its study. Of the header only what
``ingest.sources.dicom`` keeps is kept, patient and study as salted hashes; the address names the
study by its UID.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from ingest.images.dicom.body_parts import check_choice
from ingest.images.dicom.header import MODALITIES, TELLS, may_be_film
from ingest.images.file_tree import shown
from ingest.record import Rejection, RemoteImage
from ingest.sources.dicom import read_dicom
from ingest.sources.dicomweb.address import check_address, instance_link
from ingest.sources.dicomweb.query import parse_query
from ingest.sources.dicomweb.server import Hit, Server
from ingest.sources.source import Source

#: Films per commit: fewer than of files, which cost less to read again.
BATCH = 64


def records(
    place: str,
    *,
    query: str = "",
    dataset: str | None = None,
    body_part: str = "chest",
    rate: float = 20.0,
    connections: int = 4,
    insecure_http: bool = False,
    patience: float = 120.0,
) -> Source:
    """The films of a DICOMweb service that match a query.

    A name and password, or a token, come from the environment (``CXR_DICOMWEB_TOKEN``, or
    ``CXR_DICOMWEB_USER`` and ``CXR_DICOMWEB_PASSWORD``) and are stored nowhere.

    Args:
        place: the service's address, e.g. ``https://pacs.example.org/dicom-web``.
        query: which films, e.g. ``Modality=CR&StudyDate=20240101-``; see parse_query.
        dataset: name of the data set; the name of the host when ``None``.
        body_part: ``any`` takes films whatever part of the body their headers name.
        rate: requests a second, at most.
        connections: requests at a time, at most.
        insecure_http: whether plain http may go to another machine.
        patience: seconds for which a server that does not answer is tried again.

    Raises:
        UsageError: an address or query that cannot be used; ``dicomweb-client`` is not installed;
            the salt for patient numbers cannot be read or made.
        BadSource: the server does not answer, or not as a DICOMweb service does.
    """
    from ingest.images.pseudonym import pseudonym

    part = check_choice(body_part)
    address = check_address(place, insecure_http)
    wanted = parse_query(query)
    pseudonym("check", "")  # a salt that is out of reach is told now, not in the middle
    server = Server(address, rate, connections, patience)
    hits = server.find(wanted)
    name = shown(dataset or server.host.partition(":")[0]) or "dicomweb"
    refused = {hit: _no_film(address, hit) for hit in hits if not may_be_film(hit.storage_class)}
    read = partial(read_dicom, body_part=part)

    def items() -> Iterator[RemoteImage | Rejection]:
        for hit in hits:
            if hit in refused:
                yield refused[hit]
                continue
            yield RemoteImage(
                id=hit.instance,
                metadata={"dataset": name, "source": _link(address, hit)},
                fetch=partial(server.fetch, hit),
                read=read,
                tells=TELLS,
            )

    return Source(
        name=name,
        total=len(hits),
        records=items(),
        note=None if hits else f"no instance of {server.host} matches {query}",
        refused=tuple(refused.values()),
        labelling=_asked(wanted),
        batch=BATCH,
        remote=True,
    )


def _link(address: str, hit: Hit) -> str:
    return instance_link(address, hit.study, hit.series, hit.instance)


def _no_film(address: str, hit: Hit) -> Rejection:
    return Rejection(
        _link(address, hit),
        "wrong_modality",
        f"storage class {hit.storage_class} is none of films; expected {', '.join(MODALITIES)} or "
        "a secondary capture; not fetched",
    )


def _asked(query: Mapping[str, str]) -> dict[str, Any]:
    """What is reported of the query: its keywords; a value may name a person."""
    return {"query": list(query)}
