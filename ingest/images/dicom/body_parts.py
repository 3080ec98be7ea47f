"""Body parts: whether the one that a header names is the chest.

The words are DICOM's own: the Defined Terms of BodyPartExamined (PS3.16, Annex L, Table L-1), with
those of CID 4031, Common Anatomic Regions. Headers spell them with sides, plurals, underscores and
in other languages, so words are looked for, not whole values.
"""

from __future__ import annotations

import re
import unicodedata
from itertools import pairwise
from typing import Literal

from store import UsageError

#: The parts of Table L-1, and some older names for them, of which a film shows no chest. Spines,
#: the shoulder girdle and the sternum are seen in films of their own.
_TERMS = """
ABDOMEN ABDOMENPELVIS ABDOPELVIS ADRENAL ANKLE AORTA ARM AXILLA BACK BLADDER BRAIN BREAST
BUTTOCK CALCANEUS CALF CAROTID CEREBELLUM CERVIX CHEEK CIRCLEOFWILLIS CLAVICLE COCCYX COLON
CORNEA CSPINE CTSPINE DUODENUM EAR ELBOW EXTREMITY EYE EYELID FACE FEMUR FIBULA FINGER FOOT
FOREARM FOREFOOT GALLBLADDER HAND HEAD HEADNECK HEEL HINDFOOT HIP HUMERUS IAC ILEUM ILIUM JAW
JEJUNUM KIDNEY KNEE KUB LARYNX LEG LEXTREMITY LIVER LOWERLIMB LSPINE LSSPINE MANDIBLE MASTOID
MAXILLA MOUTH NECK NOSE ORBIT OVARY PANCREAS PAROTID PATELLA PELVIS PENIS PHARYNX PROSTATE
RADIUS RECTUM SACRUM SCALP SCAPULA SCLERA SCROTUM SHOULDER SINUS SKULL SPINE SPLEEN SSPINE
STERNUM STOMACH SUBMANDIBULAR TARSUS TEETH TESTIS THIGH THUMB THYROID TIBIA TLSPINE TMJ TOE
TONGUE TOOTH TSPINE UEXTREMITY ULNA UPPERLIMB URETER URETHRA UTERUS VAGINA VULVA WRIST ZYGOMA
CARPUS DIGIT FEET HALLUX LIMB VERTEBRA ANUS AUDITORY BILIARY DUCT ESOPHAGUS FACIAL INTESTINE JOINT
NASAL OPTIC PHANTOM SELLA TARSAL TRACHEA URINARY
"""
ELSEWHERE = frozenset(_TERMS.split())
#: Names of the chest, and of parts filmed as one; the beginnings of words. Languages: English,
#: German, French, Spanish, Italian, Portuguese, Polish, Turkish.
_CHEST = (
    *("CHEST", "THORA", "TORAX", "TORAC", "TORAKS", "PECHO", "PETTO", "BRUST", "POITRINE"),
    *("KLATKA", "GOGUS", "LUNG", "PULM", "POUMON", "POLMON", "AKCIGER", "PLUCA"),
    *("RIB", "COSTA", "HEART", "MEDIAST", "BRONCH", "WHOLEBODY", "ENTIREBODY"),
)
#: The spine of the thorax is the one part with the chest in its name that is filmed for itself.
_SPINE = re.compile(r"SPINE|VERTEB|COLUMNA|COLONNA|RACHIS|WIRBEL")

Choice = Literal["chest", "any"]


def check_choice(asked: str) -> Choice:
    """The films that are wanted; UsageError for what is neither ``chest`` nor ``any``."""
    if asked not in ("chest", "any"):
        raise UsageError(f"body part must be chest or any, got {asked!r}")
    return "any" if asked == "any" else "chest"


def place_of(part: str) -> Literal["chest", "elsewhere", "unknown"]:
    """Class of a header's BodyPartExamined: chest, elsewhere or unknown; an empty one is chest.

    >>> [place_of(part) for part in ("CHEST", "Thorax ap", "RIGHT KNEE", "BODY 7")]
    ['chest', 'chest', 'elsewhere', 'unknown']
    """
    words = _words(part)
    if not words:
        return "chest" if not part.strip(" \0") else "unknown"
    if any(_SPINE.search(word) for word in words):
        return "elsewhere"
    if any(word.startswith(_CHEST) or "CHEST" in word or "THORA" in word for word in words):
        return "chest"
    return "elsewhere" if term_of(part) else "unknown"


def term_of(part: str) -> str | None:
    """The term for another part than the chest that a value has in it, the longest; None without.

    >>> term_of("R_KNEES of J. Doe")
    'KNEE'
    """
    words = _words(part)
    if any(_SPINE.search(word) for word in words):
        return "SPINE"
    found = {term for word in words for term in _terms_in(word)}
    return max(sorted(found), key=len, default=None)


def _words(part: str) -> set[str]:
    """Words in capitals without accents, and neighbours joined, as terms are written."""
    capitals = part.upper().replace("Ł", "L")
    plain = unicodedata.normalize("NFKD", capitals).encode("ascii", "ignore").decode()
    words = re.findall("[A-Z]+", plain)
    return {*words, *(one + two for one, two in pairwise(words))}


def _terms_in(word: str) -> set[str]:
    """Terms that a word equals, is the plural of, or contains where they are long."""
    singular = {word, word.removesuffix("S"), word.removesuffix("ES")}
    if word.endswith("IES"):
        singular.add(word.removesuffix("IES") + "Y")
    return {term for term in ELSEWHERE if term in singular or (len(term) > 4 and term in word)}
