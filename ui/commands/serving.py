"""``cxr serve``: the dashboard, until Ctrl-C."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from ui import printing
from ui.commands.options import Device, EncoderName, Store
from ui.settings import HOST, PORT

Port = Annotated[int, typer.Option(min=1, max=65535, help="Port on 127.0.0.1.")]


def serve(
    store: Store,
    encoder: EncoderName = None,
    device: Device = None,
    port: Port = PORT,
) -> None:
    """Serve the dashboard on 127.0.0.1 until Ctrl-C."""
    run(store, encoder, device, port)


def check_port(port: int) -> None:
    """Refuse a port that something else listens on, before any work is done."""
    from store import CxrError

    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise CxrError(
                f"port {port} on {HOST} is taken, perhaps by another cxr: look at "
                f"http://{HOST}:{port}, stop that one, or pass --port ({error.strerror})"
            ) from None


def run(store: str, encoder: str | None, device: str | None, port: int) -> None:
    """Start Streamlit as a child process and wait for it."""
    check_port(port)
    chosen = {"CXR_STORE": store, "CXR_ENCODER": encoder, "CXR_DEVICE": device}
    environment = {**os.environ, **{name: value for name, value in chosen.items() if value}}
    app = Path(__file__).parents[1] / "dashboard.py"
    # -P: a folder named store or ui where the user stands must not hide our packages.
    command = [sys.executable, "-P", "-m", "ui.server", "run", str(app)]
    command += ["--server.address", HOST, "--server.port", str(port)]
    printing.say(f"dashboard on http://{HOST}:{port}, Ctrl-C ends it")
    child = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)  # noqa: S603
    previous = signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    try:
        code = child.wait()
    except KeyboardInterrupt:  # the terminal sent it to the child as well
        child.terminate()
        child.wait()
        return
    finally:
        signal.signal(signal.SIGTERM, previous)
    if code not in (0, -signal.SIGTERM):
        from store import CxrError

        raise CxrError(f"the dashboard ended with code {code}; its messages are above")
