"""Tables of evaluations, audits and search results: values and cells, without Streamlit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, Literal

from store import NOTHING_FOUND, counted
from ui import encoder_facts

if TYPE_CHECKING:
    from store import (
        Comparison,
        Doubt,
        Film,
        FilmChange,
        FindingDoubt,
        Glance,
        Group,
        Hard,
        Hit,
        Leak,
        NearPair,
        Output,
        Row,
        Similarities,
        Vote,
        Where,
        Whose,
    )
    from ui.encoder_facts import Facts

#: Baselines in the order of a page, with their names for a person.
FLOORS = {"raw pixels": "raw pixels", "random": "chance"}


@dataclass(frozen=True, slots=True)
class PrecisionRow:
    """One row of a table of Precision@k.

    Attributes:
        kind: whose row.
        name: of the baseline or the label.
        values: depth, as text, to Precision@k; of a vote to its accuracy.
        map: mean average precision, or another figure of whole rankings; None where it was not
            measured.
        intervals: depth to 95 % interval, for the encoder.
        queries: with this label, or with any finding; 0 for all.
    """

    kind: Literal["encoder", "baseline", "label", "majority vote", "hit rate", "measure"]
    name: str
    values: Mapping[str, float]
    map: float | None = None
    intervals: Mapping[str, Sequence[float]] = field(default_factory=dict)
    queries: int = 0

    def cells(self, depths: Iterable[str], digits: int) -> list[str]:
        """Values at these depths; a dash where there is none."""
        return [f"{self.values[k]:.{digits}f}" if k in self.values else "-" for k in depths]


def precision_rows(found: Mapping[str, Any]) -> list[PrecisionRow]:
    """Precision@k of the encoder, its baselines and each label, then vote and hit rate.

    Args:
        found: an evaluation as plain JSON types.
    """
    intervals = _known(found["ci95"])
    rows = [PrecisionRow("encoder", "", found["precision"], found["map"], intervals)]
    rows += [
        PrecisionRow("baseline", name.replace("_", " "), one["precision"], one.get("map"))
        for name, one in found["baselines"].items()
    ]
    rows += [
        PrecisionRow("label", name, one["precision"], queries=one["queries"])
        for name, one in found["per_label"].items()
    ]
    if found["vote"]:
        rows.append(PrecisionRow("majority vote", "", found["vote"]))
    return [*rows, PrecisionRow("hit rate", "", found["hit_rate"])]


def _known(intervals: Mapping[str, Sequence[Any]]) -> dict[str, Sequence[float]]:
    """Intervals that there are: queries of one patient alone have none."""
    return {k: bounds for k, bounds in intervals.items() if None not in bounds}


#: Measures of an evaluation at a depth beside Precision@k, in the order of a page: the key of the
#: document, and the name for a person.
_MEASURES = {
    "bounded": "precision at min(k, relevant)",
    "recall": "recall",
    "map_at": "mAP at k",
    "ndcg": "nDCG, graded",
    "exact_set": "exactly the query's findings",
}


def measure_rows(found: Mapping[str, Any]) -> list[PrecisionRow]:
    """Measures beside Precision@k: over queries, then macro means, of the queries by finding.

    Args:
        found: an evaluation as plain JSON types.
    """

    def rows(
        values: Mapping[str, Any], names: Mapping[str, str], ending: str = ""
    ) -> list[PrecisionRow]:
        bounds = {} if ending else found.get("intervals", {})
        asked = found["queries"] - bare if ending else 0
        return [
            PrecisionRow(
                "measure", name + ending, values[key], None, _known(bounds.get(key, {})), asked
            )
            for key, name in names.items()
            if values.get(key)
        ]

    # Of no finding: they are not among the queries of any.
    bare = found.get("per_finding", {}).get(NOTHING_FOUND, {}).get("queries", 0)
    shown = dict(_MEASURES)
    if found.get("exact_set") == found["precision"]:  # every film has one finding
        del shown["exact_set"]
    macro = {"precision": "precision", "bounded": _MEASURES["bounded"]}
    listed = rows(found, shown)
    if (whole := found.get("r_precision")) is not None:
        listed.append(PrecisionRow("measure", "R-precision", {}, whole))
    return [*listed, *rows(found.get("macro", {}), macro, ", macro")]


def finding_table(found: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Finding by finding: queries and films that have it, chance, precision and recall."""
    depths = list(found["precision"])
    deepest = depths[-1]
    rows = [
        [
            name,
            f"{one['queries']:,}",
            f"{one['gallery']:,}",
            f"{one['chance']:.3f}",
            *PrecisionRow("label", name, one["precision"]).cells(depths, 3),
            f"{one['recall'][deepest]:.3f}",
        ]
        for name, one in found.get("per_finding", {}).items()
    ]
    if mean := found.get("over_findings"):
        cells = PrecisionRow("measure", "", mean["precision"]).cells(depths, 3)
        rows.append(["mean over findings", "", "", "", *cells, f"{mean['recall'][deepest]:.3f}"])
    head = ["", "queries", "films", "chance", *(f"P@{k}" for k in depths), f"Recall@{deepest}"]
    return head, rows


