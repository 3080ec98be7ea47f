"""Search of reports for what looks like a name, a date or a number of a person.

Forms are looked for, not people: a name without a title passes, and so does whatever nobody thought
of. What is found is counted and shown with its letters and digits masked, and a run that would
store it is refused until the user has looked. Whether reports may be stored is the user's duty.

What stands where something was taken out is nothing to report: ``XXXX`` of IU X-ray, ``___`` of
MIMIC-CXR, ``[** **]``, ``[NAME]``, ``<DATE>``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from store import UsageError

Kind = Literal["name", "date", "number", "phone", "e-mail"]
#: The kinds in the order of a list for a person.
KINDS: tuple[Kind, ...] = ("name", "date", "number", "phone", "e-mail")
#: Examples that are kept of each kind.
_EXAMPLES = 3
#: Stands for what was taken out of a text; no pattern has it.
_TAKEN = "\ufffc"
_PLACEHOLDER = re.compile(
    r"\[\*\*.*?\*\*\]|_{2,}|\b[Xx]{3,}\b|\*{3,}"
    r"|[\[<{](?:[A-Z]*(?:NAME|DATE|PHONE|HOSPITAL|DOCTOR|PATIENT|ID|MRN|PHI|LOCATION|REDACTED|"
    r"DEIDENTIFIED|DE-IDENTIFIED|ANONYMI[SZ]ED|REMOVED)[A-Z0-9 _-]*)[\]>}]"
    r"|\b(?:REDACTED|ANONYMI[SZ]ED|DEIDENTIFIED)\b"
)

_MONTH = (
    r"(?:Jan(?:uary|uar|vier)?|Feb(?:ruary|ruar)?|F[eé]v(?:rier)?|Mar(?:ch|s)?|M[aä]rz|Apr(?:il)?|"
    r"Avr(?:il)?|Mai|May|June?|Juni|Juin|July?|Juli|Juillet|Aug(?:ust)?|Ao[uû]t|Sept?(?:ember|embre)?|"
    r"O[ck]t(?:ober|obre)?|Nov(?:ember|embre)?|De[cz](?:ember)?|D[eé]c(?:embre)?|"
    r"[Ee]nero|[Ff]ebrero|[Mm]arzo|[Aa]bril|[Mm]ayo|[Jj]unio|[Jj]ulio|[Aa]gosto|[Ss]eptiembre|"
    r"[Oo]ctubre|[Nn]oviembre|[Dd]iciembre|[Jj]aneiro|[Ff]evereiro|[Mm]arço|[Mm]aio|[Jj]unho|"
    r"[Jj]ulho|[Ss]etembro|[Oo]utubro|[Nn]ovembro|[Dd]ezembro|[Gg]ennaio|[Ff]ebbraio|[Aa]prile|"
    r"[Mm]aggio|[Gg]iugno|[Ll]uglio|[Ss]ettembre|[Oo]ttobre|[Dd]icembre|"
    r"janvier|février|mars|avril|mai|juin|juillet|août|septembre|octobre|novembre|décembre|"
    r"JAN(?:UARY)?|FEB(?:RUARY)?|MARCH|APR(?:IL)?|JUNE|JULY|AUG(?:UST)?|SEPT?(?:EMBER)?|"
    r"OCT(?:OBER)?|NOV(?:EMBER)?|DEC(?:EMBER)?|MAY(?=[\s,-]+(?:19|20)\d\d))"
)
_DAY, _OF = r"(?:0?[1-9]|[12]\d|3[01])", r"(?:\s+(?:of|de|del|di))?"
_YEAR = r"(?:(?:19|20)\d\d)"
#: Not within a longer number, a level such as T10/11, or a path.
_FREE, _END = r"(?<![\w./-])", r"(?![\w/-]|\.\d)"
_DATES = (
    rf"{_FREE}{_YEAR}([-/.])(?:0?[1-9]|1[0-2])\1{_DAY}(?:T\d\d:\d\d\S*|{_END})",
    rf"{_FREE}\d\d?([/.-])\d\d?\1{_YEAR}{_END}",
    rf"{_FREE}(?:\d\d([.-])\d\d\1\d\d|\d\d?/\d\d?/\d\d){_END}",
    r"\b(?:19|20)\d{6}\b(?!\.\d)",
    rf"{_FREE}{_DAY}(?:st|nd|rd|th|\.)?{_OF}[\s-]+{_MONTH}\b\.?(?:,?{_OF}[\s-]+(?:{_YEAR}|'?\d\d\b))?",
    rf"\b{_MONTH}\.?\s+{_DAY}(?:st|nd|rd|th)?\b(?!\s*(?:mm|cm|x\s|%|[.]\d))(?:,?\s+{_YEAR})?",
    rf"\b{_MONTH}\.?,?{_OF}\s+{_YEAR}\b",
    # A day and a month alone, where nobody writes a fraction or a level.
    rf"\b(?:dated|since|on|from|of|del|vom|du)\s+(?:0?[1-9]|1[0-2])/(?:1[3-9]|2\d|3[01]){_END}",
)
#: A word that begins as names do; a name in capitals is one of those after a title in capitals.
_NAMED = r"(?:[A-ZÀ-ÖØ-Þ]['’]?[A-ZÀ-ÖØ-Þ]?[a-zß-öø-ÿ]+(?:[-'’][A-ZÀ-ÖØ-Þ]?[a-zß-öø-ÿ]+)*)"
_CAPITAL = r"(?:[A-ZÀ-ÖØ-Þ][A-ZÀ-ÖØ-Þ'’-]+)"
_INITIAL = r"(?:[A-Z]\.?\s+)"
_LATER = rf"(?:\s+{_INITIAL}?(?:(?:de|del|van|von|der|la|di)\s+)*{_NAMED})"
_SIGNED = (
    r"(?i:(?:(?:electronically\s+)?signed|dictated|reported|transcribed|interpreted|approved|"
    r"verified|reviewed|read)\s+(?:electronically\s+)?by)"
)
_LABEL = (
    r"(?i:(?:patient(?:'s)?\s+name|name|nombre|(?:referring|attending|ordering)\s+"
    r"(?:physician|doctor|provider|md)|radiologist|attending|physician|resident|technologist))"
)
_NAMES = (
    rf"\b(?:Dr|Drs|Doctor|Mr|Mrs|Ms|Miss|Prof|Professor|Dra|Srta|Frau|Herrn?|Mme|Dott)\b\.?\s+"
    rf"{_INITIAL}*{_NAMED}{_LATER}?",
    rf"\b(?:Sra?)\.\s+{_INITIAL}*{_NAMED}{_LATER}?",
    rf"\b(?:DR|DRS|MR|MRS|MS|PROF)\.\s+{_INITIAL}*{_CAPITAL}(?:\s+{_CAPITAL})?",
    r"\b(?:dr|mr|mrs)\.\s+(?!(?:by|at|the|in|of|was|has|had|on|and|to|from|for|who|via|will|is|"
    r"office|team|today|with|or|as)\b)[a-z]{3,}\b",
    rf"{_NAMED}(?:\s+{_INITIAL}?{_NAMED}){{1,2}},?\s+(?:M\.?D\b|D\.O\.|Ph\.?D\b|PA-C\b|R\.N\.|FRCR\b|FACR\b|"
    rf"MBBS\b)\.?",
    rf"{_CAPITAL},?\s+{_CAPITAL}(?:\s+[A-Z]\.?)?,\s*(?:M\.?D\b|PH\.?D\b)\.?",
    rf"\b{_SIGNED}\s*:?\s+(?:{_NAMED}|{_CAPITAL})(?:,?\s+{_INITIAL}?(?:{_NAMED}|{_CAPITAL}))+",
    rf"\b{_LABEL}\s*:\s*(?:{_NAMED}|{_CAPITAL})(?:,?\s+{_INITIAL}?(?:{_NAMED}|{_CAPITAL}))+",
    rf"\b[Pp]atient\s*:\s*{_NAMED},\s+{_NAMED}",
)
_CALLED = (
    r"(?i:\b(?:MRN|M\.R\.N\.?|med(?:ical)?\.?\s+rec(?:ord)?s?|patient|hospital|chart|account|acct|"
    r"visit|case|unit|exam|order|encounter|accession|acc|NHS|CHI|SSN|social\s+security|NHC|DNI|NIF|"
    r"historia\s+cl[ií]nica|Fallnummer|Patientennummer|Fall-?Nr|Pat-?Nr)"
    r"(?:\s*(?:number|numbers|num|no|nr|id|ident|identifier|n[ºo°])\b)?\.?\s*(?:is|was)?\s*[:#=]*\s*)"
)
_NUMBERS = (
    rf"{_CALLED}(?=[A-Z0-9-]*\d[A-Z0-9-]*\d[A-Z0-9-]*\d[A-Z0-9-]*\d)[A-Z]{{0,4}}-?\d[\dA-Z-]+\b",
    r"(?<![\w.-])\d{3}-\d\d-\d{4}(?![\w-])",
    r"(?<![\w.])\d+(?:\.\d+){5,}(?!\w|\.\d)",
    r"(?<![\w.,/-])[A-Z]{0,3}-?\d{6,}(?![\w%]|\.\d)",
    r"(?<![\w.-])\d{3} \d{3} \d{4}(?![\w-])",
)
_PHONES = (
    r"(?<![\w.])\+\d{1,3}[\s.-]?(?:\(\d{1,4}\)[\s.-]?)?\d{2,4}(?:[\s.-]?\d{2,4}){1,4}(?!\w)",
    r"(?<![\w.-])(?:\(\d{3}\)\s?|\d{3}[-.])\d{3}[-.]\d{4}(?![\w-])",
    r"(?i:\b(?:pager|beeper|ext|extension|phone|tel|telephone|telefon|tel[eé]fono|tfno|fax|mobile)"
    r"\b\.?(?:\s*(?:number|no|is))?\.?\s*[:#]?\s*)\(?\d(?:[\s./()-]?\d){3,}",
)
_EMAILS = (r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+",)


#: Forms by kind; what one has found, those after it do not find again.
_FORMS: tuple[tuple[Kind, tuple[str, ...]], ...] = (
    ("e-mail", _EMAILS),
    ("phone", _PHONES),
    ("date", _DATES),
    ("number", _NUMBERS),
    ("name", _NAMES),
)
_PATTERNS = [(kind, [re.compile(form) for form in forms]) for kind, forms in _FORMS]
#: What a text must hold to be looked through for a kind at all: most reports do not.
_NEEDS: dict[Kind, re.Pattern[str]] = {
    "e-mail": re.compile("@"),
    "phone": re.compile(r"\d{3}"),
    "date": re.compile(r"\d"),
    "number": re.compile(r"\d{3}|\d\d-\d\d"),
    "name": re.compile(
        r":|(?i:\bby\b)|M\.?D\b|(?i:\b(?:drs?|doctor|mr|mrs|ms|miss|prof|professor|dra|srta|sra?|"
        r"frau|herrn?|mme|dott)\b)|D\.O|Ph\.?D|PH\.?D|PA-C|R\.N|FRCR|FACR|MBBS"
    ),
}
_TAKEN_OUT = re.compile(r"__|\*\*\*|[\[<{]|[Xx]{3}|REDACTED|ANONYMI|DEIDENT")
_PARTS = re.compile(r"(\d\d?)[/.-](\d\d?)[/.-](\d+)")
#: Beside numbers of ribs and vertebrae joined by slashes.
_LEVELS = re.compile(r"(?:ribs?|levels?|vertebra\w*|image|series|slices?)\s*(?:#|no\.?)?\s*$", re.I)


@dataclass(frozen=True, slots=True)
class Mark:
    """Part of a text that looks personal.

    Attributes:
        kind: what it looks like.
        start, end: in the text.
    """

    kind: Kind
    start: int
    end: int


def marks(text: str) -> list[Mark]:
    """The parts of a text that look like a name, a date, a number, a phone or an address.

    Returns:
        In the order of the text; none overlap.
    """
    if _TAKEN_OUT.search(text):
        text = _PLACEHOLDER.sub(lambda found: _TAKEN * len(found[0]), text)
    found: list[Mark] = []
    for kind, patterns in _PATTERNS:
        if not _NEEDS[kind].search(text):
            continue
        for pattern in patterns:
            for match in pattern.finditer(text):
                start, end = match.span()
                if kind == "date" and not _is_date(match):
                    continue
                if all(end <= one.start or one.end <= start for one in found):
                    found.append(Mark(kind, start, end))
    return sorted(found, key=lambda one: one.start)


def _is_date(match: re.Match[str]) -> bool:
    """Whether numbers can be a date, and those between slashes are no ribs."""
    parts = _PARTS.fullmatch(match[0])
    if parts is None:
        eight = match[0] if len(match[0]) == 8 and match[0].isdecimal() else ""
        return not eight or (1 <= int(eight[4:6]) <= 12 and 1 <= int(eight[6:]) <= 31)
    one, other = int(parts[1]), int(parts[2])
    fits = 1 <= min(one, other) <= 12 and 1 <= max(one, other) <= 31
    return fits and not (
        len(parts[3]) == 2
        and _LEVELS.search(match.string[max(0, match.start() - 16) : match.start()])
    )


def masked(text: str) -> str:
    """A part of a text with its letters and digits hidden, but for first letters: ``Dr. S****``.

    Titles and the words before a number stay, so that one sees what it was taken for.
    """
    return re.sub(r"\w+", lambda word: _hidden(word[0]), " ".join(text.split()))


#: Words that say what a part was taken for, and nothing of a person.
_SHOWN = re.compile(
    r"(?i:dr|drs|doctor|mr|mrs|ms|miss|prof|professor|mrn|no|nr|number|accession|patient|medical|"
    r"record|signed|by|electronically|dictated|name|pager|phone|tel|ext|fax|ssn|nhs|id|md|on|since|"
    r"from|dated|de|of)"
)


def _hidden(word: str) -> str:
    if _SHOWN.fullmatch(word):
        return word
    keep = 0 if word[0].isdigit() or len(word) < 3 else 1
    return word[:keep] + "*" * (len(word) - keep)


@dataclass(frozen=True, slots=True)
class Seen:
    """What of one kind was found.

    Attributes:
        reports: texts that have it.
        places: how often in all.
        examples: the first few, masked, each with the film whose report has it.
    """

    reports: int
    places: int
    examples: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Reports:
    """The reports that a source brings, before any of its files is opened.

    Attributes:
        texts: each text once, with the name of the first film that has it.
        films: how many films have a report.
    """

    texts: Mapping[str, str] = field(default_factory=dict)
    films: int = 0

    @classmethod
    def of(cls, films: Iterable[tuple[str | None, str]]) -> Reports:
        """The reports of some films: text or None, and the film's name."""
        texts: dict[str, str] = {}
        count = 0
        for text, name in films:
            if text:
                count += 1
                texts.setdefault(text, name)
        return cls(texts, count)

    @cached_property
    def personal(self) -> dict[Kind, Seen]:
        """What looks personal in them, by kind; empty where nothing does."""
        counts: dict[Kind, list[int]] = {}
        examples: dict[Kind, dict[str, str]] = {}
        for text, film in self.texts.items():
            here = set()
            for mark in marks(text):
                count = counts.setdefault(mark.kind, [0, 0])
                count[0] += mark.kind not in here
                count[1] += 1
                here.add(mark.kind)
                shown = examples.setdefault(mark.kind, {})
                if len(shown) < _EXAMPLES:
                    shown.setdefault(masked(text[mark.start : mark.end]), film)
        return {
            kind: Seen(counts[kind][0], counts[kind][1], tuple(examples[kind].items()))
            for kind in KINDS
            if kind in counts
        }

    def refuse_unchecked(self) -> None:
        """Refuse reports in which something looks personal, with UncheckedReports."""
        if self.personal:
            raise UncheckedReports(self)

    def as_dict(self) -> dict[str, Any]:
        """Counts and masked examples, as JSON has them."""
        return {
            "films": self.films,
            "reports": len(self.texts),
            "personal": {
                kind: {
                    "reports": seen.reports,
                    "places": seen.places,
                    "examples": [{"masked": text, "film": film} for text, film in seen.examples],
                }
                for kind, seen in self.personal.items()
            },
        }

    def said(self) -> list[str]:
        """Lines for a person: what was found, and that looking is their duty."""
        many = f"reports of {self.films:,} films, {len(self.texts):,} different"
        if not self.personal:
            return [
                f"{many}: nothing in them has the form of a name, a date or a number of a person. "
                "Names without a title are not seen: that they may be stored is for you to know"
            ]
        return [
            f"{many}: parts of them look personal",
            *(
                f"{kind}: {seen.places:,}, in {seen.reports:,} of the reports, such as "
                + ", ".join(f"{text!r} ({film})" for text, film in seen.examples)
                for kind, seen in self.personal.items()
            ),
        ]


class UncheckedReports(UsageError):
    """Error for reports in which something looks personal and that nobody said to have checked.

    Attributes:
        reports: which.
    """

    def __init__(self, reports: Reports) -> None:
        self.reports = reports
        kinds = ", ".join(f"{kind} {seen.places:,}" for kind, seen in reports.personal.items())
        super().__init__(
            f"the reports hold what looks like personal data ({kinds}); nothing was stored. "
            "Whether they may be is for you to decide: take it out of them, or, once you have "
            "looked, pass --reports-checked"
        )
