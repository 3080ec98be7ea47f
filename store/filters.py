"""Typed conditions on metadata. The only place that writes filter text for the table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

from store.errors import BadFilter

#: Columns compared for equality.
_EQUAL = ("split", "dataset", "patient", "view", "sex", "batch")
_KEYS = ("label", *_EQUAL, "age")


@dataclass(frozen=True, slots=True)
class Where:
    """Which rows take part in a search.

    Several values of one field mean any of them; several fields must all hold.

    Attributes:
        label: rows that carry at least one of these findings.
        split, dataset, patient, view, sex, batch: rows whose column is one of these.
        age_min, age_max: years, inclusive; rows without an age never pass.
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

    def __post_init__(self) -> None:
        for name in ("label", *_EQUAL):
            values = getattr(self, name)
            if isinstance(values, str) or not all(isinstance(value, str) for value in values):
                raise BadFilter(f"filter {name}={values!r}: expected a tuple of strings")
        for bound in (self.age_min, self.age_max):
            if bound is not None and not math.isfinite(bound):
                raise BadFilter(f"filter age={bound}: expected a finite number of years")
        if self.age_min is not None and self.age_max is not None and self.age_min > self.age_max:
            raise BadFilter(
                f"filter age={self.age_min:g}..{self.age_max:g} is empty; put the lower bound first"
            )

    def __bool__(self) -> bool:
        return any(getattr(self, field.name) not in ((), None) for field in fields(self))

    def __str__(self) -> str:
        parts = [f"{name}={value}" for name in ("label", *_EQUAL) for value in getattr(self, name)]
        if self.age_min is not None or self.age_max is not None:
            low, high = (
                "" if bound is None else f"{bound:g}" for bound in (self.age_min, self.age_max)
            )
            parts.append(f"age={low}..{high}")
        return " ".join(parts)

    def to_filter(self) -> str | None:
        """The condition in the table's own language; None when everything passes.

        Values are quoted by LanceDB's expression builder. It has no list functions (0.40), so the
        label condition alone is put together here, around a literal that the builder quoted.
        """
        from lancedb.expr import col, lit

        parts = [
            col(name).isin(list(getattr(self, name))).to_sql()
            for name in _EQUAL
            if getattr(self, name)
        ]
        if self.label:
            tests = (f"array_has(labels, {lit(value).to_sql()})" for value in self.label)
            parts.append("(" + " OR ".join(tests) + ")")
        if self.age_min is not None:
            parts.append((col("age") >= lit(float(self.age_min))).to_sql())
        if self.age_max is not None:
            parts.append((col("age") <= lit(float(self.age_max))).to_sql())
        return " AND ".join(f"({part})" for part in parts) or None


def parse_where(conditions: Sequence[str]) -> Where:
    """Read conditions such as ``label=pneumonia``, ``split=test``, ``age=40..60``.

    A repeated key means any of its values. Ages take ``40``, ``40..60``, ``40..`` or ``..60``.

    Raises:
        BadFilter: no ``=``, an unknown key, an empty value, or an age that is not a number.
    """
    values: dict[str, list[str]] = {}
    for condition in conditions:
        key, separator, value = condition.partition("=")
        key, value = key.strip(), value.strip()
        if not separator or not value:
            raise BadFilter(f"filter {condition!r}: expected KEY=VALUE, e.g. label=pneumonia")
        if key not in _KEYS:
            raise BadFilter(f"filter {condition!r}: unknown key {key!r}; use {', '.join(_KEYS)}")
        values.setdefault(key, []).append(value)
    ages = values.pop("age", [])
    if len(ages) > 1:
        raise BadFilter(f"filter age given {len(ages)} times; give one range, e.g. age=40..60")
    low, high = _age_range(ages[0]) if ages else (None, None)
    return Where(
        age_min=low,
        age_max=high,
        **{key: tuple(dict.fromkeys(found)) for key, found in values.items()},
    )


def _age_range(text: str) -> tuple[float | None, float | None]:
    low, separator, high = text.partition("..")
    try:
        first = float(low) if low else None
        last = (float(high) if high else None) if separator else first
    except ValueError:
        raise BadFilter(f"filter age={text!r}: expected years, e.g. 40, 40..60 or 65..") from None
    return first, last
