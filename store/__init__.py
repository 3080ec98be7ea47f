"""The store: the table of films, its mirror, search and evaluation.

Knows neither images nor encoders: rows come with their vectors.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from store.analysis import audit as audit
    from store.analysis import maps as maps
    from store.analysis import projection as projection
    from store.analysis.audit import Doubt as Doubt
    from store.analysis.audit import Doubtful as Doubtful
    from store.analysis.audit import Film as Film
    from store.analysis.audit import Glance as Glance
    from store.analysis.audit import Group as Group
    from store.analysis.audit import Leak as Leak
    from store.analysis.audit import Near as Near
    from store.analysis.audit import NearPair as NearPair
    from store.analysis.compare import Comparison as Comparison
    from store.analysis.compare import compare as compare
    from store.analysis.maps import Map as Map
    from store.cluster import connection as connection
    from store.errors import BadArtefacts as BadArtefacts
    from store.errors import BadFilter as BadFilter
    from store.errors import BadImage as BadImage
    from store.errors import BadQuery as BadQuery
    from store.errors import BadRows as BadRows
    from store.errors import BadSource as BadSource
    from store.errors import ClusterUnavailable as ClusterUnavailable
    from store.errors import CxrError as CxrError
    from store.errors import EncoderChanged as EncoderChanged
    from store.errors import EncoderMismatch as EncoderMismatch
    from store.errors import EncoderUnavailable as EncoderUnavailable
    from store.errors import NothingToMeasure as NothingToMeasure
    from store.errors import PatchesUnsupported as PatchesUnsupported
    from store.errors import StoreDamaged as StoreDamaged
    from store.errors import StoreNotFound as StoreNotFound
    from store.errors import StoreUnreachable as StoreUnreachable
    from store.errors import StoreUnsafe as StoreUnsafe
    from store.errors import StoreUnwritable as StoreUnwritable
    from store.errors import TextUnsupported as TextUnsupported
    from store.errors import UnknownId as UnknownId
    from store.errors import UsageError as UsageError
    from store.evaluation import per_query as per_query
    from store.evaluation.metrics import Evaluation as Evaluation
    from store.evaluation.metrics import evaluate_vectors as evaluate_vectors
    from store.evaluation.per_query import ByQuery as ByQuery
    from store.evaluation.per_query import Hard as Hard
    from store.evaluation.prompts import score_prompts as score_prompts
    from store.evaluation.protocols import LEAVE_ONE_OUT as LEAVE_ONE_OUT
    from store.evaluation.protocols import SPLIT as SPLIT
    from store.evaluation.ranking import Labelled as Labelled
    from store.gallery import Gallery as Gallery
    from store.gallery import refined_search as refined_search
    from store.memory import give_back as give_back
    from store.schema import COLUMNS as COLUMNS
    from store.schema import FINDINGS as FINDINGS
    from store.schema import EncoderStamp as EncoderStamp
    from store.schema import Hit as Hit
    from store.schema import Metadata as Metadata
    from store.schema import Output as Output
    from store.schema import Progress as Progress
    from store.schema import Row as Row
    from store.schema import UpsertReport as UpsertReport
    from store.schema import Value as Value
    from store.schema import Vectors as Vectors
    from store.search.out_of_distribution import Nearness as Nearness
    from store.search.relevance_feedback import WEIGHT_MAX as WEIGHT_MAX
    from store.search.relevance_feedback import Weights as Weights
    from store.search.relevance_feedback import parse_weights as parse_weights
    from store.search.relevance_feedback import rocchio as rocchio
    from store.table import filters as filters
    from store.table.column_stats import Range as Range
    from store.table.custom_columns import KINDS as KINDS
    from store.table.custom_columns import LARGEST_INT as LARGEST_INT
    from store.table.custom_columns import kind_of as kind_of
    from store.table.custom_columns import name_of as name_of
    from store.table.duplicate_ids import Repaired as Repaired
    from store.table.filters import Where as Where
    from store.table.filters import own_range as own_range
    from store.table.filters import parse_where as parse_where
    from store.table.filters import written as written
    from store.table.opening import check_encoder as check_encoder
    from store.table.rows import changes as changes
    from store.table.rows import storable as storable
    from store.table.undo import REPAIR as REPAIR
    from store.table.undo import Undone as Undone

# Loaded on first use: numpy and pyarrow would slow `cxr --help`.
_HOMES = {
    "store.analysis": "audit maps projection",
    "store.analysis.audit": "Doubt Doubtful Film Glance Group Leak Near NearPair",
    "store.analysis.compare": "Comparison compare",
    "store.analysis.maps": "Map",
    "store.cluster": "connection",
    "store.errors": (
        "BadArtefacts BadFilter BadImage BadQuery BadRows BadSource ClusterUnavailable CxrError "
        "EncoderChanged EncoderMismatch EncoderUnavailable NothingToMeasure PatchesUnsupported "
        "StoreDamaged StoreNotFound StoreUnreachable StoreUnsafe StoreUnwritable "
        "TextUnsupported UnknownId UsageError"
    ),
    "store.evaluation": "per_query",
    "store.evaluation.metrics": "Evaluation evaluate_vectors",
    "store.evaluation.per_query": "ByQuery Hard",
    "store.evaluation.prompts": "score_prompts",
    "store.evaluation.protocols": "LEAVE_ONE_OUT SPLIT",
    "store.evaluation.ranking": "Labelled",
    "store.gallery": "Gallery refined_search",
    "store.memory": "give_back",
    "store.schema": (
        "COLUMNS FINDINGS EncoderStamp Hit Metadata Output Progress Row UpsertReport Value Vectors"
    ),
    "store.search.out_of_distribution": "Nearness",
    "store.search.relevance_feedback": "WEIGHT_MAX Weights parse_weights rocchio",
    "store.table": "filters",
    "store.table.column_stats": "Range",
    "store.table.custom_columns": "KINDS LARGEST_INT kind_of name_of",
    "store.table.duplicate_ids": "Repaired",
    "store.table.filters": "Where own_range parse_where written",
    "store.table.opening": "check_encoder",
    "store.table.rows": "changes storable",
    "store.table.undo": "REPAIR Undone",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = import_module(_HOME_OF[name])
    return getattr(home, name) if hasattr(home, name) else import_module(f"{home.__name__}.{name}")


def __dir__() -> list[str]:
    return sorted(_HOME_OF)