#: What is left out of a query's ranking, by the key ``excluded`` of an evaluation.
NOT_RANKED = {
    "patient": "films of the query's own patient are not in its ranking",
    "study": "films of the query's own study are not in its ranking",
    "film": "the query itself is not in its ranking",
}


def definitions(found: Mapping[str, Any]) -> list[str]:
    """Sentences that define the figures of an evaluation, and count what took no part in them.

    Args:
        found: an evaluation as plain JSON types.
    """
    from store import FEW

    relevance = found["relevance"]
    said = [
        f"Relevance {relevance['name']}: {relevance['definition']}",
        _left_out_of_rankings(found),
    ]
    if over := found.get("interval"):
        rough = f": rough, it takes {FEW} or more" if over.get("rough") else ""
        said.append(
            f"95 % intervals: {over['method']}, over {over['units']:,} {over['over']}{rough}"
        )
    for reason, count in found.get("left_out", {}).items():
        both = f"{count['queries']:,} of the queries' side, {count['gallery']:,} of the gallery's"
        number = f"{count['gallery']:,}" if count["queries"] == count["gallery"] else both
        said.append(f"Films left out, {reason}: {number}")
    for key, what in (
        ("nothing_to_find", "Queries with nothing to find, which count 0 in every measure"),
        ("short", "Queries that may find fewer films than the deepest k; empty ranks are misses"),
    ):
        if found.get(key):
            said.append(f"{what}: {found[key]:,}")
    return said


def _left_out_of_rankings(found: Mapping[str, Any]) -> str:
    patients = found.get("patients") or {}
    said = NOT_RANKED[found.get("excluded", "film")]
    if found.get("excluded", "film") == "film" and patients.get("known"):
        said += "; other films of its patient are, and count as any other"
    elif patients.get("unknown") and patients.get("known"):
        said += f" ({counted(patients['unknown'], 'film names', 'films name')} none)"
    if both := patients.get("in_both_sides"):
        whose = (found.get("interval") or {}).get("over", "patients")
        said += f"; {both:,} {'studies' if whose == 'studies' else 'patients'} are on both sides"
    return f"{said[0].upper()}{said[1:]}"


#: Rules of relevance in a few words, for a figure.
_RELEVANT = {
    "any": "shares a finding with the query",
    "all": "has every finding of the query",
    "jaccard": "gain: Jaccard index of its findings and the query's",
}


def definition_in_short(found: Mapping[str, Any]) -> str:
    """Relevance, what is left out of rankings, and intervals, in the few words of a figure."""
    name = found["relevance"]["name"]
    finding = name.removeprefix("finding=")
    relevant = _RELEVANT.get(name, f"agrees with the query on {finding}")
    parts = [f"Relevant: {relevant}", _left_out_of_rankings(found)]
    over = found.get("interval") or {}
    number = f"{over['units']:,} (rough) " if over.get("rough") else ""
    parts.append(f"bars: 95 % intervals over {number}{over.get('over', 'queries')}")
    return " · ".join(parts)


