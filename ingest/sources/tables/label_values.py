"""Meaning of the values in a single column of labels.

Two values are two classes, and neither is nothing: a film of class 0 without a label would leave
every evaluation with one class, in which chance is always right.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence

from ingest.sources.tables.csv_file import listed
from ingest.sources.tables.findings import (
    BLANK,
    Findings,
    canonical,
    from_cell,
    is_flags,
    is_list,
    is_numbers,
    joint_of,
    state,
)
from ingest.sources.tables.metadata_headings import is_metadata
from store import UsageError

#: Headings made of these words alone name no finding: their 1 and 0 are classes without a name.
_GENERIC = {
    *("label", "labels", "class", "classes", "target", "targets", "category", "categories"),
    *("diagnosis", "diagnoses", "finding", "findings", "outcome", "result", "results", "y"),
    *("ground", "truth", "gt", "true", "binary", "image", "name", "names", "id", "code", "type"),
    *("status", "group", "annotation", "annotations", "dx", "the", "of", "is"),
}
#: Headings that promise one class for each film, while of findings it may have several.
_ONE_CLASS = {"label", "class", "target", "category", "diagnosis", "dx", "outcome", "group"}
_NORMAL = {"normal", "healthy"}


# No leading zeros: 007 is a code.
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.0*)?", re.ASCII)


def is_generic(heading: str) -> bool:
    """Whether a heading says that its column holds labels, and not which finding."""
    return all(word in _GENERIC for word in _words(heading))


def _words(heading: str) -> list[str]:
    return re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", heading).casefold())


def parse_names(entries: Sequence[str]) -> dict[str, str]:
    """``0=normal,1=pneumonia`` as a table: a value's canonical spelling to its name.

    Args:
        entries: each one pair or several with commas between.

    Raises:
        UsageError: not VALUE=NAME, a value named twice, or one name for everything.
    """
    names: dict[str, str] = {}
    for pair in (part.strip() for entry in entries for part in entry.split(",")):
        value, equals, name = (part.strip() for part in pair.partition("="))
        if not (value and equals and name):
            raise UsageError(
                f"--label-names: {pair!r} is not VALUE=NAME; write --label-names "
                "0=normal,1=pneumonia"
            )
        if canonical(value) in names:
            raise UsageError(f"--label-names names {value!r} twice; once is enough")
        names[canonical(value)] = name
    if len(names) > 1 and len(set(names.values())) == 1:
        raise UsageError(
            f"--label-names gives all values the name {next(iter(names.values()))!r}: nothing "
            "would tell them apart"
        )
    return names


def to_be_named(heading: str, values: Collection[str], names: Mapping[str, str]) -> set[str]:
    """The values of a column that need a name: all but uncertain ones without one."""
    told = _spelled(values)
    means = _two(heading, told)[0] if is_flags(values) else {}
    return {
        value
        for key, value in told.items()
        if key in names or key not in means or not _is_unsure(means[key])
    }


def check_names(names: Mapping[str, str], values: Iterable[str], where: str) -> list[str]:
    """Notes on names that no value has, once the names fit the values that occur.

    Args:
        names: as parse_names gives them.
        values: all that occur, each once.
        where: what holds the values, e.g. ``column 'label'``; begins the messages.

    Raises:
        UsageError: no value has a name, or a number has none.
    """
    told = {canonical(value): value for value in values}
    unused = [value for value in names if value not in told]
    unnamed = [value for key, value in told.items() if key not in names]
    numbers = [value for value in unnamed if re.fullmatch(r"[+-]?[0-9.]+", value)]
    if told and (len(unused) == len(names) or numbers or (unused and unnamed)):
        raise UsageError(
            f"{where} holds {listed(sorted(told.values()))}, and --label-names names "
            f"{listed(sorted(names))}; name the values that occur"
        )
    return [f"{where} holds no {listed(unused)}, which --label-names names"] if unused else []


def classes(
    heading: str, cells: Collection[str], names: Mapping[str, str]
) -> tuple[dict[str, Findings], list[str]]:
    """Findings of each value of a column of classes, by its canonical spelling, and notes.

    Args:
        heading: of the column.
        cells: its distinct cells.
        names: what the user calls its values.

    Returns:
        Nothing for a column whose values are names themselves: normal, pneumonia; and for more than
        two numbers, of which a film may have several, a row each.
    """
    values = _spelled(cells)
    notes: list[str] = []
    if is_flags(cells):
        found, notes = _two(heading, values)
    elif _are_normal_and_another(heading, cells):
        found = {value: from_cell(spelled, None) for value, spelled in values.items()}
    elif len(values) == 2 and _are_numbers(values):
        found = {value: Findings((value,)) for value in values}
        notes = [_unnamed(heading, sorted(values, key=int))]
    else:
        return {}, []
    if not names:
        return found, notes
    called = {value: from_cell(values[value], None, names) for value in values}
    for value, one in found.items():
        if _is_unsure(one) and value not in names:
            sure = [called[other].present for other in found if state(other) == "present"]
            called[value] = Findings((), (), sure[0]) if sure else one
    return called, []


def _is_unsure(one: Findings) -> bool:
    return bool(one.uncertain) and not (one.present or one.absent)


def _are_normal_and_another(heading: str, cells: Collection[str]) -> bool:
    """Whether a column of classes, and not of findings, holds ``normal`` and one other word."""
    told = {cell for cell in cells if cell.casefold() not in BLANK}
    normal = sum(cell.casefold() in _NORMAL for cell in told)
    plain = joint_of(told) is None and not any(is_list(cell) for cell in told)
    words = _words(heading)
    one_class = is_generic(heading) and not _ONE_CLASS.isdisjoint(words) and "name" not in words
    return (len(told), normal, plain, one_class) == (2, 1, True, True)


def numbers(heading: str, cells: Collection[str]) -> tuple[dict[str, str], list[str]]:
    """Spelling of the values of a column of three and more numbers, and notes.

    0.0, 1.0, 2.0 is what pandas makes of 0, 1, 2 where a cell is blank.
    """
    values = _spelled(cells)
    if not _are_numbers(values):
        return {}, []
    return {value: value for value in values}, [_unnamed(heading, sorted(values, key=int))]


def _are_numbers(values: Mapping[str, str]) -> bool:
    return bool(values) and all(_NUMBER.fullmatch(spelled) for spelled in values.values())


def _two(heading: str, values: Mapping[str, str]) -> tuple[dict[str, Findings], list[str]]:
    said = {value: state(value) for value in values}
    if not (is_generic(heading) or is_metadata(heading)):
        absent = heading[3:].strip() if heading.casefold().startswith("no ") else f"no {heading}"
        means = {
            "present": Findings((heading,)),
            "absent": Findings((absent,), (heading,)),
            "uncertain": Findings((), (), (heading,)),
        }
        found = {value: means[str(one)] for value, one in said.items()}
        if "absent" not in said.values():
            return found, []
        return found, [f"column {heading!r} is two classes: {heading!r} and {absent!r}"]
    numbers = is_numbers(values)
    names = {value: value if numbers else spelled for value, spelled in values.items()}
    present = [names[value] for value, one in said.items() if one == "present"]
    classes_ = {value: Findings((name,)) for value, name in names.items()}
    if len(present) == 1 and len(values) > 2:  # beside yes and no, maybe is no third class
        for value, one in said.items():
            if one == "uncertain":
                classes_[value] = Findings((), (), (present[0],))
    named = [names[value] for value, one in classes_.items() if not _is_unsure(one)]
    return classes_, [_unnamed(heading, sorted(named))]


def _spelled(cells: Collection[str]) -> dict[str, str]:
    """Canonical spelling to the first spelling that occurs, in order."""
    found: dict[str, str] = {}
    for cell in sorted(cells):
        if cell.casefold() not in BLANK:
            found.setdefault(canonical(cell), cell)
    return found


def _unnamed(heading: str, values: Sequence[str]) -> str:
    shown = " ".join(values[:10]) + (" …" if len(values) > 10 else "")
    example = ",".join(f"{value}=NAME" for value in values[:3])
    return (
        f"the labels of column {heading!r} are its values ({shown}); to name them: "
        f"--label-names {example}"
    )
