"""Checks of a DICOM header, and the allow-list of its values that may be kept.

A header holds names and dates of birth. What is read from it is on a keep-list, ``KEPT``; patient
and study numbers leave this module as salted hashes only, and no message quotes a value that is not
on the list.
"""

from __future__ import annotations

import re
from typing import Any

from ingest.images.dicom.body_parts import Choice, place_of, term_of
from ingest.images.dicom.values import Notes, text
from ingest.images.pixels import check_size
from ingest.metadata import parse_age
from store import BadImage

MODALITIES = ("CR", "DX", "RF")
#: Spellings that machines use for one of these modalities.
_ALIASES = {"DR": "DX"}
#: Storage classes (PS3.4, B.5) of films, to their modality; they decide where a header names none.
_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.1": "CR",
    "1.2.840.10008.5.1.4.1.1.1.1": "DX",
    "1.2.840.10008.5.1.4.1.1.1.1.1": "DX",
    "1.2.840.10008.5.1.4.1.1.12.2": "RF",
}
_FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.1.1"
#: Secondary capture has whatever modality the capturing device wrote.
_SECONDARY = "1.2.840.10008.5.1.4.1.1.7"
#: Header elements that are read, beside those on how pixels are stored and shown; any
#: other is never read out, stored, logged or shown.
KEPT = (
    *("SOPClassUID", "SOPInstanceUID", "Modality", "PresentationIntentType", "BurnedInAnnotation"),
    *("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation"),
    *("ViewPosition", "Laterality", "ImageLaterality", "PatientAge", "PatientSex", "PatientID"),
    *("StudyInstanceUID", "BodyPartExamined"),
)
#: Metadata that ``read`` and ``identify`` may tell.
TELLS = ("patient", "study", "view", "sex", "age")
#: Photometric interpretations: one grey value, or three that are the same.
GREY, PALETTE = ("MONOCHROME1", "MONOCHROME2"), "PALETTE COLOR"
COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
_VIEWS = {"LL": "LATERAL", "RL": "LATERAL", "LATERAL": "LATERAL", "LAT": "LATERAL"}


def storage_class(film: Any) -> str:
    """UID of the storage class: the data set's, or that of the file meta information."""
    return text(film, "SOPClassUID") or text(film.file_meta, "MediaStorageSOPClassUID") or ""


def may_be_film(uid: str | None) -> bool:
    """Whether a storage class is one of films, or none that rules them out."""
    return not uid or uid in (*_CLASSES, _FOR_PROCESSING) or uid.startswith(_SECONDARY)


def meaning(film: Any) -> str:
    """PhotometricInterpretation, in capitals."""
    return (text(film, "PhotometricInterpretation") or "").upper()


def check_header(
    film: Any, name: str, body_part: Choice = "chest", notes: Notes | None = None
) -> None:
    """Refuse what is not one projection film of sane size, without anything burned in.

    Args:
        film: the header.
        name: for messages.
        body_part: ``any`` takes films whatever part of the body the header names.
        notes: what a person should know though it is taken.
    """
    told = (text(film, "Modality") or "").upper()
    kind = storage_class(film)
    secondary = kind.startswith(_SECONDARY)
    if not told and film.get("Rows") is None:
        raise BadImage(
            "no_pixels", f"{name} holds no image: it is cut short, or none was ever in it"
        )
    modality = _ALIASES.get(told, told) or _CLASSES.get(kind, "")
    if modality not in MODALITIES and not (secondary and modality in ("OT", "SC", "")):
        raise BadImage(
            "wrong_modality",
            f"{name} has modality {_code(film, 'Modality')}; expected {', '.join(MODALITIES)} "
            "or a secondary capture",
        )
    if body_part != "any":
        _check_part(text(film, "BodyPartExamined") or "", name, notes)
    intent = (text(film, "PresentationIntentType") or "").upper()
    if intent == "FOR PROCESSING":
        raise BadImage(
            "for_processing",
            f"{name} holds raw detector data (FOR PROCESSING); pass the FOR PRESENTATION image",
        )
    if not intent and kind == _FOR_PROCESSING and notes is not None:
        # Data sets are published with this class alone left of their headers.
        notes.add("the storage class says FOR PROCESSING and nothing else does; taken as a film")
    if str(film.get("BurnedInAnnotation", "") or "").strip().upper() == "YES":
        raise BadImage(
            "burned_in",
            f"{name} says that writing is burned into its pixels, which may name a person; "
            "pass a copy without it",
        )
    frames = int(film.get("NumberOfFrames", 1) or 1)
    rows, columns = int(film.get("Rows", 0) or 0), int(film.get("Columns", 0) or 0)
    if rows and columns:
        check_size(columns, rows * max(frames, 1) if frames <= 20 else rows, name)
    if frames > 1:
        raise BadImage("multi_frame", f"{name} holds {frames} frames; pass a film with one")
    if not rows or not columns:
        raise BadImage("no_pixels", f"{name} has no rows and columns: it is not an image")
    samples = int(film.get("SamplesPerPixel", 1) or 1)
    known = {1: (*GREY, PALETTE), 3: COLOUR}.get(samples, ())
    if meaning(film) not in known:
        raise BadImage(
            "not_grey",
            f"{name} has {samples} samples a pixel, photometric interpretation "
            f"{_code(film, 'PhotometricInterpretation')}; expected 1 and MONOCHROME1 or "
            "MONOCHROME2, or a film as RGB or PALETTE COLOR",
        )


def _check_part(part: str, name: str, notes: Notes | None) -> None:
    place = place_of(part)
    if place == "elsewhere":
        raise BadImage(
            "wrong_body_part",
            f"{name} is said to be of {term_of(part)!r}; expected a chest film. Where headers are "
            "wrong, as in some archives: --body-part any",
        )
    if place == "unknown" and notes is not None:
        notes.add("BodyPartExamined is no term that is known; taken as a chest film")


def _code(film: Any, keyword: str) -> str:
    """A value that should be one of DICOM's code words, quoted only when it looks like one."""
    value = text(film, keyword)
    if not value:
        return "none"
    return repr(value) if re.fullmatch(r"[A-Z0-9_ ]{1,16}", value) else "unknown"


def metadata(film: Any) -> dict[str, Any]:
    """Metadata from a header; identifiers hashed, the rest from short fixed lists."""
    from ingest.images.pseudonym import pseudonym

    found: dict[str, Any] = {}
    number = str(film.get("PatientID", "") or "").strip()
    study = str(film.get("StudyInstanceUID", "") or "").strip()
    if study:  # films of one study are of one person, at least
        found["study"] = found["patient"] = pseudonym("study", study)
    if number:
        found["patient"] = pseudonym("patient", number)
    view = str(film.get("ViewPosition", "") or "").strip().upper()
    if view in _VIEWS or re.fullmatch(r"PA|AP|LLO|RLO|LPO|RPO", view):
        found["view"] = _VIEWS.get(view, view)
    elif _laterality(film):
        found["view"] = "LATERAL"
    sex = str(film.get("PatientSex", "") or "").strip().upper()
    if sex in ("M", "F", "O"):
        found["sex"] = sex
    age = parse_age(str(film.get("PatientAge", "") or ""))
    if age is not None:
        found["age"] = age
    return found


def _laterality(film: Any) -> bool:
    """Whether the header says that a side was taken, which for a chest is a lateral view."""
    side = str(film.get("ImageLaterality", "") or film.get("Laterality", "") or "").strip().upper()
    return side in ("L", "R")
