"""A long job gives way to programs that somebody waits for."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Annotated

import typer

#: Of a core that both want, a search beside it then gets three quarters.
NICE = 5

Nice = Annotated[
    int,
    typer.Option(
        help="How far to give way to other programs: 0 not at all, 19 most. Alone on the machine, "
        "it is as fast either way.",
        min=0,
        max=19,
        rich_help_panel="The run",
    ),
]


def give_way(nice: int = NICE) -> None:
    """Lower the priority of this process, of what it starts, and of threads that it starts later.

    Never raises it. Does nothing on Windows.

    Args:
        nice: from 0, no change, to 19, the lowest priority.
    """
    if not nice or not hasattr(os, "setpriority"):
        return
    with contextlib.suppress(OSError):
        lowest = max(nice, os.getpriority(os.PRIO_PROCESS, 0))
        os.setpriority(os.PRIO_PROCESS, 0, lowest)
        # Linux shares out the processor by session first, where it groups them.
        if os.getsid(0) == os.getpid():
            Path("/proc/self/autogroup").write_text(f"{lowest}\n", encoding="ascii")
