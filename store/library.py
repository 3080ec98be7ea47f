"""Import of the library lancedb, without what nothing here uses of it."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import threading
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

#: Client of servers that keep tables, of which lancedb takes some classes of data.
_CLIENT = "lance_namespace_urllib3_client"


def lancedb() -> Any:
    """The library lancedb. Half of its import, that of a client of servers, waits for its use."""
    if not {"lancedb", _CLIENT} & sys.modules.keys():
        spec = importlib.util.find_spec(_CLIENT)
        if spec is not None:
            sys.modules[_CLIENT] = unread(spec)
    import lancedb as library

    return library


def unread(spec: ModuleSpec) -> ModuleType:
    """A package whose ``__init__`` runs when a name in it is first asked for.

    Modules in it are imported as ever, without that.
    """
    package = importlib.util.module_from_spec(spec)
    lock, begun = threading.RLock(), False

    def read(name: str) -> Any:
        nonlocal begun
        inside = f"{spec.name}.{name}"
        if importlib.util.find_spec(inside) is not None:
            return importlib.import_module(inside)
        with lock:  # another thread waits until all names are there
            if not begun and spec.loader is not None:
                begun = True
                spec.loader.exec_module(package)
                package.__dict__.pop("__getattr__", None)
            if name in package.__dict__:
                return package.__dict__[name]
        raise AttributeError(f"module {spec.name!r} has no attribute {name!r}")

    package.__dict__["__getattr__"] = read
    return package
