"""Reader of the labels of a table of embeddings: one column of all, or a column a finding.

Cells are read as those of a CSV are (``ingest.sources.tables.findings`` and ``label_values``),
lists in text too. Lists of 0 and 1 that are as long as each other are columns, one for each place;
other lists of whole numbers are classes. What the numbers are called is told by the user, else by
the field's or the schema's metadata, as the hub's ``datasets`` writes it; else they are called by
themselves, with a note.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa

from ingest.sources.tables import findings, label_values
from ingest.sources.tables.csv_file import tidy
from ingest.sources.tables.findings import BLANK, Findings
from store import BadArtefacts, UsageError

#: Of labels, the first that is there counts.
LABELLED = (
    *("labels", "label", "findinglabels", "findings", "finding", "classname", "class"),
    *("diagnosis", "category", "target"),
)
#: Keys under which a field, a schema or an npz file may name its classes.
CLASS_NAMES = ("names", "label_names", "class_names", "classes", "cxr.label_names")
_STATES = {"1": "present", "0": "absent", "-1": "uncertain"}


def read_labels(
    table: pa.Table,
    path: Path,
    ids: Sequence[str],
    *,
    columns: Sequence[str] = (),
    names: Sequence[str] = (),
    notes: list[str],
) -> list[Findings] | None:
    """Findings of each row; None without a column of labels.

    Args:
        table: all columns.
        path: of the file, for messages.
        ids: of the rows, for messages.
        columns: of labels, one or one for each finding; found by usual headings when empty.
        names: what to call numbers: ``0=normal,1=edema``, or in their order ``normal,edema``.
        notes: sentences for a person are added.

    Raises:
        BadArtefacts: a column that is not there, a cell that cannot be read, a name twice in a row.
        UsageError: names that do not fit.
    """
    for entry in columns:
        for part in _parts(table, entry):
            _check_there(table, path, part)
    found = label_headings(table, columns)
    if not found:
        if names:
            raise UsageError(f"--label-names: {path} has no column of labels; --label-column?")
        return None
    if len(found) > 1:
        if names:
            raise UsageError("--label-names names the values of one column, not of several")
        return _flags(table, path, ids, found)
    [heading] = found
    column = table[heading]
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    known = class_names(table.schema, heading, path)
    of = _Column(path, heading, ids, known, tuple(names), notes)
    values = column.to_pylist()
    if is_list(kind):
        return of.lists(values, kind.value_type)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return of.texts(values)
    if _is_number(kind) or pa.types.is_null(kind):
        return of.numbers(values)
    raise BadArtefacts(
        f"{path}: column {heading!r} is {kind}; it must hold strings or lists of strings, or "
        "numbers of classes or lists of these"
    )


def label_headings(table: pa.Table, columns: Sequence[str] = ()) -> list[str]:
    """The columns of labels: those asked for, else one by its usual heading, if there is one."""
    asked = [part for entry in columns for part in _parts(table, entry)]
    return asked or [one for one in [column_headed(table, LABELLED)] if one is not None]


def plain(heading: str) -> str:
    """Letters and digits of a heading, in small letters."""
    return "".join(char for char in heading.casefold() if char.isalnum())


def column_headed(table: pa.Table, headings: Sequence[str]) -> str | None:
    """The first of some headings that a table has, by letters and digits alone."""
    there: dict[str, str] = {}
    for name in table.column_names:
        there.setdefault(plain(name), name)
    return next((there[name] for name in headings if name in there), None)


def class_names(schema: pa.Schema, heading: str, path: Path) -> tuple[str, ...]:
    """Names of a column's classes in the metadata of its field or schema; empty without any.

    Raises:
        BadArtefacts: two classes have one name.
    """
    metadata = schema.metadata or {}
    for told in (schema.field(heading).metadata or {}, metadata):
        for key in CLASS_NAMES:
            if names := _listed(_json(told.get(key.encode()))):
                return _distinct(names, path, heading)
    return _distinct(feature_names(schema, heading), path, heading)


def feature(schema: pa.Schema, heading: str) -> Any:
    """What ``datasets`` writes of a column: ``{"_type": "Image"}`` and so on; None without it."""
    info = _json((schema.metadata or {}).get(b"huggingface"))
    for part in ("info", "features", heading):
        info = info.get(part) if isinstance(info, dict) else None
    return info


def feature_names(schema: pa.Schema, heading: str) -> tuple[str, ...]:
    """Names of a column's classes as the hub's ``datasets`` writes them; empty without any."""
    info = feature(schema, heading)
    for _ in range(3):  # a class, or a list of classes as old and new versions write it
        if isinstance(info, list) and len(info) == 1:
            info = info[0]
        elif isinstance(info, dict) and "feature" in info:
            info = info["feature"]
    return _listed(info.get("names")) if isinstance(info, dict) else ()


def _json(text: bytes | None) -> Any:
    try:
        return None if text is None else json.loads(text)
    except (ValueError, RecursionError):
        return None


def _listed(names: Any) -> tuple[str, ...]:
    if isinstance(names, dict):  # {"0": "normal", "1": "edema"}
        keys = [str(number) for number in range(len(names))]
        names = [names[key] for key in keys] if set(names) == set(keys) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return ()
    return tuple(name.strip() for name in names)


def _distinct(names: tuple[str, ...], path: Path, heading: str) -> tuple[str, ...]:
    if len(set(names)) != len(names):
        raise BadArtefacts(f"{path}: two classes of column {heading!r} have one name: {names}")
    return names


class _Column:
    """One column of labels: where it is, and what its numbers are called."""

    def __init__(
        self,
        path: Path,
        heading: str,
        ids: Sequence[str],
        known: tuple[str, ...],
        names: tuple[str, ...],
        notes: list[str],
    ) -> None:
        self.path, self.heading, self.ids, self.notes = path, heading, ids, notes
        ordered = [part.strip() for entry in names for part in entry.split(",")]
        self._asked: dict[str, str] = {}
        self._ordered: tuple[str, ...] = ()
        if ordered and not any("=" in part for part in ordered):
            self._ordered = tuple(ordered)
            if len(set(ordered)) != len(ordered) or "" in ordered:
                raise UsageError(f"--label-names {','.join(names)}: every name once, and no blanks")
        elif ordered:
            self._asked = label_values.parse_names(names)
        self._known = known

    # -- numbers of classes --------------------------------------------------------------------

    def numbers(self, values: Sequence[Any]) -> list[Findings]:
        """A number each: a class, or a flag as in a CSV."""
        if any(isinstance(value, bool) for value in values):
            return self.texts([None if value is None else str(value) for value in values])
        return self.texts([self._whole(place, value) for place, value in enumerate(values)])

    def texts(self, values: Sequence[str | None]) -> list[Findings]:
        """A text each: a class, findings joined, a list in text."""
        cells = [tidy(value or "") for value in values]
        if lists := self._lists_in(cells):
            return self.flags(lists)
        joint = findings.joint_of(cells)
        distinct = set(cells)
        called = self._called()
        if self._known and not self._asked and not self._ordered:
            self._check_range(distinct, len(self._known))
        elif called:
            parts = {part for cell in distinct for part in findings.parts_of(cell, joint)[0]}
            parts = label_values.to_be_named(self.heading, parts, called)
            self.notes += label_values.check_names(called, parts, f"column {self.heading!r}")
            if not self._known and findings.is_flags(distinct):
                means, _ = label_values.classes(self.heading, distinct, called)
                return [means.get(findings.canonical(cell), Findings()) for cell in cells]
        else:
            means, notes = label_values.classes(self.heading, distinct, {})
            self.notes += notes
            if means:
                return [means.get(findings.canonical(cell), Findings()) for cell in cells]
        cells = ["" if self._is_none(cell) else cell for cell in cells]
        return [self._read(place, cell, joint, called) for place, cell in enumerate(cells)]

    def _read(self, place: int, cell: str, joint: str | None, called: dict[str, str]) -> Findings:
        try:
            self._check_once(place, findings.parts_of(cell, joint)[0])
            return findings.from_cell(cell, joint, called)
        except ValueError as error:
            raise self._bad(place, str(error)) from None

    def _check_once(self, place: int, names: Sequence[str]) -> None:
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise self._bad(place, f"{min(twice)!r} stands more than once in its list")

    # -- lists ---------------------------------------------------------------------------------

    def lists(self, values: Sequence[list[Any] | None], kind: pa.DataType) -> list[Findings]:
        """A list each: names, numbers of classes, or a flag for each place."""
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            return self.named(values)
        if pa.types.is_null(kind):
            return [Findings(looked=value is not None) for value in values]
        if not _is_number(kind):
            raise BadArtefacts(
                f"{self.path}: column {self.heading!r} must hold strings or lists of strings, or "
                f"numbers or lists of these; it holds lists of {kind}"
            )
        cells: list[list[str] | None] = [
            None if value is None else [self._whole(place, one) or "" for one in value]
            for place, value in enumerate(values)
        ]
        told = [cell for cell in cells if cell is not None]
        lengths = {len(cell) for cell in told}
        if lengths == {1}:
            return self.numbers([None if value is None else value[0] for value in values])
        fit = len(lengths) == 1 and {one for cell in told for one in cell} <= {*_STATES, ""}
        # Ascending numbers are classes: as flags, every film would have the last finding alone.
        fit = fit and not (self._known and all(_ascends(cell) for cell in told if len(cell) > 1))
        if fit and (not self._known or self._asked or len(self._known) in lengths):
            return self.flags(cells)
        if pa.types.is_boolean(kind) or pa.types.is_floating(kind):
            raise BadArtefacts(
                f"{self.path}: column {self.heading!r} has lists of {kind} of {len(lengths)} "
                "lengths, or others than 0 and 1; it must hold strings or lists of strings, or 0 "
                "and 1 for each finding, as many in every row"
            )
        return self.named(cells)

    def flags(self, cells: Sequence[list[str] | None]) -> list[Findings]:
        """A finding for each place: 1 present, 0 absent, -1 uncertain, blank not mentioned."""
        count = len(next(cell for cell in cells if cell is not None))
        names = self._ordered or self._known
        if names and len(names) != count:
            where = "--label-names has" if self._ordered else "the metadata has"
            raise UsageError(
                f"{self.path}: column {self.heading!r} has {count} places in every row, but "
                f"{where} {len(names)} names"
            )
        if not names:
            places = [str(place) for place in range(count)]
            if self._asked:
                where = f"the places of {self.heading!r}"
                self.notes += label_values.check_names(self._asked, places, where)
            else:
                self.notes.append(
                    f"column {self.heading!r} has {count} places of 0 and 1 without names: the "
                    f"findings are called {places[0]} to {places[-1]}; to name them: "
                    "--label-names NAME,NAME,... in their order"
                )
            names = tuple(self._asked.get(place, place) for place in places)
        if len(set(names)) != len(names):
            raise UsageError(f"{self.path}: two places of {self.heading!r} have one name: {names}")
        said = []
        for cell in cells:
            by: dict[str, list[str]] = {"present": [], "absent": [], "uncertain": []}
            for name, one in zip(names, cell or (), strict=False):
                if one in _STATES:
                    by[_STATES[one]].append(name)
            present, absent, uncertain = (tuple(names_) for names_ in by.values())
            said.append(Findings(present, absent, uncertain))
        return said

    def named(self, values: Sequence[list[Any] | None]) -> list[Findings]:
        """A list of names or of classes each; an empty one says that nothing was found."""
        called = self._called()
        items = {str(one) for value in values for one in value or () if one is not None}
        if self._known and not self._asked and not self._ordered:
            self._check_range(items, len(self._known))
        elif called:
            self.notes += label_values.check_names(called, items, f"column {self.heading!r}")
        said = []
        for place, value in enumerate(values):
            parts = [str(one).strip() for one in value or () if one is not None]
            parts = [p for p in parts if p.casefold() not in BLANK and not self._is_none(p)]
            names = [called.get(findings.canonical(part), part) for part in parts]
            self._check_once(place, names)
            said.append(Findings(tuple(names), looked=value is not None and not names))
        return said

    # -- what cells are ------------------------------------------------------------------------

    def _called(self) -> dict[str, str]:
        """A number's canonical spelling to its name."""
        return self._asked or {str(n): name for n, name in enumerate(self._ordered or self._known)}

    def _is_none(self, cell: str) -> bool:
        """Whether a cell is how the hub says that there is no class."""
        return bool(self._known) and findings.canonical(cell) == "-1"

    def _check_range(self, values: set[str], count: int) -> None:
        told = {findings.canonical(value) for value in values if value.casefold() not in BLANK}
        numbers = {value for value in told if value.lstrip("-").isdigit()}
        wrong = numbers - {str(number) for number in range(-1, count)}
        if wrong:
            raise BadArtefacts(
                f"{self.path}: column {self.heading!r} has class {min(wrong)}, but its metadata "
                f"names {count} classes, 0 to {count - 1}"
            )

    def _lists_in(self, cells: Sequence[str]) -> list[list[str] | None]:
        """Lists of 0 and 1 in text, as long as each other; empty for anything else."""
        told = [cell for cell in cells if cell.casefold() not in BLANK]
        if not told or not all(findings.is_list(cell) for cell in told):
            return []
        found: list[list[str] | None] = []
        for place, cell in enumerate(cells):
            if cell.casefold() in BLANK:
                found.append(None)
                continue
            try:
                found.append([findings.canonical(one) for one in findings.parts_of(cell, None)[0]])
            except ValueError as error:
                raise self._bad(place, str(error)) from None
        inside = [cell for cell in found if cell is not None]
        same = len({len(cell) for cell in inside}) == 1 and len(inside[0]) > 1
        return found if same and {one for cell in inside for one in cell} <= {*_STATES} else []

    def _whole(self, place: int, value: Any) -> str | None:
        """A number as text; None for a blank."""
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return None
        if isinstance(value, float) and not value.is_integer():
            raise self._bad(
                place, f"holds {value}; it must hold strings or lists of strings, or whole numbers"
            )
        return str(int(value))

    def _bad(self, place: int, what: str) -> BadArtefacts:
        return BadArtefacts(
            f"{self.path}: row {self.ids[place]!r}, column {self.heading!r}: {what}"
        )


