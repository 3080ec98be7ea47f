"""A DICOMweb service: asked politely, for one page after the other and for one film at a time.

``dicomweb-client`` speaks the protocol. The session beneath is ours: few connections, no more than
so many requests a second, patience with a server that is busy or restarts, a token that goes to its
own host alone, no redirects, no answer beyond what a film may have.
"""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ingest.images.file_tree import MAX_BYTES
from ingest.sources.dicomweb.address import UID
from ingest.sources.dicomweb.query import check_hit, values_of
from store import BadImage, BadSource, UsageError

if TYPE_CHECKING:
    import requests

log = logging.getLogger("ingest")

#: Hits asked for at once.
PAGE = 200
#: Seconds to wait for a connection, and for the next bytes of an answer.
_TIMEOUT = (10.0, 120.0)
#: Answers that mean "later": too many requests, and a server that is busy or starts.
_LATER = (408, 429, 502, 503, 504)
#: Of a server: it does not let us in.
_SHUT = (401, 403, 407)
#: Seconds between two tries grow to this; how long a server may ask to be left alone.
_LONGEST_PAUSE, _RETRY_AFTER = 15.0, 300
#: Seconds for which a server that never answered is tried again.
_FIRST = 3.0
#: Times that a film is asked for whose answer breaks off.
_TRIES = 3
#: Times that the list is asked for while it changes under us.
_LISTINGS = 3
#: Bytes of an answer beyond those of the film in it.
_AROUND = 1 << 16
_STUDY, _SERIES, _INSTANCE, _CLASS = "0020000D", "0020000E", "00080018", "00080016"


@dataclass(frozen=True, slots=True)
class Hit:
    """A film that a server has: its UIDs, and its storage class where that is told."""

    study: str
    series: str
    instance: str
    storage_class: str | None


