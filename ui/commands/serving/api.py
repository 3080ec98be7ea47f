"""``cxr api``: a read-only HTTP service over a gallery."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Annotated

import typer

from store import UsageError
from ui.commands import output
from ui.commands.options import Device, EncoderName, Index, OnLost, Shards, ShardsRay, Store
from ui.commands.serving.serve import check_port
from ui.opening import FILE_MB, HOST, open_gallery

#: Variable with the token; a flag would show in the list of processes.
TOKEN = "CXR_API_TOKEN"  # noqa: S105 - a name
_TOKEN_LEAST = 16


def api(
    store: Store,
    encoder: EncoderName = None,
    device: Device = None,
    index: Index = None,
    shards: Shards = None,
    ray: ShardsRay = None,
    on_lost: OnLost = None,
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)] = 8502,
    host: Annotated[
        str, typer.Option(help=f"Address to listen on; any but {HOST} takes a token in ${TOKEN}.")
    ] = HOST,
    rate: Annotated[
        str, typer.Option(help="Most requests of one client, e.g. 20/second.")
    ] = "600/minute",
    max_mb: Annotated[int, typer.Option(help="Largest body, in MB.", min=1, max=1024)] = FILE_MB,
    paths: Annotated[
        bool, typer.Option("--paths", help="Tell local paths: of the gallery and of the films.")
    ] = False,
) -> None:
    """Serve search, films, facets and evaluation over HTTP, read-only, until Ctrl-C.

    The documents are those of the command line; /docs describes and tries them. A token is asked
    for where $CXR_API_TOKEN is set: Authorization: Bearer TOKEN. See docs/api.md.
    """
    if missing := [
        name for name in ("fastapi", "fastapi_offline", "limits") if not find_spec(name)
    ]:
        raise UsageError(
            f"cxr api needs {', '.join(missing)}: pip install 'cxr-retrieval[api]' installs it"
        )
    token = os.environ.get(TOKEN, "").strip() or None
    alone = host in (HOST, "localhost", "::1")
    if token is None and not alone:
        raise UsageError(
            f"--host {host!r} lets other machines ask: set a token of {_TOKEN_LEAST} characters or "
            f"more in ${TOKEN}, or leave --host out"
        )
    if token is not None and len(token) < _TOKEN_LEAST:
        raise UsageError(
            f"${TOKEN} has {len(token)} characters; expected {_TOKEN_LEAST} or more, e.g. from: "
            "openssl rand -hex 24"
        )
    import uvicorn

    from ingest.encoders import encoder_for
    from ui.api.guards import Limits
    from ui.api.service import make
    from ui.api.serving import Served

    limits = Limits(token, rate, max_mb << 20)
    check_port(port, host)
    gallery = open_gallery(store, index, shards, ray, on_lost)
    output.warn_if_synthetic(gallery)
    output.say_if_inexact(gallery)
    gallery.refresh()
    served = Served(gallery, lambda: encoder_for(gallery, encoder, device=device))
    names = (HOST, "localhost", "[::1]") if alone else ()
    app = make(served, limits, paths=paths, workers=max(os.cpu_count() or 1, 2), hosts=names)
    output.say(f"service on http://{host}:{port}, its documentation on /docs; Ctrl-C ends it")
    uvicorn.run(app, host=host, port=port, log_level="warning", access_log=False)
