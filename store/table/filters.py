"""Filter on metadata: ``Where``, its text form, and its condition in the table's language.

LanceDB 0.40 takes a condition as an expression object or as SQL text. Objects are right as they
are; made into text by LanceDB (``to_sql``) they are not: some apostrophes are not doubled. Look-ups
by id or digest therefore pass objects, and all other conditions are written here, where a text is
put between apostrophes and each apostrophe in it is doubled. No other character means anything in
it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import date
from typing import TYPE_CHECKING, Any, TypeVar

from store.errors import BadFilter
from store.outcomes import FOUND, NAMES_NOTHING, NOT_LABELLED, OUTCOMES, UNCERTAIN, Outcome
from store.schema import COLUMNS, Row
from store.table import custom_columns

if TYPE_CHECKING:
    import pyarrow as pa


#: A condition that no row meets.
NOTHING = "false"


def among(values: Sequence[str] | Sequence[bytes], column: str = "id") -> Any:
    """Rows whose column is one of these, as an expression object: for searches and deletions."""
    from lancedb.expr import col

    return col(column).isin(list(values))


def quoted(text: str) -> str:
    """A text as a literal."""
    return "'" + text.replace("'", "''") + "'"


def named(column: str) -> str:
    """A column's name, quoted: whatever it means otherwise and however it is written."""
    return "`" + column.replace("`", "``") + "`"


def equal(column: str, values: Iterable[str]) -> str:
    """Rows whose column is one of these texts."""
    listed = ", ".join(map(quoted, values))
    return f"{named(column)} IN ({listed})" if listed else NOTHING


def is_null(column: str) -> str:
    """Rows without a value of a column."""
    return f"{named(column)} IS NULL"


def is_set(column: str) -> str:
    """Rows with a value of a column."""
    return f"{named(column)} IS NOT NULL"


def is_as_given(column: str) -> str:
    """Stored rows of a merge whose column is that of the row given."""
    return f"target.{named(column)} = source.{named(column)}"


def has_text(column: str) -> str:
    """Rows whose column of text is neither without a value nor blank."""
    return f"{named(column)} IS NOT NULL AND {named(column)} != ''"


def has_no_text(column: str) -> str:
    """Rows whose column of text is without a value or blank."""
    return f"{named(column)} IS NULL OR {named(column)} = ''"


def ends_with(column: str, end: str) -> str:
    """Rows whose column of text ends with this."""
    return f"ends_with({named(column)}, {quoted(end)})"


def holds(column: str, values: Iterable[str]) -> str:
    """Rows whose column of lists has one of these texts in it."""
    return either(f"array_has({named(column)}, {quoted(value)})" for value in values)


def is_true(column: str, wanted: bool) -> str:
    """Rows whose column of bools is that."""
    return f"{named(column)} = {'true' if wanted else 'false'}"


def larger(side: int) -> str:
    """Rows of films whose shorter side has more pixels than this."""
    return f"width > {int(side)} AND height > {int(side)}"


def between(
    column: str, low: str | float | date | None, high: str | float | date | None
) -> str | None:
    """Rows whose column is within bounds, which belong to it; None where both are open."""
    sides = [
        f"{named(column)} {sign} {_literal(bound)}"
        for sign, bound in ((">=", low), ("<=", high))
        if bound is not None
    ]
    return both(sides)


def rows(row_ids: Iterable[int], prefix: str = "") -> str:
    """Rows with one of these row ids; in a merge the prefix is ``target.``."""
    listed = ", ".join(str(int(row_id)) for row_id in row_ids)
    return f"{prefix}_rowid IN ({listed})" if listed else NOTHING


def both(parts: Iterable[str | None]) -> str | None:
    """Rows that meet all of these; None, which means every row, where there are none."""
    return " AND ".join(f"({part})" for part in parts if part is not None) or None


def either(parts: Iterable[str]) -> str:
    """Rows that meet one of these."""
    return " OR ".join(f"({part})" for part in parts) or NOTHING


def _literal(value: str | float | date) -> str:
    if isinstance(value, str):
        return quoted(value)
    return f"date '{value.isoformat()}'" if isinstance(value, date) else repr(float(value))


def elsewhere(place: str | None, prefix: str | None) -> str:
    """Rows with pixels whose file is not where a folder would have it, in the table's language.

    Args:
        place: the folder; ``None`` for all rows with pixels.
        prefix: what stands before the path below it in ids, for rows whose id begins so; ``None``
            where ids are not made of paths: then rows of files anywhere else.
    """
    if place is None:
        return "width > 0"
    below = quoted(place.rstrip("/") + "/")
    if prefix is None:
        return f"width > 0 AND NOT starts_with(source, {below})"
    made = f"concat({below}, substr(id, {len(prefix) + 1}))"
    return f"width > 0 AND starts_with(id, {quoted(prefix)}) AND source != {made}"


