"""lancedb is imported without its client of servers, which is whole for who uses it."""

from __future__ import annotations

import subprocess
import sys

_SCRIPT = """
import sys
from store.library import lancedb
library = lancedb()
client = "lance_namespace_urllib3_client"
assert library is lancedb() is sys.modules["lancedb"]
assert f"{client}.models" in sys.modules
assert f"{client}.api.table_api" not in sys.modules
{use}
assert TableApi.__module__ == f"{client}.api.table_api"
import lance_namespace_urllib3_client as whole
assert whole.TableApi is TableApi and whole.__version__
assert not hasattr(whole, "nothing")
from lance_namespace_urllib3_client import *
assert QueryTableRequest is sys.modules[f"{client}.models"].QueryTableRequest
"""


def test_what_is_left_out_of_the_import_is_there_when_asked_for() -> None:
    for use in (
        "from lance_namespace_urllib3_client import TableApi",
        "from lance_namespace_urllib3_client.api.table_api import TableApi",
        "import lance_namespace_urllib3_client.api as api; TableApi = api.TableApi",
    ):
        done = subprocess.run(
            [sys.executable, "-c", _SCRIPT.replace("{use}", use)], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