def _methods(found: Mapping[str, Any], name: str) -> list[tuple[str, PrecisionRow]]:
    """The encoder's row under its name, then those of its floors."""
    ours, *others = precision_rows(found)
    floors = {row.name: row for row in others if row.kind == "baseline"}
    return [(name, ours), *((FLOORS[key], floors[key]) for key in FLOORS if key in floors)]


def precision_table(found: Mapping[str, Any], name: str) -> tuple[list[str], list[list[str]]]:
    """Precision@k of the encoder with its intervals, above its floors.

    Args:
        found: an evaluation as plain JSON types.
        name: of the encoder.

    Returns:
        Column names and rows of text; the encoder's row is the first.
    """
    depths = list(found["precision"])
    rows = []
    for called, row in _methods(found, name):
        cells = row.cells(depths, 3)
        for place, k in enumerate(depths):
            if bounds := row.intervals.get(k):
                cells[place] += f"\n{bounds[0]:.3f}–{bounds[1]:.3f}"
        rows.append([called, *cells, "–" if row.map is None else f"{row.map:.3f}"])
    return ["", *(f"P@{k}" for k in depths), "mAP"], rows


def detail_table(found: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """The majority vote, the hit rate and the other measures, then Precision@k per label."""
    depths = list(found["precision"])
    names = {"majority vote": "majority vote is right", "hit rate": "at least one of k agrees"}
    listed = [row for row in precision_rows(found) if row.kind not in ("encoder", "baseline")]
    listed = [
        *(row for row in listed if row.kind != "label"),
        *measure_rows(found),
        *(row for row in listed if row.kind == "label" and not by_finding(found)),
    ]
    whole = any(row.map is not None for row in listed)
    rows = [
        [
            f"queries labelled {row.name}"
            if row.kind == "label"
            else names.get(row.kind, row.name),
            f"{row.queries or found['queries']:,}",
            *row.cells(depths, 3),
            *([] if not whole else ["–" if row.map is None else f"{row.map:.3f}"]),
        ]
        for row in listed
    ]
    head = ["", "queries", *(f"k = {k}" for k in depths), *(["whole ranking"] if whole else [])]
    return head, rows


def by_finding(found: Mapping[str, Any]) -> bool:
    """Whether queries have several findings, or none: finding by finding says more than labels."""
    counts: list[int] = [one["queries"] for one in found["per_label"].values()]
    return sum(counts) != int(found["queries"])


def points(found: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """Points of a chart of Precision@k: one per depth and method, with its interval."""
    drawn = []
    for method, row in _methods(found, name):
        for k, value in row.values.items():
            low, high = row.intervals.get(k, (None, None))
            drawn.append(
                {"k": int(k), "precision": value, "method": method, "low": low, "high": high}
            )
    return drawn


def compared_names(found: Comparison) -> list[str]:
    """Names of the stores of a comparison: of their encoders, and what else tells them apart."""
    names = [str(store["encoder"]) for store in found.stores]
    for more in ("fingerprint", "uri"):
        if len(set(names)) == len(names):
            break
        again = [name for name in names if names.count(name) > 1]
        names = [
            f"{name} {str(store[more]).rstrip('/').rpartition('/')[2][:24]}"
            if name in again
            else name
            for name, store in zip(names, found.stores, strict=True)
        ]
    return names


def comparison_table(
    found: Comparison, digits: int = 3, between: str = "\n"
) -> tuple[list[str], list[list[str]]]:
    """Precision@k of each store with its interval; one row a store.

    Args:
        found: the comparison.
        digits: after the point.
        between: a value and its interval.
    """
    rows = [
        [
            name,
            *(
                f"{precision[k]:.{digits}f}{between}[{low:.3f}, {high:.3f}]"
                for k, (low, high) in intervals.items()
            ),
        ]
        for name, precision, intervals in zip(
            compared_names(found), found.precision, found.intervals, strict=True
        )
    ]
    return ["", *(f"P@{k}" for k in found.precision[0])], rows


def differences_table(
    found: Comparison, digits: int = 3, between: str = "\n"
) -> tuple[list[str], list[list[str]]]:
    """Paired differences of the first store to each other one; one row a store and depth."""
    first, *others = compared_names(found)
    rows = [
        [
            "" if at else name,
            f"P@{k}",
            f"{difference:+.{digits}f}{between}[{pair.ci95[k][0]:+.3f}, {pair.ci95[k][1]:+.3f}]",
            f"{pair.better[k]:,}",
            f"{pair.worse[k]:,}",
        ]
        for name, pair in zip(others, found.pairs, strict=True)
        for at, (k, difference) in enumerate(pair.difference.items())
    ]
    return [f"{first} against", "", "difference", "better", "worse"], rows


def compared_films(found: Comparison) -> str:
    """Sentence about the films of a comparison."""
    all_of = "both" if len(found.stores) == 2 else f"all {len(found.stores)}"
    missing = ", ".join(f"{count:,}" for count in found.left_out)
    differ = ", ".join(f"{pair.labels_differ:,}" for pair in found.pairs)
    return (
        f"{found.protocol}: {counted(found.queries, 'query', 'queries')} and "
        f"{counted(found.gallery, 'film')} that {all_of} "
        f"stores have; films that not all have, store by store: {missing}. Labels differ for "
        f"{differ}; those of the first store are used."
    )


def compared_by(found: Comparison) -> list[str]:
    """Sentences that define the figures of a comparison: relevance, exclusion, intervals."""
    return definitions({**found.as_dict(), "left_out": found.not_evaluated})


def facts_table(names: Sequence[str], facts: Sequence[Facts]) -> tuple[list[str], list[list[str]]]:
    """Facts about the encoders of compared stores; one row a store.

    Args:
        names: of the stores.
        facts: of their encoders, in that order.
    """
    head = ["", "trained on these films?", "learnt from", "licence", "size", "vector"]
    rows = [
        [
            name,
            encoder_facts.trained(one),
            one.data,
            one.licence,
            encoder_facts.size(one),
            f"{one.dimension:,}-d, {one.vector_bytes:,} bytes",
            encoder_facts.film_speed(one),
            encoder_facts.search_speed(one),
        ]
        for name, one in zip(names, facts, strict=True)
    ]
    return [*head, "time a film", "time a search"], rows


def fitting(depths: Sequence[int], films: int) -> tuple[int, ...]:
    """Depths within the size of a set of films, the query itself left out."""
    return tuple(k for k in depths if k < films)


def as_dict(
    query: dict[str, Any],
    k: int,
    where: Where | None,
    hits: Sequence[Hit],
    page: int = 1,
    more: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Document of a query and its hits, as ``cxr search --json`` prints it.

    Args:
        query: as it was asked.
        k: how many hits a page has.
        where: the filter.
        hits: of the page.
        page: its number.
        more: further keys of each hit.
    """
    from ingest import study_link

    turned = {"page": page} if page > 1 else {}
    return {
        "query": {**query, "k": k, **turned, "where": str(where) if where else ""},
        "hits": [
            {
                "rank": hit.rank,
                "id": hit.row.id,
                "score": hit.score,
                **plain(shown(hit.row, "json")),
                "outcome": hit.row.outcome,
                "extra": plain(hit.row.extra),
                "study_link": study_link(hit.row.source),
                **others,
            }
            for hit, others in zip(hits, more or [{}] * len(hits), strict=True)
        ],
    }


#: Column names, then rows of cells.
Sheet = tuple[list[str], list[list[object]]]

KINDS = {"source": "same source", "vector": "same vector"}
_FILM = ("id", "labels", "split", "dataset", "patient")
#: Whose films duplicates are, where somebody should look: see store.analysis.film_table.
WRONG_IDS: Final = "several patients"


def labels_of(film: Film) -> str:
    """Labels of a film, or the outcome of looking at it where there are none."""
    return "; ".join(film.labels) or ("" if film.outcome == "not labelled" else film.outcome)


def _film(film: Film) -> list[object]:
    return [film.id, labels_of(film), film.split, film.dataset, film.patient]


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def exact(groups: Sequence[Group]) -> Sheet:
    """Sheet of exact duplicates: one line a film, numbered by group."""
    rows = [
        [
            at,
            KINDS[group.kind],
            _yes(group.across),
            _yes(group.labels_differ),
            *_film(film),
            group.whose,
        ]
        for at, group in enumerate(groups, start=1)
        for film in group.films
    ]
    return ["group", "kind", "across splits", "labels differ", *_FILM, "films of"], rows


def near(pairs: Sequence[NearPair]) -> Sheet:
    """Sheet of near duplicates: one line a pair."""
    head = ["cosine", "same source", "across splits", "labels differ"]
    rows = [
        [
            Decimal(f"{pair.cosine:.6f}"),
            _yes(pair.same_source),
            _yes(pair.across),
            _yes(pair.labels_differ),
            *_film(pair.left),
            *_film(pair.right),
            pair.whose,
        ]
        for pair in pairs
    ]
    return [*head, *_FILM, *(f"other {name}" for name in _FILM), "films of"], rows


def whose(counts: Mapping[Whose, int]) -> str:
    """Counts of duplicates by whose films they are, in words."""
    said = [f"{count:,} of {name}" for name, count in counts.items() if name != "unknown"]
    return f"{', '.join(said)}, {counts.get('unknown', 0):,} of patients that are not known"


def whose_groups(groups: Sequence[Group]) -> dict[Whose, int]:
    """Groups of exact duplicates, counted by whose films they are."""
    from store import WHOSE

    return {name: sum(group.whose == name for group in groups) for name in WHOSE}


def votes(found: Sequence[Vote]) -> str:
    """Findings in doubt, each with its votes: ``Effusion 1/10; Mass 0/9``."""
    return "; ".join(f"{vote.finding} {vote.votes}/{vote.of}" for vote in found)


def doubt(one: Doubt) -> str:
    """Line about a film whose neighbours disagree."""
    parts = [
        f"disagreement {one.disagreement:.2f}",
        f"{one.votes} of {counted(one.asked, 'neighbour')} say {one.said}",
        f"unsupported: {votes(one.unsupported)}" if one.unsupported else "",
        f"missing: {votes(one.missing)}" if one.missing else "",
        f"mean cosine {one.nearness:.3f}",
    ]
    return "; ".join(part for part in parts if part)


def findings_doubted(found: Mapping[str, FindingDoubt]) -> Sheet:
    """Sheet of findings: one line each, with the films whose neighbours doubt it."""
    head = ["finding", "films", "unsupported", "missing"]
    return head, [[name, one.films, one.unsupported, one.missing] for name, one in found.items()]


#: Films that are not among a film's neighbours, by the name of what they have in common.
EXCLUDED = {
    "patient": "no film of the same patient is asked",
    "study": "no film of the same study is asked",
    "film": "no patients are known: films of one person may ask each other",
}


def left_out(counts: Mapping[str, int]) -> str:
    """Films that took no part, by reason: ``12 not labelled, 3 uncertain only``; empty for none."""
    return ", ".join(f"{count:,} {reason}" for reason, count in counts.items() if count)


def doubts(films: Sequence[Doubt], k: int) -> Sheet:
    """Sheet of doubtful labels: one line a film, the most doubtful first."""
    head = ["rank", "disagreement", f"neighbours of {k}", "say", "mean cosine", *_FILM]
    head += ["unsupported", "missing"]
    rows: list[list[object]] = [
        [
            at,
            f"{one.disagreement:.4f}",
            one.votes,
            one.said,
            Decimal(f"{one.nearness:.6f}"),
            *_film(one.film),
            votes(one.unsupported),
            votes(one.missing),
        ]
        for at, one in enumerate(films, start=1)
    ]
    return head, rows


def leaks(found: Sequence[Leak]) -> Sheet:
    """Sheet of patients, or studies, in several splits: one line each, with its films per split."""
    splits = sorted({name for leak in found for name in leak.splits})
    return ["patient", *splits, "dataset", "study"], [
        [
            leak.patient,
            *(leak.splits.get(name, 0) for name in splits),
            leak.dataset,
            leak.study,
        ]
        for leak in found
    ]


def metadata(found: Glance) -> Sheet:
    """Sheet of columns: one line a value, with its films per split; missing values first."""
    rows: list[list[object]] = []
    splits = list(found.rows)
    for column in found.columns:
        gaps = [column.missing.get(split, 0) for split in splits]
        rows.append([column.name, "(missing)", *gaps, sum(gaps)])
        for value, counts in column.values.items():
            shown = [counts.get(split, 0) for split in splits]
            rows.append([column.name, value, *shown, sum(shown)])
    return ["column", "value", *(split or "(no split)" for split in splits), "all"], rows


def hardest(found: Sequence[Hard], k: int) -> Sheet:
    """Sheet of queries with the lowest Precision@k: one line a query, the worst first."""
    rows: list[list[object]] = [
        [at, one.id, "; ".join(one.labels), f"{one.precision:.4f}", Decimal(f"{one.wrong:.6f}")]
        for at, one in enumerate(found, start=1)
    ]
    return ["rank", "id", "labels", f"P@{k}", "nearest wrong cosine"], rows


def shown(row: Row, output: Output) -> dict[str, Any]:
    """The metadata of a row that an output shows: column to value; without the user's own."""
    from store import COLUMNS

    return {
        name: getattr(row, name)
        for name, column in COLUMNS.items()
        if output not in column.absent_from
    }


def changed(films: Sequence[FilmChange]) -> Sheet:
    """Films of a change of curation, with what they were and are."""
    from ui.changes import cells

    rows: list[list[object]] = [[one.film, cells(one.before), cells(one.after)] for one in films]
    return ["film", "before", "after"], rows


def remarks(told: Mapping[str, Mapping[str, Any]]) -> Sheet:
    """Tags and notes of films: a line a film, tags apart by a semicolon."""
    rows: list[list[object]] = [
        [film, "; ".join(one["tags"]), one["remark"]] for film, one in told.items()
    ]
    return ["id", "tags", "note"], rows


def in_words(row: Row) -> str:
    """The findings of a film, or what came of looking at it: ``edema, mass``, ``No finding``."""
    return ", ".join(row.named_findings) or row.outcome


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values of a row as JSON has them: dates as ``2024-05-01``, findings as lists."""
    return {
        name: value.isoformat()
        if isinstance(value, date)
        else list(value)
        if isinstance(value, tuple)
        else value
        for name, value in values.items()
    }


def similarities_as_dict(
    found: Similarities, sentences: Mapping[str, str], understood: Mapping[str, bool | None]
) -> dict[str, Any]:
    """Similarities of films with the sentences of labels, as ``cxr classify --json`` prints them.

    Args:
        found: from store.similarities.
        sentences: by label.
        understood: by label, whether the encoder has grounds to understand its sentence.
    """
    return {
        "labels": [
            {
                "name": name,
                "sentence": sentences[name],
                "understood": understood[name],
                **asdict(figures),
            }
            for name, figures in found.by_label.items()
        ],
        "judged": found.judged,
        "precision_at_1": found.precision_at_1,
        "films": [
            {
                "id": row.id,
                "labels": list(row.labels),
                "nearest": found.names[place],
                "similarity": dict(zip(found.names, map(float, cosines), strict=True)),
            }
            for row, place, cosines in zip(found.rows, found.nearest, found.cosines, strict=True)
        ],
    }


def similarity_rows(found: Similarities) -> tuple[list[str], list[list[object]]]:
    """The same as a table: its head, and a row a film."""
    rows: list[list[object]] = [
        [
            row.id,
            "|".join(row.labels),
            row.split,
            found.names[place],
            *(Decimal(f"{cosine:.6f}") for cosine in cosines),
        ]
        for row, place, cosines in zip(found.rows, found.nearest, found.cosines, strict=True)
    ]
    return ["id", "labels", "split", "nearest", *found.names], rows
