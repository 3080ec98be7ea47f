"""Requests of the HTTP service: their fields, limits and documentation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

#: Most hits of one answer, and of all pages of a search.
K_MAX, DEPTH_MAX = 1_000, 10_000
#: Longest text and id, in characters, and most conditions of a filter.
TEXT_MAX, ID_MAX, WHERE_MAX = 20_000, 2_000, 50
#: Most films of one list.
LIST_MAX = 1_000

Id = Annotated[str, Field(min_length=1, max_length=ID_MAX)]
Condition = Annotated[str, Field(max_length=ID_MAX, examples=["label=pneumonia"])]
LongTextChoice = Annotated[
    Literal["cut", "mean", "best"],
    Field(description="for a text longer than the encoder reads"),
]
Fusion = Annotated[
    str, Field(max_length=20, description="rrf, or the weight of the words from 0 to 1")
]


class _Query(BaseModel):
    """What can be asked for in the address."""

    text: Annotated[
        str | None,
        Field(max_length=TEXT_MAX, description="a sentence or a report", examples=["clear lungs"]),
    ] = None
    id: Annotated[Id | None, Field(description="of a stored film; never among its hits")] = None


class _Choices(BaseModel):
    """Words beside a query or alone, and which hits are wanted: the same of all searches."""

    words: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=TEXT_MAX,
            description="of reports; alone, or beside a picture, a film or a sentence",
            examples=["pleural effusion"],
        ),
    ] = None
    negated: Annotated[bool, Field(description="find words that reports say are absent, too")] = (
        False
    )
    fusion: Fusion | float | None = None
    k: Annotated[
        int, Field(ge=1, le=K_MAX, description="hits; all films where there are fewer")
    ] = 10
    page: Annotated[int, Field(ge=1, description="page 2 is the next k hits")] = 1
    where: Annotated[
        list[Condition],
        Field(max_length=WHERE_MAX, description="conditions KEY=VALUE, as cxr search --where"),
    ] = []
    other_patients: Annotated[
        bool, Field(description="leave out films of the query's own patient")
    ] = False


class AddressSearch(_Choices, _Query):
    """A search in an address."""

    long_text: LongTextChoice = "cut"


class ImageSearch(_Choices):
    """What goes with an image in an address."""

    body_part: Literal["chest", "any"] = "chest"


class SearchRequest(_Choices, _Query):
    """A search: one of text, id and vector, or films to be like; words beside any, or alone."""

    model_config = ConfigDict(extra="forbid")

    vector: Annotated[
        list[float] | None,
        Field(max_length=65_536, description="unit length, of the gallery's encoder"),
    ] = None
    like: Annotated[list[Id], Field(max_length=100, description="films to be like as well")] = []
    unlike: Annotated[list[Id], Field(max_length=100, description="films to be unlike")] = []
    weights: Annotated[
        str | None,
        Field(max_length=100, description="of query, like, unlike", examples=["1,.75,.15"]),
    ] = None
    long_text: LongTextChoice = "cut"