#: Our own filters: key to the table's column, and its kind.
_FILTERED: dict[str, tuple[str, str]] = {
    **{one.key: (name, one.kind) for name, one in COLUMNS.items() if one.filtered},
    "batch": ("batch", "string"),
    "outcome": ("outcome", "outcome"),  # of findings together; see store.outcomes
    "has_report": ("report", "presence"),
}
#: Between labels that are looked at as one text.
_BETWEEN = "\x1f"
_TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
#: Beyond, a whole number is shorter with an exponent.
_LARGEST_WHOLE = 1e15

T = TypeVar("T", float, date)


@dataclass(frozen=True, slots=True)
class Where:
    """Filter on metadata: conditions that rows meet to take part in a search.

    Several values of one field mean any of them; several fields must all hold.

    Attributes:
        label: rows that carry at least one of these findings.
        split, dataset, patient, view, sex, batch: rows whose column is one of these.
        age_min, age_max: years, inclusive; rows without an age never pass.
        uncertain, absent: rows where one of these findings is uncertain, or was not found.
        extra: (name, text) of the user's own columns, and of ours that have no field here, such as
            ``outcome`` (see store.outcomes), ``labelled``, ``study`` and ``has_report``. Text is
            a value, or for numbers and dates a range such as ``2..7``, ``2..`` or ``..7``; rows
            without a value never pass.
    """

    label: tuple[str, ...] = ()
    split: tuple[str, ...] = ()
    dataset: tuple[str, ...] = ()
    patient: tuple[str, ...] = ()
    view: tuple[str, ...] = ()
    sex: tuple[str, ...] = ()
    age_min: float | None = None
    age_max: float | None = None
    batch: tuple[str, ...] = ()
    uncertain: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    extra: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        for name in _NAMED:
            values = getattr(self, name)
            if not isinstance(values, tuple) or not all(isinstance(one, str) for one in values):
                raise BadFilter(f"filter {name}={values!r}: expected a tuple of strings")
            _check_texts(name, values)
        for pair in self.extra:
            if not isinstance(pair, tuple) or len(pair) != 2:
                raise BadFilter(f"filter extra={pair!r}: expected a name and a text")
            name, text = pair
            if not isinstance(name, str) or not isinstance(text, str):
                raise BadFilter(f"filter {name}={text!r}: expected a name and a text")
            _check_texts(name, (text,))
        for bound in (self.age_min, self.age_max):
            if bound is not None and not _is_finite(bound):
                raise BadFilter(f"filter age={str(bound)[:40]}: expected a finite number of years")
        if self.age_min is not None and self.age_max is not None and self.age_min > self.age_max:
            raise BadFilter(
                f"filter age={self.age_min:g}..{self.age_max:g} is empty; put the lower bound first"
            )

    def __bool__(self) -> bool:
        return any(getattr(self, field.name) not in ((), None) for field in fields(self))

    def __str__(self) -> str:
        return " ".join(self.conditions())

    def conditions(self) -> list[str]:
        """The conditions as ``parse_where`` reads them."""
        parts = [f"{name}={value}" for name in _NAMED for value in getattr(self, name)]
        if self.age_min is not None or self.age_max is not None:
            low, high = (
                "" if bound is None else written(bound) for bound in (self.age_min, self.age_max)
            )
            parts.append(f"age={low}..{high}")
        return [*parts, *(f"{name}={text}" for name, text in self.extra)]

    def texts(self) -> dict[str, list[str]]:
        """The texts that each key but ``age`` is filtered by: any of them."""
        asked = {name: list(values) for name in _NAMED if (values := getattr(self, name))}
        for name, text in self.extra:
            asked.setdefault(name, []).append(text)
        return asked

    def to_filter(self, schema: pa.Schema) -> str | None:
        """The condition in the table's own language; None when everything passes.

        Args:
            schema: the table's, which knows its columns and their types.

        Raises:
            BadFilter: a column that is not there, or a value that is none of its type.
        """
        own = custom_columns.kinds(schema)
        parts = [between("age", self.age_min, self.age_max)]
        for key, texts in self.texts().items():
            check_key(key, own)
            name, kind = (key, own[key]) if key in own else _FILTERED[key]
            if key in _SPECIAL and key not in own:
                parts.append(either(_SPECIAL[key](text, schema) for text in texts))
                continue
            # A table of an older version lacks some of our columns.
            parts.append(_condition(name, kind, texts) if name in schema.names else NOTHING)
        return both(parts)