class Server:
    """A DICOMweb service.

    Args:
        address: as ``check_address`` gave it.
        rate: requests a second, at most.
        connections: requests at a time, at most.
        patience: seconds for which a server that does not answer is tried again.

    Raises:
        UsageError: ``dicomweb-client`` is not installed; a token that cannot be sent.
    """

    def __init__(
        self, address: str, rate: float = 20.0, connections: int = 4, patience: float = 120.0
    ) -> None:
        if rate <= 0 or connections < 1:
            raise UsageError(f"rate {rate:g}, connections {connections}: expected more than 0")
        try:
            from dicomweb_client import DICOMwebClient
        except ImportError as error:
            raise UsageError(
                f"DICOMweb needs dicomweb-client ({error}); pip install 'cxr-retrieval[dicomweb]'"
            ) from error
        self.host = urlsplit(address).netloc
        self._patience = patience
        self._session = _session(self.host, rate, connections, min(patience, _FIRST))
        self._client = DICOMwebClient(address, session=self._session, timeout=_TIMEOUT)
        self._client.set_http_retry_params(retry=False)  # the session's are kinder

    def find(self, query: Mapping[str, str]) -> list[Hit]:
        """All films that match, in the order of their UIDs.

        Pages shift when films come in meanwhile: where that shows, the list is asked for again and
        what either has counts.

        Raises:
            BadSource: no answer, or none that can be used.
        """
        found: dict[str, Hit] = {}
        for _ in range(_LISTINGS):
            pages = list(self._pages(query))
            found |= {hit.instance: hit for page in pages for hit in page}
            if len({hit.instance for page in pages for hit in page}) == sum(map(len, pages)):
                break
        return sorted(found.values(), key=lambda hit: (hit.study, hit.series, hit.instance))

    def _pages(self, query: Mapping[str, str]) -> Iterator[list[Hit]]:
        offset = 0
        before: list[Hit] = []
        while True:
            page = self._page(query, offset)
            if not page:
                return
            if page == before:
                raise BadSource(
                    f"{self.host} answers with the same films for every page: it does not page; "
                    "ask for less at a time, by StudyDate"
                )
            yield page
            before, offset = page, offset + len(page)

    def _page(self, query: Mapping[str, str], offset: int) -> list[Hit]:
        import requests

        try:
            results = self._client.search_for_instances(
                limit=PAGE, offset=offset, search_filters=dict(query)
            )
        except requests.HTTPError as error:
            raise self._refused(error, "the query") from error
        except (requests.RequestException, ValueError) as error:
            raise self._away(error) from error
        if offset == 0:  # it is there: from now on it is waited for
            for adapter in self._session.adapters.values():
                adapter.max_retries = _retries(self.host, self._patience)  # type: ignore[attr-defined]
        hits = []
        for result in results if isinstance(results, list) else [None]:
            if not isinstance(result, dict):
                raise BadSource(f"{self.host} answers with something else than a list of films")
            check_hit(result, query, self.host)
            uids = [values_of(result, tag)[:1] for tag in (_STUDY, _SERIES, _INSTANCE)]
            flat = [one for uid in uids for one in uid if UID.fullmatch(one)]
            if len(flat) != 3:
                raise BadSource(
                    f"{self.host} names a film without the UIDs of its study, series and instance: "
                    "it cannot be fetched; ask for one study: StudyInstanceUID=..."
                )
            study, series, instance = flat
            kind = next(iter(values_of(result, _CLASS)), None)
            hits.append(Hit(study, series, instance, kind))
        return hits

    def fetch(self, hit: Hit) -> bytes:
        """The bytes of a film, as it was stored there; a picture of it would not be the film.

        Raises:
            BadImage: ``not_there``, ``too_large``, ``damaged``, ``wrong_instance``: this film
                cannot be had.
            BadSource: the server cannot be had.
        """
        import requests

        name = f"film {hit.instance} of {self.host}"
        for left in reversed(range(_TRIES)):
            try:
                film = self._client.retrieve_instance(hit.study, hit.series, hit.instance)
            except requests.HTTPError as error:
                status = getattr(error.response, "status_code", 0)
                if status in _SHUT or status in _LATER:
                    raise self._refused(error, "a film") from error
                raise BadImage("not_there", f"{name}: the server answers {status}") from error
            except requests.exceptions.ChunkedEncodingError as error:
                if not left:
                    raise BadImage("damaged", f"{name}: the answer breaks off") from error
                continue
            except requests.RequestException as error:
                raise self._away(error) from error
            except BadImage:
                raise
            except Exception as error:  # of the client's and pydicom's parsers, any
                kind = type(error).__name__
                raise BadImage("damaged", f"{name} cannot be read ({kind})") from error
            if str(film.get("SOPInstanceUID", "")) != hit.instance:
                raise BadImage("wrong_instance", f"{name}: the server sent another film")
            data: bytes = film.buffer.getvalue()
            return data
        raise AssertionError("the last try returns or raises")

    def _refused(self, error: Any, what: str) -> BadSource:
        status = getattr(error.response, "status_code", 0)
        if status in _SHUT:
            return BadSource(
                f"{self.host} does not let us in ({status}); set CXR_DICOMWEB_TOKEN, or "
                "CXR_DICOMWEB_USER and CXR_DICOMWEB_PASSWORD"
            )
        return BadSource(
            f"{self.host} answers {status} to {what}; is the address that of its DICOMweb service, "
            "such as https://pacs.example.org/dicom-web, and can it search for instances?"
        )

    def _away(self, error: Exception) -> BadSource:
        import requests

        if isinstance(error, requests.TooManyRedirects):
            return BadSource(f"{self.host} sends us elsewhere; give the address that it leads to")
        kind = type(error).__name__
        return BadSource(
            f"{self.host} does not answer ({kind}); what is stored stays, and the same command "
            "goes on from there"
        )


