"""lancedb is imported without its client of servers, which is whole for who uses it."""

from __future__ import annotations

import subprocess
import sys

_SCRIPT = """
import sys
from importlib.util import find_spec
from store.library import lancedb, unread
library = lancedb()
client = "lance_namespace_urllib3_client"
assert library is lancedb() is sys.modules["lancedb"]
assert f"{client}.models" in sys.modules
before = set(sys.modules)
for use in sys.argv[1:]:
    assert f"{client}.api.table_api" not in sys.modules
    names = {}
    exec(use, names)
    TableApi = names["TableApi"]
    assert TableApi.__module__ == f"{client}.api.table_api"
    import lance_namespace_urllib3_client as whole
    assert whole.TableApi is TableApi and whole.__version__
    assert not hasattr(whole, "nothing")
    exec(f"from {client} import *", names)
    assert names["QueryTableRequest"] is sys.modules[f"{client}.models"].QueryTableRequest
    # As it was, for the next way to ask.
    for name in {client, *sys.modules.keys() - before}:
        if name.startswith(client):
            del sys.modules[name]
    sys.modules[client] = unread(find_spec(client))
"""
_USES = (
    "from lance_namespace_urllib3_client import TableApi",
    "from lance_namespace_urllib3_client.api.table_api import TableApi",
    "import lance_namespace_urllib3_client.api as api; TableApi = api.TableApi",
)


def test_what_is_left_out_of_the_import_is_there_when_asked_for() -> None:
    done = subprocess.run([sys.executable, "-c", _SCRIPT, *_USES], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
