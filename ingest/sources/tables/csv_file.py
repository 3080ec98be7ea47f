"""Reader of CSV as people have it: any encoding, any separator, a heading a column.

Nothing is guessed without a trace: ``Sheet.notes`` says what was.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import unicodedata
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from ingest.images.file_tree import open_plain
from store import BadImage, BadSource, expanded

#: Largest table that is read, in bytes, unpacked.
MAX_BYTES = 1 << 30
#: A table of more characters is parsed again each time instead of being kept cell by cell.
KEPT_CHARS = 256 << 20
#: Characters at the start that tell the form of a table: its headings and some lines.
_START = 1 << 20
_SEPARATORS = (",", ";", "\t", "|")
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class _Tidied(dict[str, str]):
    """Cells to tidied cells; short ones, which repeat, are remembered and shared."""

    def __missing__(self, cell: str) -> str:
        found = tidy(cell)
        if len(cell) <= 32 and len(self) < 1 << 16:
            self[cell] = found
        return found


@dataclass(slots=True, eq=False)
class Sheet:
    """A CSV file, its form made out; parsed once, however often its rows are asked for.

    Attributes:
        path: of the file.
        headings: of the columns, stripped; unique.
        notes: what had to be guessed or was odd, one sentence each.
        wide: line number to what is wrong with it, of lines with more cells than headings, whose
            cells may be shifted; known once the rows were asked for.
    """

    path: Path
    headings: tuple[str, ...]
    notes: tuple[str, ...]
    _text: str
    _separator: str
    _named: int  # columns under the headings as they stand, with those at the end without a name
    _kept: list[tuple[int, tuple[str, ...]]] | None = None
    wide: dict[int, str] = field(default_factory=dict)

    def rows(self) -> Iterator[tuple[int, dict[str, str]]]:
        """(line number, heading to stripped cell), without empty lines.

        Raises:
            BadSource: a line that is no CSV.
        """
        headings = self.headings
        for line, cells in self.lines():
            yield line, dict(zip(headings, cells, strict=True))

    def cells(self, heading: str) -> list[str]:
        """The stripped cells of one column, from top to bottom, without those of empty lines.

        Raises:
            BadSource: a line that is no CSV.
        """
        at = self.headings.index(heading)
        return [cells[at] for _, cells in self.lines()]

    def lines(self) -> Iterable[tuple[int, tuple[str, ...]]]:
        """(line number, stripped cells, as many as headings), without empty lines.

        Raises:
            BadSource: a line that is no CSV.
        """
        if self._kept is None:
            if len(self._text) > KEPT_CHARS:
                return self._parsed()
            self._kept = list(self._parsed())
            self._text = ""
        return self._kept

    def _parsed(self) -> Iterator[tuple[int, tuple[str, ...]]]:
        reader = _reader(self._text, self._separator)
        width, tidied = len(self.headings), _Tidied()
        try:
            for cells in islice(reader, 1, None):
                row = [tidied[cell] for cell in cells]
                if not any(row):
                    continue
                if len(row) != width:
                    if any(row[self._named :]):
                        self.wide[reader.line_num] = (
                            f"{len(row)} cells for {width} headings; put double quotes around a "
                            f"cell that holds {self._separator!r}"
                        )
                    row = [*row[:width], *[""] * (width - len(row))]
                # Tuples of text cost the collector nothing, lists would.
                yield reader.line_num, tuple(row)
        except csv.Error as error:
            raise BadSource(
                f"{self.path}, line {reader.line_num}: not CSV ({error}); save it again as CSV"
            ) from error

    def column(self, name: str, option: str) -> str:
        """A heading as it is spelled, found without regard to case and spaces.

        Raises:
            BadSource: there is none, or several.
        """
        exact = [heading for heading in self.headings if heading == name]
        near = exact or [h for h in self.headings if _plain(h) == _plain(name)]
        if len(near) == 1:
            return near[0]
        raise BadSource(
            f"{self.path} has no column {name!r} ({option}); it has: {listed(self.headings)}"
        )

    def find(self, names: Sequence[str], without: Sequence[str] = ()) -> str | None:
        """The first of some headings that is there, without regard to case and spaces.

        Args:
            names: as they may be written.
            without: headings that mean something else.
        """
        for name in names:
            for heading in self.headings:
                if heading not in without and _plain(heading) == _plain(name):
                    return heading
        return None

    def need(self, names: Sequence[str]) -> None:
        """Refuse a table that lacks one of some columns, with BadSource."""
        missing = [name for name in names if name not in self.headings]
        if missing:
            raise BadSource(
                f"{self.path} lacks the columns {listed(missing)}; it has {listed(self.headings)}. "
                "Is it the published file?"
            )


def sheet_of(
    path: Path, headings: Sequence[str], lines: Sequence[tuple[int, tuple[str, ...]]]
) -> Sheet:
    """A sheet of cells that are there already, of a table in another format.

    Args:
        path: what messages call the table.
        headings: unique.
        lines: number of each, and its cells, as many as headings.
    """
    return Sheet(path, tuple(headings), (), "", ",", len(headings), list(lines))


def tidy(text: str) -> str:
    """A cell as it is compared: stripped, Unicode in its composed form."""
    stripped = text.strip()
    return stripped if stripped.isascii() else unicodedata.normalize("NFC", stripped)


def listed(names: Sequence[str]) -> str:
    """Some names for a message, not too many."""
    shown = ", ".join(repr(name) for name in names[:20])
    return f"{shown} and {len(names) - 20} more" if len(names) > 20 else shown or "nothing"


def _plain(heading: str) -> str:
    return "".join(char for char in heading.casefold() if char.isalnum())


def read_sheet(path: str | Path, *, links: bool = True) -> Sheet:
    """Read a CSV file, packed with gzip or not; not through a link, where these are not wanted.

    The encoding is told by a byte order mark, else UTF-8 when it is valid, else UTF-16 when every
    other byte is zero, else Windows-1252, which is noted. The separator is the one of comma,
    semicolon, tab and bar that cuts most lines into as many cells as the heading has.

    Raises:
        BadSource: it cannot be read, is too large, has no heading, or the same heading twice.
    """
    place = expanded(path)
    text, notes = _decoded(place, links)
    separator = None
    first, _, rest = text.partition("\n")
    if first.strip().lower().startswith("sep=") and len(first.strip()) == 5:  # Excel's own hint
        separator, text = first.strip()[4], rest
    start = text[:_START]
    separator = separator or _separator(start)
    try:
        headings: list[str] = next(iter(_reader(start, separator)), [])
    except csv.Error as error:
        raise BadSource(f"{place}, line 1: not CSV ({error}); save it again as CSV") from error
    names = [tidy(heading).strip('"') for heading in headings]
    while names and not names[-1]:  # a trailing separator in every line
        names.pop()
    names = [name or f"column {number}" for number, name in enumerate(names, 1)]
    if not names:
        raise BadSource(f"{place} is empty; expected a line of headings")
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise BadSource(f"{place} has the heading {min(twice)!r} more than once; rename one")
    return Sheet(place, tuple(names), tuple(notes), text, separator, len(headings))


def _reader(text: str, separator: str) -> Any:
    return csv.reader(io.StringIO(text, newline=""), delimiter=separator)


def _decoded(path: Path, links: bool) -> tuple[str, list[str]]:
    data = _bytes(path, links)
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            try:
                return data.decode(encoding), []
            except UnicodeDecodeError as error:
                raise BadSource(
                    f"{path} says it is {encoding} but is not ({error.reason} at byte "
                    f"{error.start}); save it as UTF-8"
                ) from error
    start = data[:4096]
    if len(start) > 3 and (start[1::2].count(0) > len(start) // 4) != (
        start[::2].count(0) > len(start) // 4
    ):
        order = "le" if start[1::2].count(0) else "be"
        try:
            return data.decode(f"utf-16-{order}"), [f"{path.name} was read as UTF-16"]
        except UnicodeDecodeError:
            pass
    if b"\0" in data:
        raise BadSource(f"{path} holds NUL bytes: it is not text; save it as CSV in UTF-8")
    try:
        return data.decode("utf-8"), []
    except UnicodeDecodeError:
        # Always this: counts of letters tell too little of a small table. charset-normalizer 3.5
        # takes "38°C" for Big5, and Spanish or Swedish headings for Polish or Baltic ones.
        text = data.decode("cp1252", errors="replace")
        return text, [f"{path.name} is not UTF-8; it was read as Windows-1252"]


def _bytes(path: Path, links: bool) -> bytes:
    try:
        with path.open("rb") if links else open_plain(path) as file:
            data = file.read(MAX_BYTES + 1)
        if data.startswith(b"\x1f\x8b"):
            with gzip.open(io.BytesIO(data)) as packed:
                data = packed.read(MAX_BYTES + 1)
    except BadImage as error:
        raise BadSource(f"{error}; pass a CSV file") from error
    except (OSError, EOFError, zlib.error, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BadSource(f"{path} cannot be read ({reason}); pass a CSV file") from error
    if len(data) > MAX_BYTES:
        raise BadSource(f"{path} has more than {MAX_BYTES >> 20} MiB; split it")
    if data.startswith(b"PK\x03\x04"):
        raise BadSource(f"{path} is an Excel workbook or a zip archive; save the sheet as CSV")
    return data


def _separator(text: str) -> str:
    """The separator under which most of the first lines have as many cells as the heading."""

    def fit(separator: str) -> tuple[float, int]:
        try:
            lines = [cells for cells in islice(_reader(text, separator), 50) if cells]
        except csv.Error:
            return 0.0, 0
        width = len(lines[0]) if lines else 0
        if width < 2:
            return 0.0, 0
        return sum(len(cells) == width for cells in lines) / len(lines), width

    # csv.Sniffer gives up where there is one column, or lines differ in length.
    return max(_SEPARATORS, key=fit)