#: Fields of Where that hold texts, in their order.
_NAMED = tuple(one.name for one in fields(Where) if one.name not in ("age_min", "age_max", "extra"))


def _is_finite(bound: object) -> bool:
    try:
        return isinstance(bound, int | float) and math.isfinite(bound)
    except OverflowError:  # an int beyond every float
        return False


def _check_texts(name: str, values: Sequence[str]) -> None:
    for value in values:
        try:
            value.encode()
        except UnicodeEncodeError:
            raise BadFilter(
                f"filter {name}={value!r} has half of a character (a lone surrogate) in it, which "
                "no row has"
            ) from None


def check_key(key: str, own: Collection[str]) -> None:
    """Refuse a key that is neither ours nor one of a gallery's own columns, with BadFilter."""
    if key not in (*_FILTERED, *own):
        known = ", ".join([*_FILTERED, *own])
        raise BadFilter(f"filter on an unknown key {key!r}; use {known}")


def _condition(name: str, kind: str, texts: Sequence[str]) -> str:
    """A condition on one column: any of some values or ranges."""
    if kind == "string":
        return equal(name, texts)
    if kind == "strings":
        return holds(name, texts)
    if kind == "bool":
        return either(is_true(name, truth(name, text)) for text in texts)
    ranges = (between(name, *own_range(name, kind, text)) for text in texts)
    return either(one for one in ranges if one is not None)


def outcome_named(text: str) -> Outcome:
    """The outcome that a filter's text names; BadFilter when it is none."""
    for one in OUTCOMES:
        if text.casefold() == one:
            return one
    raise BadFilter(f"filter outcome={text}: expected {', '.join(OUTCOMES)}")


def _outcome(wanted: Outcome, schema: pa.Schema) -> str:
    """Rows with an outcome: the same ones as store.outcomes.outcome has it."""
    own = custom_columns.kinds(schema)
    ours = {name for name in schema.names if name not in own}

    def some(name: str) -> str:
        there = f"coalesce(array_length({named(name)}), 0) > 0"
        return there if name in ours else NOTHING

    labels, doubts = some("labels"), some("uncertain")
    joined = f"array_to_string({named('labels')}, {quoted(_BETWEEN)})"
    # A label that has the sign between labels in it is none that says so.
    signs = f"length({joined}) - length(replace({joined}, {quoted(_BETWEEN)}, ''))"
    pattern = quoted(f"^{NAMES_NOTHING}({_BETWEEN}{NAMES_NOTHING})*$")
    nothing = f"regexp_like({joined}, {pattern}) AND {signs} = array_length({named('labels')}) - 1"
    looked = [some("absent")]
    if "labelled" in ours:
        looked.append(f"coalesce({named('labelled')}, false)")
    if wanted == FOUND:
        return f"({labels}) AND NOT ({nothing})"
    unnamed = f"NOT ({labels}) AND {'' if wanted == UNCERTAIN else 'NOT '}({doubts})"
    if wanted == UNCERTAIN:
        return unnamed
    if wanted == NOT_LABELLED:
        return f"{unnamed} AND NOT ({either(looked)})"
    return either([f"({labels}) AND {nothing}", f"{unnamed} AND ({either(looked)})"])


def _labelled(wanted: bool, schema: pa.Schema) -> str:
    """Rows that are labelled or not, those of older tables by their findings."""
    unlabelled = _outcome(NOT_LABELLED, schema)
    return f"NOT ({unlabelled})" if wanted else unlabelled


def reported(wanted: bool, schema: pa.Schema) -> str:
    """Rows that have a report, or none."""
    if "report" not in schema.names:  # a table of an older version
        return NOTHING if wanted else f"NOT ({NOTHING})"
    return has_text("report") if wanted else has_no_text("report")


#: Our filters that have conditions of their own: a text and the schema to a condition.
_SPECIAL: dict[str, Callable[[str, pa.Schema], str]] = {
    "outcome": lambda text, schema: _outcome(outcome_named(text), schema),
    "labelled": lambda text, schema: _labelled(truth("labelled", text), schema),
    "has_report": lambda text, schema: reported(truth("has_report", text), schema),
}


def truth(name: str, text: str) -> bool:
    """The bool of a filter's text; BadFilter when it means none."""
    if text.casefold() not in _TRUTH:
        raise BadFilter(f"filter {name}={text}: expected true or false")
    return _TRUTH[text.casefold()]


