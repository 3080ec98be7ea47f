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
LongText = Literal["cut", "mean", "best"]
Words = Annotated[
    str,
    Field(
        min_length=1,
        max_length=TEXT_MAX,
        description="of reports; alone, or beside a picture, a film or a sentence",
        examples=["pleural effusion"],
    ),
]
Negated = Annotated[bool, Field(description="find words that reports say are absent, too")]
Fusion = Annotated[
    str, Field(max_length=20, description="rrf, or the weight of the words from 0 to 1")
]


class SearchRequest(BaseModel):
    """A search: one of text, id and vector, or films to be like; words beside any, or alone."""

    model_config = ConfigDict(extra="forbid")

    text: Annotated[
        str | None,
        Field(max_length=TEXT_MAX, description="a sentence or a report", examples=["clear lungs"]),
    ] = None
    id: Annotated[Id | None, Field(description="of a stored film; never among its hits")] = None
    vector: Annotated[
        list[float] | None,
        Field(max_length=65_536, description="unit length, of the gallery's encoder"),
    ] = None
    words: Words | None = None
    negated: Negated = False
    fusion: Fusion | float | None = None
    like: Annotated[list[Id], Field(max_length=100, description="films to be like as well")] = []
    unlike: Annotated[list[Id], Field(max_length=100, description="films to be unlike")] = []
    weights: Annotated[
        str | None,
        Field(max_length=100, description="of query, like, unlike", examples=["1,.75,.15"]),
    ] = None
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
    long_text: Annotated[
        LongText, Field(description="for a text longer than the encoder reads")
    ] = "cut"
