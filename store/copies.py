"""Which gallery has an 8-bit copy (store.codes), and what its answers are worth.

The copy costs 1/4 of the memory of the vectors and about 30 scans of time, so it is made only for
large galleries, behind the answers, once a snapshot was asked often enough to pay for it: a
dashboard gets it, a command that asks once does not.
"""

from __future__ import annotations

import logging
import threading
from weakref import WeakKeyDictionary

from store import codes
from store.mirror import Integers, Snapshot
from store.schema import Vectors

log = logging.getLogger("store")

#: Queries after which a copy has paid for itself, and how many at once count for another one.
_ASKED, _AS_MUCH = 32, 16
#: Bytes of vectors that fit no cache.
_WORTH_BYTES = 32 << 20
#: Scans in a row that could tell little, after which the copy is given up: its rows lie too near to
#: each other.
_FRUITLESS = 4


def candidates(
    snapshot: Snapshot,
    queries: Vectors,
    count: int,
    most: int,
    slack: float,
    allowed: Integers | None,
    few: bool,
) -> codes.Found | None:
    """What the copy of a snapshot finds; None where there is none, or it cannot tell.

    Being asked for often makes the copy, on a thread.

    Args:
        snapshot: what to scan.
        queries: float32 (q, d).
        count: how many are wanted.
        most: candidates of a query at most.
        slack: how far apart float32 may put equal inner products.
        allowed: ascending positions to look at; None for all.
        few: ``allowed`` are so few that asking for them twice in a row (a filter is remembered, so
            it is the same array) is worth a copy of their rows alone, kept until another one is.
    """
    if snapshot.vectors.nbytes < _WORTH_BYTES:
        return None
    with _lock:
        state = _known.setdefault(snapshot, _State())
        state.asked += 1 + len(queries) // _AS_MUCH
        copy = state.codes
        if copy is None:
            if state.asked >= _ASKED and not state.made:
                state.made = True
                _make_behind(state, snapshot.vectors)
            return None
        again = few and allowed is not None and state.allowed is allowed
        state.allowed = allowed if few and allowed is not None else state.allowed
        some = state.some
    if again and allowed is not None:
        if some is None or some.rows is not allowed:
            some = copy.only(allowed)
            with _lock:
                state.some = some if state.codes is copy else None
        copy = some
    fine = len(queries) <= codes.FEW or state.fine
    only = allowed if copy.rows is None else None
    found = copy.top(snapshot.vectors, queries, count, most, slack, only, fine)
    with _lock:
        if found is not None:
            state.fruitless = 0
        elif not fine:
            state.fine = True
        else:
            state.fruitless += 1
            if state.fruitless == _FRUITLESS:
                state.codes = state.some = None
    return found


def _make_behind(state: _State, vectors: Vectors) -> None:
    def work() -> None:
        try:
            state.codes = codes.make(vectors)
        except (MemoryError, ValueError) as error:
            log.info("no 8-bit codes of %s rows, searching without: %r", len(vectors), error)

    # Not a daemon: the process ends when it is done, a second at a million rows.
    threading.Thread(target=work, name="cxr-codes").start()


class _State:
    """What is known about the copy of one snapshot."""

    __slots__ = ("allowed", "asked", "codes", "fine", "fruitless", "made", "some")

    def __init__(self) -> None:
        self.asked = self.fruitless = 0
        self.made = False  # or being made; it is not made again
        self.fine = False  # whether many queries need 16 bits, too
        self.codes: codes.Codes | None = None
        self.allowed: Integers | None = None  # the filter that was asked last
        self.some: codes.Codes | None = None  # a copy of its rows


_lock = threading.Lock()
_known: WeakKeyDictionary[Snapshot, _State] = WeakKeyDictionary()