def own_range(name: str, kind: str, text: str) -> tuple[Any, Any]:
    """The bounds of a filter's text on a column of numbers or dates.

    Args:
        name: of the column, for messages.
        kind: ``date``, else numbers.
        text: see parse_range.

    Returns:
        Least and greatest, dates or floats, inclusive; None where that side is open.

    Raises:
        BadFilter: see parse_range.
    """
    if kind == "date":
        what = "a date, e.g. 2024-05-01, 2024-01-01..2024-06-30 or 2024-01-01.."
        return parse_range(f"{name}={text}", text, date.fromisoformat, what)
    return parse_range(f"{name}={text}", text, _number, "a number, e.g. 4, 2..7 or 2..")


def written(number: float) -> str:
    """The shortest text that is read back as the same number."""
    whole = float(number).is_integer() and abs(number) < _LARGEST_WHOLE
    return str(int(number)) if whole else repr(float(number))


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError
    return value


def parse_where(conditions: Sequence[str], own: Collection[str] = ()) -> Where:
    """Read conditions such as ``label=pneumonia``, ``split=test``, ``age=40..60``.

    A repeated key means any of its values. Ages take ``40``, ``40..60``, ``40..`` or ``..60``.

    Args:
        conditions: one for each.
        own: names of the gallery's own columns, which may be keys too; see Gallery.columns.

    Raises:
        BadFilter: no ``=``, an unknown key, an empty value, or an age that is not a number.
    """
    values: dict[str, list[str]] = {}
    extra: list[tuple[str, str]] = []
    for condition in conditions:
        key, separator, value = condition.partition("=")
        key, value = key.strip(), value.strip()
        if not separator or not value:
            raise BadFilter(f"filter {condition!r}: expected KEY=VALUE, e.g. label=pneumonia")
        check_key(key, own)
        if key == "age" or key in _NAMED:
            values.setdefault(key, []).append(value)
        else:
            extra.append((key, value))
    ages = values.pop("age", [])
    if len(ages) > 1:
        raise BadFilter(f"filter age given {len(ages)} times; give one range, e.g. age=40..60")
    what = "years, e.g. 40, 40..60 or 65.."
    low, high = parse_range(f"age={ages[0]}", ages[0], float, what) if ages else (None, None)
    return Where(
        age_min=low,
        age_max=high,
        extra=tuple(dict.fromkeys(extra)),
        **{key: tuple(dict.fromkeys(found)) for key, found in values.items()},
    )


def parse_range(
    condition: str, text: str, read: Callable[[str], T], what: str
) -> tuple[T | None, T | None]:
    """The bounds of ``4``, ``2..7``, ``2..`` or ``..7``, inclusive.

    Args:
        condition: for messages.
        text: the value.
        read: one bound; ValueError when it is none.
        what: was expected, for messages.

    Raises:
        BadFilter: no bound at all, one that cannot be read, or the lower one above.
    """
    low, separator, high = (part.strip() for part in text.partition(".."))
    try:
        first: Any = read(low) if low else None
        last: Any = (read(high) if high else None) if separator else first
    except ValueError:
        raise BadFilter(f"filter {condition}: expected {what}") from None
    if first is None and last is None:
        raise BadFilter(f"filter {condition}: expected {what}")
    if first is not None and last is not None and first > last:
        raise BadFilter(f"filter {condition} is empty; put the lower bound first")
    return first, last


def passes(row: Row, where: Where | None) -> bool:
    """Whether a row is among those that a filter lets through.

    Args:
        row: with its metadata.
        where: None lets everything through.

    Raises:
        BadFilter: a text of an own column that is none of its type, in a row that has a value.
    """
    if not where:
        return True
    if (where.age_min, where.age_max) != (None, None) and not (
        row.age is not None and _within(row.age, where.age_min, where.age_max)
    ):
        return False
    return all(_has_one(row, key, texts) for key, texts in where.texts().items())


def _has_one(row: Row, key: str, texts: list[str]) -> bool:
    ours = key in _FILTERED and key not in row.extra
    if ours and key in _SPECIAL:  # or a column of the user's own, without a value here
        named = {text.casefold() for text in texts}
        if key == "outcome":
            return row.outcome in named
        if key == "has_report":
            return any(_TRUTH.get(text) == bool(row.report) for text in named)
        return any(_TRUTH.get(text) == (row.outcome != NOT_LABELLED) for text in named)
    value = getattr(row, _FILTERED[key][0]) if ours else row.extra.get(key)
    if value is None:
        return False
    if isinstance(value, tuple):
        return not set(value).isdisjoint(texts)
    if isinstance(value, str):
        return value in texts
    if isinstance(value, bool):
        return any(value == truth(key, text) for text in texts)
    kind = "date" if isinstance(value, date) else "float"
    return any(_within(value, *own_range(key, kind, text)) for text in texts)


def _within(value: float | date, low: float | date | None, high: float | date | None) -> bool:
    return (low is None or value >= low) and (high is None or value <= high)  # type: ignore[operator]
