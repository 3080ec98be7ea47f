"""``cxr serve``: the dashboard as a child process, until Ctrl-C."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from store import CxrError, UsageError, location
from ui.commands import output
from ui.commands.options import Device, EncoderName, Index, OnLost, Shards, ShardsRay, Store
from ui.dashboard import child_process
from ui.opening import HOST, PORT

Port = Annotated[int, typer.Option(min=1, max=65535, help="Port on 127.0.0.1.")]
_visitors = partial(typer.Option, rich_help_panel="Visitors")
#: Signals that end the server in an orderly way; the end of this process ends it, too.
_ENDS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Originals(StrEnum):
    """Whether the films' own files may be shown."""

    ON = "on"
    OFF = "off"


def serve(
    store: Store,
    encoder: EncoderName = None,
    device: Device = None,
    index: Index = None,
    shards: Shards = None,
    ray: ShardsRay = None,
    on_lost: OnLost = None,
    port: Port = PORT,
    compare: Annotated[
        list[str] | None,
        typer.Option(
            help="Another gallery with the same films, to compare on the Evaluation page; "
            "repeatable."
        ),
    ] = None,
    allow_ingest: Annotated[
        bool,
        _visitors(
            "--allow-ingest",
            help="Offer the Batches page: visitors may add films and undo batches.",
        ),
    ] = False,
    allow_curation: Annotated[
        bool,
        _visitors(
            "--allow-curation",
            help="Visitors may tag, label, note, exclude and delete films, and undo that. "
            "--allow-ingest allows it too.",
        ),
    ] = False,
    ingest_root: Annotated[
        list[Path] | None,
        _visitors(help="A folder of this machine that the Batches page may read from; repeatable."),
    ] = None,
    sign_in: Annotated[
        Path | None,
        _visitors(
            help="A TOML file with an OpenID Connect provider; nobody enters without signing in. "
            "See docs/serving.md.",
        ),
    ] = None,
    visitors: Annotated[
        int | None,
        _visitors(
            min=1,
            help="Most windows open at once. Default: 1,000, or fewer where the system's limit "
            "of open files is low.",
        ),
    ] = None,
    originals: Annotated[
        Originals | None,
        _visitors(
            help="off: visitors see the thumbnails kept in the gallery and nothing of the films' "
            "own files. Default: $CXR_ORIGINALS, else on."
        ),
    ] = None,
    public_url: Annotated[
        str | None,
        _visitors(help="The address behind a proxy, e.g. https://films.example.org/cxr."),
    ] = None,
) -> None:
    """Serve the dashboard on 127.0.0.1 until Ctrl-C."""
    if public_url and (allow_ingest or allow_curation) and not sign_in:
        option = "--allow-ingest" if allow_ingest else "--allow-curation"
        raise UsageError(
            f"{option} with --public-url would let everyone who finds the address write to "
            "the gallery; add --sign-in FILE, see docs/serving.md"
        )
    if ingest_root and not allow_ingest:
        raise UsageError("--ingest-root goes with --allow-ingest")
    options = [*_sign_in(sign_in), *_public(public_url)]
    variables = {
        "CXR_INDEX": index or "",
        "CXR_SHARDS": str(shards or ""),
        "CXR_RAY": ray or "",
        "CXR_ON_LOST": on_lost or "",
        "CXR_COMPARE": "\n".join(compare or ()),
        "CXR_ALLOW_INGEST": "1" if allow_ingest else "",
        "CXR_ALLOW_CURATION": "1" if allow_curation else "",
        "CXR_INGEST_ROOTS": os.pathsep.join(map(_root, ingest_root or ())),
        "CXR_SIGN_IN": "1" if sign_in else "",
        "CXR_PUBLIC_URL": public_url or "",
        "CXR_VISITORS": str(visitors or ""),
        **({} if originals is None else {"CXR_ORIGINALS": originals.value}),
    }
    run(store, encoder, device, port, options, variables)


def _root(folder: Path) -> str:
    if not folder.is_dir() or os.pathsep in str(folder):
        raise UsageError(f"--ingest-root {str(folder)!r}: expected a folder that is there")
    return str(folder.resolve())


def _sign_in(file: Path | None) -> list[str]:
    """Options of Streamlit for a sign-in file, which is checked first."""
    if file is None:
        return []
    from ui.dashboard.sign_in import check_file

    check_file(file)
    return ["--secrets.files", str(file.resolve())]


def _public(url: str | None) -> list[str]:
    """Options of Streamlit for an address behind a proxy."""
    if not url:
        return []
    try:
        place = urlsplit(url)
        port = place.port or (443 if place.scheme == "https" else 80)
    except ValueError:
        port = 0
    if (
        not url.isprintable()
        or not port
        or place.scheme not in ("http", "https")
        or not place.hostname
        or place.query
    ):
        raise UsageError(f"--public-url {url!r}: expected e.g. https://films.example.org/cxr")
    options = ["--browser.serverAddress", place.hostname, "--browser.serverPort", str(port)]
    for host in ("localhost", HOST, place.hostname):
        options += ["--server.allowedHosts", host]
    if place.path.strip("/"):
        options += ["--server.baseUrlPath", place.path.strip("/")]
    return options


def check_port(port: int, host: str = HOST) -> None:
    """Refuse a port that something else listens on, before any work is done."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise CxrError(
                f"port {port} on {host} is taken, perhaps by another cxr: look at "
                f"http://{host}:{port}, stop that one, or pass --port ({error.strerror})"
            ) from None


def run(
    store: str,
    encoder: str | None,
    device: str | None,
    port: int,
    options: Sequence[str] = (),
    variables: Mapping[str, str] | None = None,
) -> None:
    """Start Streamlit as a child process and wait for it.

    Args:
        store: the gallery.
        encoder: for uploads and texts; the gallery's own when None.
        device: of the encoder.
        port: on 127.0.0.1.
        options: of Streamlit.
        variables: environment variables for the dashboard, besides those of store and encoder.
    """
    check_port(port)
    chosen = {"CXR_STORE": location(store), "CXR_ENCODER": encoder, "CXR_DEVICE": device}
    environment = {
        **os.environ,
        **{name: value for name, value in chosen.items() if value},
        **(variables or {}),
    }
    app = Path(__file__).parents[2] / "dashboard" / "asgi.py"
    arguments = ["run", str(app), "--server.address", HOST, "--server.port", str(port)]
    output.say(f"dashboard on http://{HOST}:{port}, Ctrl-C ends it")
    child = child_process.start(
        "ui.dashboard.server",
        [*arguments, *options],
        env=environment,
        stdout=subprocess.DEVNULL,
    )
    previous = {number: signal.getsignal(number) for number in _ENDS}
    for number, before in previous.items():
        if before != signal.SIG_IGN:  # as under nohup
            signal.signal(number, lambda *_: child.terminate())
    try:
        code = child.wait()
    except KeyboardInterrupt:  # the terminal sent it to the child as well
        child.terminate()
        child.wait()
        return
    finally:
        for number, before in previous.items():
            signal.signal(number, before)
    if code not in (0, -signal.SIGTERM):
        raise CxrError(f"the dashboard ended with code {code}; its messages are above")