def _session(host: str, rate: float, connections: int, patience: float) -> requests.Session:
    """The session of a server; see the module."""
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3 import BaseHTTPResponse

    class Polite(HTTPAdapter):
        """Adapter that waits its turn, and reads no more than a film may have."""

        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self._turn, self._next = threading.Lock(), 0.0

        def send(self, request: Any, *arguments: Any, **options: Any) -> Any:
            with self._turn:
                now = time.monotonic()
                begin = max(now, self._next)
                self._next = begin + 1 / rate
            time.sleep(begin - now)
            response = super().send(request, *arguments, **options)
            response.raw = _Bounded(response.raw, host)
            return response

    class _Bounded:
        """Body of an answer that raises BadImage beyond the size of the largest film."""

        def __init__(self, body: BaseHTTPResponse, host: str) -> None:
            self._body, self._host, self._read = body, host, 0

        def stream(self, size: int, decode_content: bool = True) -> Iterator[bytes]:
            for piece in self._body.stream(size, decode_content=decode_content):
                self._read += len(piece)
                if self._read > MAX_BYTES + _AROUND:
                    self._body.close()
                    raise BadImage(
                        "too_large",
                        f"{self._host} sends more than {MAX_BYTES >> 20} MiB for a film",
                    )
                yield piece

        def __getattr__(self, name: str) -> Any:
            return getattr(self._body, name)

    session = requests.Session()
    adapter = Polite(
        pool_connections=1,
        pool_maxsize=connections,
        pool_block=True,
        max_retries=_retries(host, patience),
    )
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    session.max_redirects = 0
    session.auth = _Greeting(host)
    return session


def _retries(host: str, patience: float) -> Any:
    """How often a request is tried again, and after which pauses; says when that begins."""
    from urllib3 import Retry

    # Its own lines quote addresses and counters, one for each try.
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)

    class Patient(Retry):
        """Retries of urllib3 that say once that they begin."""

        def increment(self, *arguments: Any, **options: Any) -> Any:
            if len(self.history) == 1:
                log.warning("%s is busy or away; trying again for %.0f s", host, patience)
            return super().increment(*arguments, **options)

    tries, total = 0, 0.0
    while total < patience:  # as urllib3 counts: at once, then 0.6, 1.2, ...
        total += min(_LONGEST_PAUSE, 0.3 * 2**tries) if tries else 0.0
        tries += 1
    return Patient(
        total=max(tries - 1, 0),
        redirect=False,
        status_forcelist=_LATER,
        allowed_methods=["GET"],
        backoff_factor=0.3,
        backoff_max=_LONGEST_PAUSE,
        backoff_jitter=0.1,
        retry_after_max=_RETRY_AFTER,
        raise_on_status=False,
    )


class _Greeting:
    """What every request carries: the token, the whole name of the host, wildcards as they are."""

    def __init__(self, host: str) -> None:
        self._host, self._authorization = host, _authorization()

    def __call__(self, request: Any) -> Any:
        request.headers["User-Agent"] = "cxr-retrieval"
        request.headers["Host"] = self._host  # the client leaves the port out
        if self._authorization is not None:
            request.headers["Authorization"] = self._authorization
        # The client writes * as %2A; Orthanc 1.10 compares a value as it stands. These characters
        # may stand in a query, and a space is %20 to every server.
        address, mark, query = request.url.partition("?")
        query = query.replace("+", "%20")
        query = re.sub(r"%(2A|3F|2C|3A|2F|40|2a|3f|2c|3a|2f)", _plain, query)
        request.url = f"{address}{mark}{query}"
        return request


def _plain(found: re.Match[str]) -> str:
    return chr(int(found[1], 16))


def _authorization() -> str | None:
    """The header by the environment: a token, or a name and password; None without either."""
    from requests.auth import _basic_auth_str

    token = os.environ.get("CXR_DICOMWEB_TOKEN", "").strip()
    user = os.environ.get("CXR_DICOMWEB_USER", "")
    if token and user:
        raise UsageError("CXR_DICOMWEB_TOKEN and CXR_DICOMWEB_USER are both set; keep one of them")
    if token:
        if not re.fullmatch(r"[\x21-\x7e]+", token):
            raise UsageError("CXR_DICOMWEB_TOKEN holds spaces or letters that no token has")
        return f"Bearer {token}"
    if user:
        header: str = _basic_auth_str(user, os.environ.get("CXR_DICOMWEB_PASSWORD", ""))
        return header
    return None