def _ascends(cell: Sequence[str]) -> bool:
    numbers = [int(one) for one in cell if one]
    return len(numbers) == len(cell) and all(one < other for one, other in pairwise(numbers))


def _flags(
    table: pa.Table, path: Path, ids: Sequence[str], headings: Sequence[str]
) -> list[Findings]:
    """A column for each finding."""
    columns = {heading: table[heading].to_pylist() for heading in headings}
    said = []
    for place, id_ in enumerate(ids):
        cells = {heading: _cell(values[place]) for heading, values in columns.items()}
        try:
            said.append(findings.from_columns(cells, {heading: heading for heading in headings}))
        except ValueError as error:
            raise BadArtefacts(f"{path}: row {id_!r}, {error}") from None
    return said


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def as_columns(said: Sequence[Findings]) -> dict[str, list[tuple[str, ...]]]:
    """Uncertain and absent findings of rows, where there are any."""
    found = {
        "uncertain": [one.uncertain for one in said],
        "absent": [one.absent for one in said],
    }
    return {name: values for name, values in found.items() if any(values)}


def _parts(table: pa.Table, entry: str) -> list[str]:
    return [entry] if entry in table.column_names else [part.strip() for part in entry.split(",")]


def _check_there(table: pa.Table, path: Path, name: str) -> None:
    if name not in table.column_names:
        raise BadArtefacts(
            f"{path} has no column {name!r} (--label-column); it has: "
            f"{', '.join(table.column_names)}"
        )


def is_list(kind: pa.DataType) -> bool:
    """Whether a type is one of the five kinds of lists."""
    known = ("list", "large_list", "fixed_size_list", "list_view", "large_list_view")
    return any(getattr(pa.types, f"is_{name}")(kind) for name in known)


def _is_number(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_floating(kind)
    )
