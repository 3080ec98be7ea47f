"""Connection to Ray: a cluster that is there, or a local one of this process."""

from __future__ import annotations

import atexit
import logging
import os
import signal
import socket
import sys
import warnings
from typing import Any

from store.errors import ClusterUnavailable, CxrError, UsageError

log = logging.getLogger("store")

#: Address of a Ray on this machine alone, started by this process and ended with it.
LOCAL = "local"
#: Bytes of a local Ray's object store: images on their way, and lists of hits.
_OBJECT_STORE = 1_000_000_000
#: Seconds in which a head must take a connection.
_PATIENCE = 5.0


def load(address: str = LOCAL) -> Any:
    """The module ray, prepared for a connection to an address.

    Raises:
        UsageError: Ray is not installed.
    """
    # Nothing about a user's work leaves this machine.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address == LOCAL:
        # Read when ray is imported: a Ray that is not a cluster listens on 127.0.0.1 only.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    try:
        import ray
    except ImportError as error:
        raise UsageError(
            f"this needs Ray, which is not installed ({error}); "
            "run: pip install 'cxr-retrieval[ray]'"
        ) from None
    return ray


def probe(address: str) -> None:
    """Refuse the address of a head that does not answer; Ray itself would try for minutes.

    Raises:
        UsageError: Ray is not installed.
        ClusterUnavailable: nothing listens there.
    """
    load(address)
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _PATIENCE).close()
    except (OSError, OverflowError) as error:
        raise _unavailable(address, error) from error


def _unavailable(address: str, error: Exception) -> ClusterUnavailable:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return ClusterUnavailable(
        f"no Ray cluster answers at {address!r} ({lines[0][:200]}); expected 'local', 'auto' "
        "on a node of the cluster, or the head's HOST:PORT; start one with: ray start --head"
    )


def connect(address: str = LOCAL) -> Any:
    """The module ray, connected; a connection that this process has already is used as it is.

    Args:
        address: ``local`` for a Ray of this process, ``auto`` for the cluster whose node this is,
            ``host:port`` of a cluster's head, or ``ray://host:port`` from outside of it.

    Raises:
        UsageError: Ray is not installed.
        ClusterUnavailable: nothing answers at the address.
    """
    ray = load(address)
    if ray.is_initialized():
        return ray
    probe(address)
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address == LOCAL:
        options |= {
            "num_cpus": os.cpu_count() or 1,
            "include_dashboard": False,
            "object_store_memory": _OBJECT_STORE,
        }
    try:
        with warnings.catch_warnings():
            # LanceDB warns of children that fork without exec; Ray's exec at once.
            warnings.filterwarnings("ignore", "lancedb fork support", RuntimeWarning)
            ray.init(address=address, **options)
    except Exception as error:  # Ray has no class for one that does not start within its 30 s
        raise _unavailable(address, error) from error
    _off_stdout()
    # After Ray's own, so before it: a second Ctrl-C must not stop it from ending its processes.
    atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)
    return ray


def _off_stdout() -> None:
    """Log what Ray would print to stdout, where a command's JSON goes: workers that died."""
    worker = sys.modules.get("ray._private.worker")
    if hasattr(worker, "print_to_stdstream"):

        def tell(data: dict[str, Any], **_: Any) -> None:
            for line in data.get("lines", ()):
                log.info("ray: %s", line)

        setattr(worker, "print_to_stdstream", tell)  # noqa: B010 - mypy knows it as fixed


def fault(error: BaseException) -> BaseException:
    """The CxrError of a worker behind an error of Ray, else the error itself."""
    seen: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        cause = getattr(found, "cause", None)
        # Ray raises a class derived from ours, whose text is the traceback of the worker.
        if isinstance(cause, CxrError):
            return cause
        if isinstance(found, CxrError):
            return found
        found = cause if isinstance(cause, BaseException) else found.__cause__
    return error
