"""The HTTP service: its routes over one gallery and one encoder."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import PurePath
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import anyio
import anyio.to_thread
from fastapi import FastAPI, Query, Request, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware

from store import (
    BadQuery,
    CxrError,
    EncoderUnavailable,
    Gallery,
    StoreDamaged,
    StoreNotFound,
    StoreUnreachable,
    UnknownId,
    parse_where,
)
from ui import queries, word_hits
from ui.api import requests
from ui.api.guards import Guard, Limits
from ui.api.requests import DEPTH_MAX, ID_MAX, LIST_MAX, WHERE_MAX, SearchRequest
from ui.api.serving import Served
from ui.tables import as_dict, plain, shown

if TYPE_CHECKING:
    from store import Hit, Row, Where

T = TypeVar("T")
WhereQuery = Annotated[
    list[requests.Condition] | None,
    Query(max_length=WHERE_MAX, description="KEY=VALUE; repeat"),
]
_CARE = "For research and education only, never for diagnosis."
#: States of the server rather than faults of a request.
_UNAVAILABLE = (EncoderUnavailable, StoreDamaged, StoreNotFound, StoreUnreachable)


class Pool:
    """Threads that answer, so many at once, in the order in which requests came.

    Args:
        most: threads at once. More than there are cores make answers later, not more.
    """

    def __init__(self, most: int) -> None:
        self._limiter = anyio.CapacityLimiter(most)

    async def run(self, work: Callable[[], T]) -> T:
        """What some work returns, run in a thread."""
        return await anyio.to_thread.run_sync(work, limiter=self._limiter)


def make(
    served: Served,
    limits: Limits,
    *,
    paths: bool = False,
    workers: int = 2,
    hosts: Sequence[str] = (),
) -> FastAPI:
    """The application.

    Args:
        served: what it answers from.
        limits: token, rate and size.
        paths: whether answers tell local paths: of the gallery, and where films came from.
        workers: searches at once.
        hosts: names by which it may be asked, against pages that let theirs point here; empty for
            any.
    """

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        threading.Thread(target=served.warm, name="warm-up", daemon=True).start()
        with served.followed():
            yield

    token = [] if limits.token is None else [Security(HTTPBearer(auto_error=False))]
    app: FastAPI = FastAPIOffline(
        title="cxr-retrieval",
        version="1",
        description=f"Find similar chest radiographs, by exact cosine scores. {_CARE}",
        redoc_url=None,
        lifespan=life,
        dependencies=token,  # for the documentation: Guard asks for it
    )
    pool = Pool(workers)
    _say_errors(app, served.gallery.uri, paths)
    _add_searches(app, served, pool, paths)
    _add_films(app, served, pool, paths)
    _add_state(app, served, pool, paths)
    app.add_middleware(Guard, limits=limits)
    if hosts:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=[*hosts])
    return app


def _say_errors(app: FastAPI, uri: str, paths: bool) -> None:
    """Errors as ``{"error": sentence}`` with the fitting status, and no path of the gallery."""

    @app.exception_handler(CxrError)
    async def refused(_: Request, error: CxrError) -> JSONResponse:
        status = 404 if isinstance(error, UnknownId) else 400
        if isinstance(error, _UNAVAILABLE):
            status = 503
        said = str(error) if paths else str(error).replace(uri, PurePath(uri).name)
        return JSONResponse({"error": said, "kind": type(error).__name__}, status)

    @app.exception_handler(RequestValidationError)
    async def misread(_: Request, error: RequestValidationError) -> JSONResponse:
        said = [
            f"{'.'.join(str(part) for part in one['loc'][1:]) or 'body'}: {one['msg']}"
            for one in error.errors()[:5]
        ]
        return JSONResponse({"error": "; ".join(said), "kind": "BadRequest"}, 422)

    @app.exception_handler(HTTPException)
    async def other(_: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse({"error": error.detail}, error.status_code, error.headers)


def _add_searches(app: FastAPI, served: Served, pool: Pool, paths: bool) -> None:
    @app.post(
        "/search",
        summary="The films most similar to a sentence, a film, a vector, or with words in reports",
    )
    async def search(asked: SearchRequest) -> dict[str, Any]:
        return await pool.run(lambda: _searched(served, asked, paths))

    @app.get("/search", summary="The same for a sentence, an id or words, in the address")
    async def search_address(
        address: Annotated[requests.AddressSearch, Query()],
    ) -> dict[str, Any]:
        asked = SearchRequest(**address.model_dump())
        return await pool.run(lambda: _searched(served, asked, paths))

    body = {"image/*": {"schema": {"type": "string", "format": "binary"}}}

    @app.post(
        "/search/image",
        summary="The films most similar to an image: its bytes are the body",
        openapi_extra={"requestBody": {"required": True, "content": body}},
    )
    async def search_image(
        request: Request, address: Annotated[requests.ImageSearch, Query()]
    ) -> dict[str, Any]:
        data = await request.body()
        asked = SearchRequest(**address.model_dump(exclude={"body_part"}))
        return await pool.run(lambda: _by_image(served, asked, data, address.body_part, paths))


def _add_films(app: FastAPI, served: Served, pool: Pool, paths: bool) -> None:
    @app.get("/films", summary="Films by id, some at a time, with their metadata")
    async def films(
        where: WhereQuery = None,
        start: Annotated[int, Query(ge=0)] = 0,
        count: Annotated[int, Query(ge=1, le=LIST_MAX)] = 100,
    ) -> dict[str, Any]:
        def listed() -> dict[str, Any]:
            gallery = served.now()
            condition = _condition(gallery, where or [])
            ids = gallery.ids(condition)
            rows = gallery.rows(ids[start : start + count])
            return {
                "films": [_film(row, paths) for row in rows.values()],
                "total": len(ids),
                "start": start,
                "store": _store(gallery, paths),
            }

        return await pool.run(listed)

    @app.get("/films/{id:path}", summary="One film")
    async def film(id: str) -> dict[str, Any]:  # noqa: A002
        return await pool.run(lambda: _film(served.now().row(id), paths))

    @app.get(
        "/thumbnails/{id:path}",
        summary="A film's thumbnail: PNG, 256 pixels at most",
        response_class=Response,
        responses={200: {"content": {"image/png": {}}}},
    )
    async def thumbnail(id: str) -> Response:  # noqa: A002
        def picture() -> bytes:
            found = served.now().thumbnails([id])[id]
            if found is None:
                raise UnknownId(f"film {id!r} has no picture in the gallery, only a vector")
            return found

        return Response(await pool.run(picture), media_type="image/png")


def _add_state(app: FastAPI, served: Served, pool: Pool, paths: bool) -> None:
    @app.get("/facets", summary="Counts of films by value, and ranges of numbers")
    async def facets(where: WhereQuery = None) -> dict[str, Any]:
        def counted() -> dict[str, Any]:
            gallery = served.now()
            condition = _condition(gallery, where or [])
            ranges = gallery.ranges(condition)
            return {
                "facets": gallery.facets(condition),
                "ranges": {
                    name: plain({"least": one.low, "greatest": one.high})
                    for name, one in ranges.items()
                },
                "store": _store(gallery, paths),
            }

        return await pool.run(counted)

    one_at_a_time = Pool(1)

    @app.get("/evaluation", summary="Precision@k with intervals, as cxr evaluate --json")
    async def evaluation(
        protocol: Literal["leave-one-out", "split"] = "leave-one-out",
        k: Annotated[str, Query(max_length=100, pattern=r"^\d+(,\d+)*$")] = "1,3,5,10",
        split: Annotated[
            str | None,
            Query(max_length=ID_MAX, description="whose films are queries, or all; default: test"),
        ] = None,
        relevance: Annotated[str, Query(max_length=ID_MAX)] = "any",
        same_patient: Literal["exclude", "count"] = "exclude",
    ) -> dict[str, Any]:
        depths = tuple(int(one) for one in k.split(",")[:20])

        def measure() -> dict[str, Any]:
            from ingest import BASELINES

            gallery = served.now()
            asking = split or ("test" if "test" in gallery.facets()["split"] else "all")
            found = served.measured(
                gallery,
                (protocol, depths, asking, relevance, same_patient),
                lambda: gallery.evaluate(
                    protocol,
                    depths,
                    split=None if asking == "all" else asking,
                    baselines=BASELINES,
                    relevance=relevance,
                    same_patient=same_patient,
                ).as_dict(),
            )
            return {**found, "store": _store(gallery, paths)}

        return await one_at_a_time.run(measure)

    @app.get("/health", summary="Whether the service answers, and from which version")
    async def health() -> dict[str, Any]:
        gallery = served.now()
        return {
            "status": "ok" if served.trouble is None else "not following the table",
            "trouble": served.trouble if paths else None,
            "rows": len(gallery),
            "table_version": gallery.table_version,
            "encoder": served.encoder_state(),
            "notice": _CARE,
        }


def _searched(served: Served, asked: SearchRequest, paths: bool) -> dict[str, Any]:
    ways = [asked.text, asked.id, asked.vector]
    given = len(ways) - ways.count(None)
    if given > 1 or not (given or asked.like or asked.words is not None):
        raise BadQuery("give exactly one of text, id and vector, films in like, or words")
    gallery = served.now()
    if asked.id is not None:
        return _answer(gallery, asked, {"id": asked.id}, asked.id, paths)
    if asked.vector is not None:
        told = {"vector": f"{len(asked.vector)} numbers"}
        return _answer(gallery, asked, told, asked.vector, paths)
    if asked.text is None:
        return _answer(gallery, asked, {}, None, paths)
    queries.check_long_text(asked.long_text, bool(asked.like or asked.unlike))
    query = queries.of_text(served.encoder(), asked.text, asked.long_text, "long_text:")
    query.told["labels"] = labels = queries.labels_instead(gallery, query, asked.text)
    named = [f"{one!r} is a label here; to see its films: where label={one}" for one in labels[:3]]
    warnings = (*query.warnings, *named)
    return _answer(gallery, asked, query.told, query.vector, paths, warnings)


def _by_image(
    served: Served, asked: SearchRequest, data: bytes, body_part: Any, paths: bool
) -> dict[str, Any]:
    from ingest import decode

    if not data:
        raise BadQuery("the body is empty: send the bytes of an image file")
    gallery = served.now()
    pixels = decode(data, "the image", body_part)
    query = queries.of_image(gallery, served.encoder(), pixels, "the image")
    own = queries.own_films(gallery, [], (data, pixels)).ids if asked.other_patients else ()
    return _answer(gallery, asked, query.told, query.vector, paths, query.warnings, own)


def _answer(
    gallery: Gallery,
    asked: SearchRequest,
    told: dict[str, Any],
    query: Any,
    paths: bool,
    warnings: Sequence[str] = (),
    exclude: Sequence[str] = (),
) -> dict[str, Any]:
    """The document of a search: that of the command line, and the warnings it prints."""
    from store import parse_weights

    beside = {
        "picture": told.get("image"),
        "film": asked.id,
        "text": asked.text,
        "vector": asked.vector,
        "films": asked.like,
    }
    words = queries.of_words(asked.words, asked.negated, asked.fusion, beside)
    if asked.k * asked.page > DEPTH_MAX:
        raise BadQuery(f"page {asked.page} of {asked.k} hits: all pages hold {DEPTH_MAX:,} at most")
    using = parse_weights(asked.weights) if asked.weights else None
    if asked.like or asked.unlike:
        told |= queries.of_marks(asked.like, asked.unlike, using)
    if asked.other_patients:
        named = [*([] if asked.id is None else [asked.id]), *asked.like]
        own = queries.own_films(gallery, named)
        exclude = tuple(sorted({*exclude, *own.ids}))
        told["other_patients"] = {"excluded": own.kind, "films": len(exclude)}
    where = _condition(gallery, asked.where)
    depth = min(asked.k * asked.page, len(gallery))
    hits: Sequence[Hit] = []
    if words is not None:
        told |= words.told
    if depth:
        hits = queries.hits_of(
            gallery,
            query,
            words,
            depth,
            like=asked.like,
            unlike=asked.unlike,
            weights=using,
            where=where,
            exclude=exclude,
        )[asked.k * (asked.page - 1) :]
    near = None if words is None else words.beside
    more = [word_hits.as_dict(hit, near, False) for hit in hits if word_hits.is_word_hit(hit)]
    document = as_dict(told, asked.k, where, hits, asked.page, more)
    for hit in document["hits"]:
        _without_path(hit, paths)
    return {**document, "warnings": [*warnings], "store": _store(gallery, paths)}


def _condition(gallery: Gallery, where: Sequence[str]) -> Where | None:
    return parse_where(list(where), gallery.columns()) if where else None


def _film(row: Row, paths: bool) -> dict[str, Any]:
    film = {
        "id": row.id,
        **plain(shown(row, "json")),
        "outcome": row.outcome,
        "view": row.view,
        "sex": row.sex,
        "age": row.age,
        "width": row.width,
        "height": row.height,
        "batch": row.batch,
        "extra": plain(row.extra),
    }
    return _without_path(film, paths)


def _without_path(film: dict[str, Any], paths: bool) -> dict[str, Any]:
    """The document with its source's file name alone, unless paths are told."""
    if not paths and film.get("source"):
        film["source"] = PurePath(film["source"]).name
    return film


def _store(gallery: Gallery, paths: bool) -> dict[str, Any]:
    found = gallery.describe()
    return found if paths else {**found, "uri": PurePath(found["uri"]).name}
