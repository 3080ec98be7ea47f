"""Child processes that end with the process that started them.

``python -P -m ui.dashboard.child_process MODULE ARGUMENTS``

The parent holds the other end of standard input and writes nothing. Whatever ends the parent, a
signal that nobody can catch included, closes that end, on every system.
"""

from __future__ import annotations

import os
import runpy
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import IO

#: How long the program may take to end by itself.
_GRACE_S = 5.0


def start(
    module: str,
    arguments: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    stdout: int | IO[bytes] | None = None,
    stderr: int | IO[bytes] | None = None,
) -> subprocess.Popen[bytes]:
    """Run a module of ours as a child that lives no longer than this process."""
    # -P: a folder named store or ui where the user stands must not hide our packages.
    return subprocess.Popen(  # noqa: S603
        [sys.executable, "-P", "-m", "ui.dashboard.child_process", module, *arguments],
        env=env,
        stdin=subprocess.PIPE,
        stdout=stdout,
        stderr=stderr,
    )


def main() -> None:
    """Run a module named on the command line; end when standard input does."""
    threading.Thread(target=_end_with_parent, name="child-process", daemon=True).start()
    module = sys.argv[1]
    sys.argv = sys.argv[1:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _end_with_parent() -> None:
    while os.read(0, 1024):
        pass
    timer = threading.Timer(_GRACE_S, os._exit, (143,))  # also where somebody catches the signal
    timer.daemon = True
    timer.start()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
