"""Negation in reports: which words of an English report say present, absent or uncertain.

A small rule set after NegEx (Chapman 2001) and ConText (Harkema 2009): a cue such as ``no`` or
``has resolved`` governs the words after or before it, up to the end of its clause, to a word such
as ``but``, or to the next cue. Phrases that only look like one (``no change in``, ``not only``)
govern nothing. A report in another language is left alone: all its words count as present.

Begin reading at ``read``.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

State = Literal["present", "absent", "uncertain"]
PRESENT: State = "present"
ABSENT: State = "absent"
UNCERTAIN: State = "uncertain"

#: Which way a cue looks. EITHER: back where a word stands before it in its clause, else ahead.
_AHEAD, _BACK, _EITHER = "ahead", "back", "either"


@dataclass(frozen=True, slots=True)
class Span:
    """Stretch of a report that a cue governs: characters from ``start`` to ``end``."""

    start: int
    end: int
    state: State


@dataclass(frozen=True, slots=True)
class Sentence:
    """Sentence of a report: characters from ``start`` to ``end``, and what cues govern in it.

    Spans are ascending and do not overlap; the words outside them are present. ``cues`` are the
    characters of the cues themselves.
    """

    start: int
    end: int
    spans: tuple[Span, ...] = ()
    cues: tuple[tuple[int, int], ...] = ()

    def state(self, at: int) -> State:
        """State of the word that begins at a character of the report."""
        for span in self.spans:
            if span.start <= at < span.end:
                return span.state
        return PRESENT


def read(report: str) -> list[Sentence]:
    """The sentences of a report with the spans that negations and doubts govern.

    In a report that is not English no span is found.
    """
    found = list(_sentences(report))
    if not is_english(report):
        return found
    text = report.lower()
    if len(text) != len(report):  # places must stay the same
        text = "".join(low if len(low := one.lower()) == 1 else one for one in report)
    text = text.replace("’", "'")
    return [_read(text, one.start, one.end) for one in found]


def states(report: str) -> list[tuple[str, State]]:
    """Every word of a report with its state, in order."""
    return [
        (report[start:end], state)
        for sentence in read(report)
        for start, end, state in words(report, sentence)
    ]


def words(report: str, sentence: Sentence) -> Iterator[tuple[int, int, State]]:
    """Start, end and state of every word of a sentence, in order."""
    for word in _WORD.finditer(report, sentence.start, sentence.end):
        yield word.start(), word.end(), sentence.state(word.start())


def state_of(report: str, term: str) -> State | None:
    """State of a term of one word or several in a report; None where it is not mentioned.

    Present where any mention is, else uncertain where any is. Case does not count.
    """
    together = r"\W+".join(map(re.escape, term.split()))
    pattern = re.compile(rf"\b{together}\b", re.IGNORECASE)
    found = {
        sentence.state(place.start())
        for sentence in read(report)
        for place in pattern.finditer(report, sentence.start, sentence.end)
    }
    return next((state for state in (PRESENT, UNCERTAIN, ABSENT) if state in found), None)


def affirmed(report: str) -> str:
    """The report without the words that are absent; the cues and the uncertain words stay."""
    gone = [span for one in read(report) for span in one.spans if span.state == ABSENT]
    kept, at = [], 0
    for span in gone:
        kept.append(report[at : span.start])
        at = span.end
    text = " ".join("".join([*kept, report[at:]]).split())
    return re.sub(r" (?=[,.;:!?])", "", text)


# -- language ----------------------------------------------------------------------------------


def is_english(report: str) -> bool:
    """Whether a report is read as English.

    Decided by its small words and by letters that English lacks, not by a model: it is English
    unless other languages have more of these in it. A few words with none of either are English.
    """
    found = [word.group().lower() for word in _WORD.finditer(report)]
    if not report.isascii():
        letters = [one for one in report if one.isalpha()]
        foreign = sum(not unicodedata.name(one, "").startswith("LATIN") for one in letters)
        if 3 * foreign > len(letters):
            return False
    ours = sum(word in _ENGLISH for word in found)
    others = sum(word in _OTHERS or not word.isascii() for word in found)
    return ours >= others


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_ENGLISH = _set(
    "the of is are and with there in to not without or on at for this that was were has have been "
    "from by be which but as an seen noted right left lung lungs heart chest normal clear"
)
_OTHERS = _set(
    # Spanish and Portuguese, French, Italian, German and Dutch: small words and common nouns.
    "el la los las de del con sin se y en un una que es son al por para lo sus su da do dos das "
    "em com sem e o os ao na nas um uma derrame derecho derecha izquierdo izquierda torax "
    "pulmonar pulmonares pulmones hallazgos neumonia cardiomegalia aumento sugestivo esquerdo "
    "direito le les des du et pas sans est sont dans au aux une avec ne il ya pour droite gauche "
    "poumon poumons coeur aucun aucune di della del nel non senza con ed gli destro sinistro "
    "destra sinistra versamento polmonare cuore der die das und kein keine keinen ohne nicht mit "
    "von im ist sind ein eine links rechts herz lunge erguss zeichen nachweis het een geen niet "
    "zonder met en van hart"
)


# -- sentences ---------------------------------------------------------------------------------

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
#: A full stop that ends no sentence stands after a title or inside a number: ``Dr. Smith``,
#: ``1.5 cm``. A single line break is one that wraps, unless a heading such as ``IMPRESSION:``
#: follows.
_END = re.compile(
    r"(?<!\bdr)(?<!\bmr)(?<!\bms)(?<!\bvs)(?<!\bapprox)[.!?]+(?=\s|$)|\n\s*\n|\n(?=\s*[A-Z ]{4,}:)"
    r"|\n(?=\s*(?:[-*•]|\d+[.)])\s)|;",
    re.IGNORECASE,
)


def _sentences(report: str) -> Iterator[Sentence]:
    """Sentences without white space around them; a semicolon ends one, too."""
    start = 0
    for end in [*(one.end() for one in _END.finditer(report)), len(report)]:
        part = report[start:end]
        if part.strip():
            before = len(part) - len(part.lstrip())
            yield Sentence(start + before, start + len(part.rstrip()))
        start = end


# -- cues --------------------------------------------------------------------------------------

_SEEN = (
    "(?:seen|identified|visuali[sz]ed|visible|appreciated|demonstrated|present|evident|apparent|"
    "detected|found|noted|observed|shown|recogni[sz]ed|suspected)"
)
_MOVED = (
    "(?:chang|progress|increas|decreas|improv|worsen|resolv|clear|grown|evolv|alter|shrunk)\\w*"
)
_CHANGE = (
    "(?:changes?|increase|decrease|progression|worsening|improvement|growth|difference|alteration)"
)
_NOT = "(?:not|\\w+n't|never)"
_EXCLUDE = "(?:exclude|excluded|rule out|ruled out|rule-out)"

#: A cue that begins with a sign may follow a word at once.
_SIGN = "(?#sign)"
#: What a cue looks like, in order: where two begin at one place, the first counts. A state of None
#: governs nothing and only ends what a cue before it governs.
_CUES: tuple[tuple[State | None, str, str], ...] = (
    # Only look like negations.
    (None, _AHEAD, r"not (?:only|just|merely|necessarily|without|certain|known|to mention)"),
    (None, _AHEAD, r"no (?:doubt|question|uncertainty)(?: (?:about|of|that))?"),
    (None, _AHEAD, rf"(?:no|without)(?: [\w-]+){{0,3}}? {_CHANGE}(?: (?:in|of|from|to|since))?"),
    (None, _AHEAD, r"no (?:larger|smaller|worse|better|bigger|different|more than|less than)"),
    (None, _AHEAD, rf"{_NOT}(?: \w+ly| yet| been| fully){{0,2}} {_MOVED}"),
    (
        None,
        _AHEAD,
        rf"{_NOT}(?: \w+ly| been)? {_SEEN} (?:on|in|at) (?:the |an? |any )?"
        r"(?:prior|previous|earlier|old|last|comparison)"
        rf"|{_NOT}(?: \w+ly| been)? {_SEEN} (?:before|previously|earlier)",
    ),
    (
        None,
        _AHEAD,
        r"(?:partial|incomplete|near|near-complete|(?:near|nearly|almost) complete|slow) resolution"
        r"(?: of)?",
    ),
    # Doubts that hold a negation.
    (
        UNCERTAIN,
        _BACK,
        rf"(?:cannot|can not|can't|could not|couldn't|may not|{_NOT}|to|must|should|needs to)"
        rf"(?: \w+ly)? (?:be |been )(?:\w+ly )?{_EXCLUDE}|{_NOT} (?:\w+ly )?excluded",
    ),
    (
        UNCERTAIN,
        _AHEAD,
        rf"(?:cannot|can't|{_NOT}|difficult|impossible|unable|hard)(?: \w+){{0,3}}? "
        r"(?:exclude|rule out)",
    ),
    # Absent.
    (ABSENT, _EITHER, r"no longer(?: \w+)? (?:seen|visible|present|evident|identified|any)?"),
    (ABSENT, _EITHER, r"no longer"),
    (ABSENT, _BACK, rf"{_NOT}(?: \w+ly| been| be| clearly){{0,2}} {_SEEN}"),
    (ABSENT, _BACK, rf"{_SIGN}(?::| -| –|=) *(?:none|no|nil|absent|negative)(?=\W*$)"),
    (
        ABSENT,
        _EITHER,
        r"(?:ha(?:s|ve) (?:been )?|(?:is|are|was|were) )(?:now |\w+ly )*"
        r"(?:resolved|cleared|disappeared|ruled out|excluded|gone)(?: \w+ly)?",
    ),
    (ABSENT, _EITHER, r"(?:completely|fully|entirely) (?:resolved|cleared)"),
    (ABSENT, _EITHER, r"resolved|disappeared|ruled out"),
    (ABSENT, _BACK, r"(?:is|are|was|were) (?:\w+ly )?(?:absent|negative|none)|absent(?=\W*$)"),
    (
        ABSENT,
        _AHEAD,
        r"(?:no|not any|without(?: any)?)(?: [\w-]+)? (?:evidence|signs?|indication|"
        r"suggestion|suspicion)(?: of| for| to suggest)?",
    ),
    (
        ABSENT,
        _AHEAD,
        r"(?:negative for|free (?:of|from)|clear of|(?:absence|lack|resolution|"
        r"clearance) of|excludes|devoid of|rather than an absent)",
    ),
    (ABSENT, _AHEAD, r"(?:fail(?:s|ed|ure)|nothing) to \w+"),
    (ABSENT, _AHEAD, rf"no|without|neither|nor|none|absent|denies|{_NOT}|cannot|can't"),
    # Uncertain.
    (UNCERTAIN, _AHEAD, r"unlikely to (?:be|represent|reflect|indicate)"),
    (UNCERTAIN, _EITHER, r"(?:(?:is|are|seems|appears|remains?) )?(?:\w+ly )?unlikely"),
    (
        UNCERTAIN,
        _BACK,
        r"(?:is|are|was|were|remains?|be|been) (?:also |\w+ly )?"
        r"(?:possible|suspected|questioned|considered|questionable|likely(?=\W*$)|probable)",
    ),
    (
        UNCERTAIN,
        _AHEAD,
        r"(?:may|might|could)(?: also| well)? (?:represent|reflect|be|indicate|"
        r"suggest|relate to|be due to|have)",
    ),
    (
        UNCERTAIN,
        _AHEAD,
        r"(?:possibl[ey]|probabl[ey]|presumed|presumably|likely|perhaps|"
        r"questionable|doubtful|suspected|equivocal)",
    ),
    (UNCERTAIN, _BACK, rf"{_SIGN},? if (?:present|any|real)\b"),
    (
        UNCERTAIN,
        _AHEAD,
        r"(?:suspicious|suspicion|concern|concerning|worrisome|question) "
        r"(?:for|of|about)",
    ),
    (
        UNCERTAIN,
        _AHEAD,
        r"(?:evaluate|evaluation|assess|assessment|eval|screening|look|query)"
        r"(?: for)?|(?:to )?(?:rule out|rule-out|r/o|exclude)",
    ),
    (UNCERTAIN, _AHEAD, rf"{_SIGN}\?(?=[a-z])"),
    (
        UNCERTAIN,
        _AHEAD,
        r"(?:history|hx) of|h/o|rather than|versus|vs|differential (?:diagnosis )?"
        r"(?:includes|is)|favou?r(?:s|ed|ing)?",
    ),
    # End what a cue governs.
    (
        None,
        _AHEAD,
        r"but|however|although|though|except(?: for)?|aside from|apart from|"
        r"nevertheless|nonetheless|yet|otherwise|whereas|while|due to|secondary to|because of|"
        r"(?:with the exception|as a result) of|there (?:is|are|was|were|has|have)|"
        r"with (?:persist\w*|unchanged|stable|residual|known|persisting)",
    ),
)


def _either(signs: bool) -> str:
    return "|".join(
        f"(?P<c{at}>{one})" for at, (*_, one) in enumerate(_CUES) if one.startswith(_SIGN) == signs
    )


#: Where a word begins is asked once, not for each cue: that is most of the time.
_CUE = re.compile(rf"(?<![\w'/-])(?:{_either(signs=False)})(?!\w)|{_either(signs=True)}")
#: A verb that makes a clause of its own out of what stands between commas.
_VERB = re.compile(
    r"\b(?:is|are|was|were|has|have|had|shows?|demonstrates?|remains?|appears?|persists?|projects?|"
    r"reveals?|contains?|measures?)\b"
)
_SEEN_VERB = re.compile(rf"\b(?:is|are|was|were|has been|have been) (?:\w+ly )?{_SEEN}\b")
_AFFIRMING = re.compile(
    r"\s*(?:and\s+)?(?:persist\w*|unchanged|stable|small|mild|moderate|large|minimal|tiny|chronic|"
    r"worsening|improving|improved|increas\w*|decreas\w*)\b"
)
_ARTICLE = re.compile(r"\s*(?:and\s+)?(?:an?|the)\b")
_JOINT = re.compile(r",|\band\b")
#: Characters that a cue governs at most.
_REACH = 500


def _read(text: str, start: int, end: int) -> Sentence:
    """One sentence of a text in small letters."""
    cues = []
    for match in _CUE.finditer(text, start, end):
        state, way, _ = _CUES[int((match.lastgroup or "c0")[1:])]
        cues.append((match.start(), match.end(), state, way))
    places = tuple((first, last) for first, last, state, _ in cues if state is not None)
    return Sentence(start, end, tuple(_spans(text, start, end, cues)), places)


def _spans(
    text: str, start: int, end: int, cues: Sequence[tuple[int, int, State | None, str]]
) -> Iterator[Span]:
    """The spans that cues govern in one sentence, ascending.

    Args:
        text: in small letters.
        start: of the sentence.
        end: of the sentence.
        cues: start, end, state and way of each.
    """
    floor = start  # what is before it is governed or was ended
    for at, (first, last, state, way) in enumerate(cues):
        if state is None:
            floor = max(floor, last)
            continue
        after = cues[at + 1][0] if at + 1 < len(cues) else end
        if way == _BACK or (way == _EITHER and _has_word(text, floor, first)):
            yield from _span(text, _reach_back(text, floor, first), first, state)
            floor = last
        else:
            finish = _reach_ahead(text, last, after)
            if at + 1 < len(cues) and cues[at + 1][3] != _AHEAD and finish == after:
                # What stands right before a cue that looks back is its own: "without contrast a
                # mass cannot be excluded".
                near = _JOINT.finditer(text, max(last, after - _REACH), after)
                finish = max((one.start() for one in near), default=0)
            yield from _span(text, last, finish, state)
            floor = max(floor, finish)


def _span(text: str, start: int, end: int, state: State) -> Iterator[Span]:
    """A span from its first word to its last; none where there is no word."""
    found = list(_WORD.finditer(text, start, end))
    if found:
        yield Span(found[0].start(), found[-1].end(), state)


def _has_word(text: str, start: int, end: int) -> bool:
    return any(
        word.group() not in ("the", "this", "that", "it", "has", "have", "is", "are", "and", "or")
        for word in _WORD.finditer(text, start, end)
    )


def _reach_ahead(text: str, start: int, end: int) -> int:
    """How far a cue governs what follows: to a comma or ``and`` after which a clause begins."""
    end = min(end, start + _REACH)
    for joint in _JOINT.finditer(text, start, end):
        following = _JOINT.search(text, joint.end(), end)
        part = text[joint.end() : following.start() if following else end]
        if _VERB.search(_SEEN_VERB.sub("", part)):
            return joint.start()
        a_list = re.search(r"\b(?:or|nor)\b", text[joint.end() : end])
        a_clause = _AFFIRMING.match(part) or (_ARTICLE.match(part) and _VERB.search(part))
        if not a_list and a_clause:
            return joint.start()
    return end


def _reach_back(text: str, start: int, end: int) -> int:
    """How far a cue governs what is before it: to a comma or ``and`` before which a clause ends."""
    start = max(start, end - _REACH)
    for joint in reversed(list(_JOINT.finditer(text, start, end))):
        if _VERB.search(text, start, joint.start()):
            return joint.end()
    return start
