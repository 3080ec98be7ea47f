"""The store: the table of films, its mirror, search and evaluation.

Knows neither images nor encoders: rows come with their vectors.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from store.analysis import audit, maps, projection
    from store.analysis.audit import (
        Doubt,
        Doubtful,
        FindingDoubt,
        Glance,
        Group,
        Leak,
        Near,
        NearPair,
        Vote,
    )
    from store.analysis.compare import Comparison, Films, compare
    from store.analysis.effect import MANY, Effect, effect, effect_of, effect_sentence
    from store.analysis.film_table import WHOSE, Film, Whose
    from store.analysis.listing.doubt import doubt_of_labels
    from store.analysis.listing.label_places import given_places, label_places
    from store.analysis.listing.order import FilmOrder, film_order, ordered_columns, sort_films
    from store.analysis.maps import Map
    from store.analysis.matched_by import ColumnMatch, Matches, ValueMatch, matched_by
    from store.analysis.packs import Pack, PackResult, measure_pack, pack_names
    from store.analysis.prevalence import AtPrevalence, at_prevalence, parse_prevalence
    from store.analysis.reports.nearest import NearReport, nearest_reports
    from store.analysis.reports.queries import ReportEvaluation, evaluate_reports
    from store.analysis.selective import Abstention, Curve, Selective, risk_coverage, selective
    from store.analysis.zero_shot import LabelFigures, Similarities, similarities
    from store.backup.back_up import BackedUp, back_up
    from store.backup.restore import Restored, look_into, restore
    from store.cluster import connection
    from store.curation.curation import Curation, person
    from store.curation.edits import Correction
    from store.curation.kept import Kept
    from store.curation.log import Entry, FilmChange, Operation
    from store.curation.operations import Result
    from store.curation.selections import Selection
    from store.errors import (
        BadArtefacts,
        BadFilter,
        BadImage,
        BadQuery,
        BadRows,
        BadSource,
        ClusterUnavailable,
        CxrError,
        EncoderChanged,
        EncoderMismatch,
        EncoderUnavailable,
        NothingToMeasure,
        PatchesUnsupported,
        StoreDamaged,
        StoreNotFound,
        StoreUnreachable,
        StoreUnsafe,
        StoreUnwritable,
        TextUnsupported,
        UnknownId,
        UsageError,
        counted,
    )
    from store.evaluation import per_query
    from store.evaluation.intervals import bootstrap
    from store.evaluation.labelled import (
        FEW,
        SAME_PATIENT,
        GroupKind,
        Groups,
        Labelled,
        SamePatient,
        Sides,
    )
    from store.evaluation.metrics import Evaluation, evaluate_vectors
    from store.evaluation.per_query import ByQuery, Hard
    from store.evaluation.prompts import score_prompts
    from store.evaluation.protocols import LEAVE_ONE_OUT, SPLIT
    from store.evaluation.ranking import by_vectors
    from store.files import expanded, location
    from store.gallery import Gallery, combined_query, refined_search, whole_of
    from store.mapped_copy import check_free
    from store.memory import give_back
    from store.negation import affirmed, is_english, state_of, states
    from store.outcomes import (
        FOUND,
        LEFT_OUT,
        NO_FINDING,
        NOT_LABELLED,
        NOTHING_FOUND,
        OUTCOMES,
        UNCERTAIN,
        Outcome,
        findings,
        named_findings,
        names_nothing,
        outcome,
    )
    from store.schema import (
        COLUMNS,
        CURATED_COLUMNS,
        FINDINGS,
        EncoderStamp,
        Floats,
        Hit,
        Integers,
        Metadata,
        Output,
        Progress,
        Row,
        UpsertReport,
        Value,
        Vectors,
    )
    from store.search.fusion import RRF, Fusion, parse_fusion
    from store.search.out_of_distribution import Nearness
    from store.search.relevance_feedback import WEIGHT_MAX, Weights, parse_weights, rocchio
    from store.search.same_patient import OwnFilms
    from store.search.words import WordHit
    from store.table.column_stats import Range
    from store.table.custom_columns import KINDS, LARGEST_INT, kind_of, name_of
    from store.table.duplicate_ids import Repaired
    from store.table.filters import Where, own_range, parse_where, passes, written
    from store.table.opening import check_encoder
    from store.table.rows import changes, findings_of, storable
    from store.table.undo import REPAIR, Undone
    from store.words.passage import Mark, Passage

# Loaded on first use: numpy and pyarrow would slow `cxr --help`.
_HOMES = {
    "store.analysis": "audit maps projection",
    "store.analysis.audit": ("Doubt Doubtful FindingDoubt Glance Group Leak Near NearPair Vote"),
    "store.analysis.compare": "Comparison Films compare",
    "store.analysis.effect": "MANY Effect effect effect_of effect_sentence",
    "store.analysis.film_table": "WHOSE Film Whose",
    "store.analysis.listing.doubt": "doubt_of_labels",
    "store.analysis.listing.label_places": "given_places label_places",
    "store.analysis.listing.order": "FilmOrder film_order ordered_columns sort_films",
    "store.analysis.maps": "Map",
    "store.analysis.matched_by": "ColumnMatch Matches ValueMatch matched_by",
    "store.analysis.packs": "Pack PackResult measure_pack pack_names",
    "store.analysis.prevalence": "AtPrevalence at_prevalence parse_prevalence",
    "store.analysis.selective": "Abstention Curve Selective risk_coverage selective",
    "store.analysis.reports.nearest": "NearReport nearest_reports",
    "store.analysis.reports.queries": "ReportEvaluation evaluate_reports",
    "store.analysis.zero_shot": "LabelFigures Similarities similarities",
    "store.backup.back_up": "BackedUp back_up",
    "store.backup.restore": "Restored look_into restore",
    "store.cluster": "connection",
    "store.curation.curation": "Curation person",
    "store.curation.edits": "Correction",
    "store.curation.kept": "Kept",
    "store.curation.log": "Entry FilmChange Operation",
    "store.curation.operations": "Result",
    "store.curation.selections": "Selection",
    "store.errors": (
        "BadArtefacts BadFilter BadImage BadQuery BadRows BadSource ClusterUnavailable CxrError "
        "EncoderChanged EncoderMismatch EncoderUnavailable NothingToMeasure PatchesUnsupported "
        "StoreDamaged StoreNotFound StoreUnreachable StoreUnsafe StoreUnwritable "
        "TextUnsupported UnknownId UsageError counted"
    ),
    "store.evaluation": "per_query",
    "store.evaluation.intervals": "bootstrap",
    "store.evaluation.labelled": "FEW SAME_PATIENT GroupKind Groups Labelled SamePatient Sides",
    "store.evaluation.metrics": "Evaluation evaluate_vectors",
    "store.evaluation.per_query": "ByQuery Hard",
    "store.evaluation.prompts": "score_prompts",
    "store.evaluation.protocols": "LEAVE_ONE_OUT SPLIT",
    "store.evaluation.ranking": "by_vectors",
    "store.files": "expanded location",
    "store.gallery": "Gallery combined_query refined_search whole_of",
    "store.mapped_copy": "check_free",
    "store.memory": "give_back",
    "store.negation": "affirmed is_english state_of states",
    "store.outcomes": (
        "FOUND LEFT_OUT NO_FINDING NOTHING_FOUND NOT_LABELLED OUTCOMES UNCERTAIN Outcome findings "
        "named_findings names_nothing outcome"
    ),
    "store.schema": (
        "COLUMNS CURATED_COLUMNS FINDINGS EncoderStamp Floats Hit Integers Metadata Output "
        "Progress Row UpsertReport Value Vectors"
    ),
    "store.search.fusion": "Fusion RRF parse_fusion",
    "store.search.out_of_distribution": "Nearness",
    "store.search.relevance_feedback": "WEIGHT_MAX Weights parse_weights rocchio",
    "store.search.same_patient": "OwnFilms",
    "store.search.words": "WordHit",
    "store.table.column_stats": "Range",
    "store.table.custom_columns": "KINDS LARGEST_INT kind_of name_of",
    "store.table.duplicate_ids": "Repaired",
    "store.table.filters": "Where own_range parse_where passes written",
    "store.table.opening": "check_encoder",
    "store.table.rows": "changes findings_of storable",
    "store.table.undo": "REPAIR Undone",
    "store.words.passage": "Mark Passage",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = import_module(_HOME_OF[name])
    return getattr(home, name) if hasattr(home, name) else import_module(f"{home.__name__}.{name}")


def __dir__() -> list[str]:
    return sorted(_HOME_OF)
