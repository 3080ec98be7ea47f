"""Sentences about chest films, from a grammar small enough to read. The text tower learns them.

A caption says that a film is normal, or that it shows pneumonia; the two classes of PneumoniaMNIST.
Negation is written out on both sides, because "no consolidation" and "pneumonia, no effusion" share
their words and differ in their meaning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random

#: What the captions can be about, by label name.
SUBJECTS = ("normal", "pneumonia")

#: Words kept out of the grammar, so that prompts with unheard words can be tested honestly.
HELD_OUT = ("pneumonitis", "shadowing", "whiteout", "aerated", "lacking", "unaffected", "excluded")

#: ``name = choice | choice``; a ``{name}`` inside a choice stands for one choice of that name.
#: A choice that is written twice is drawn twice as often.
_RULES = """
normal =
    {clear} |
    {clear} |
    {film}: {clear} |
    {film} with {clear_noun} |
    {film} showing {clear_noun} |
    {clear}, {no} {finding} |
    {clear} and {no} {finding} |
    {clear}; {no} {distractor} |
    {no} {finding} |
    {no} {finding} {place} |
    {no} {finding} or {finding} |
    {no} {finding}, {no} {finding} |
    {film}, {no} {finding} |
    {film} {without} {finding} |
    {film} {without} {finding} or {finding} |
    lungs {without} {finding} |
    lungs are {free_of} {finding} |
    {finding} is {not_there} |
    {finding} {place} has {gone} |
    {no} {distractor}, {no} {finding}, {clear} |
    {person} with {clear_noun} |
    {person} {without} {finding} |
    negative for {finding} |
    negative {film} |
    {clear}, not {finding} |
    nothing abnormal |
    not abnormal |
    not pneumonia |
    {no} abnormality |
    {no} acute cardiopulmonary {abnormality} |
    {no} acute {abnormality} {place} |
    {no} signs of infection
pneumonia =
    {finding} |
    {finding} |
    {finding} {place} |
    {finding} {place} |
    {finding} and {finding} |
    {finding} with {finding} {place} |
    {film} showing {finding} |
    {film} with {finding} {place} |
    {film}: {finding} |
    {film} of {person} with {finding} |
    {there} {finding} |
    {there} {finding} {place} |
    {suggests} {finding} |
    {finding} {place} {suggesting} pneumonia |
    {person} with {finding} |
    {person} with {finding} {place} |
    {finding}, {no} {distractor} |
    {finding} {place} {without} {distractor} |
    {no} {distractor}, {finding} {place} |
    {no} {distractor} but {finding} |
    normal heart size, {finding} {place} |
    heart is normal; {finding} |
    not normal |
    not a normal {film_noun} |
    abnormal {film_noun} |
    {film_noun} is not normal |
    lungs are not clear |
    no longer clear lungs |
    not clear, {finding} |
    abnormal lungs |
    abnormal, {finding} {place} |
    positive for {finding} |
    sick lungs |
    acute cardiopulmonary {abnormality} |
    loss of the normal clear lung
finding =
    pneumonia | pneumonia | pneumonia opacity | {kind} pneumonia | {kind} pneumonia |
    bronchopneumonia | {extent} pneumonia | consolidation | {extent} consolidation |
    {extent} consolidations | infiltrate | infiltrates | infiltration | {extent} infiltrate |
    {extent} infiltrates | opacity | opacities | opacification | {extent} opacity |
    {extent} opacities | airspace disease | {extent} airspace disease | airspace opacity |
    airspace opacities | air bronchogram | air bronchograms |
    consolidation with air bronchograms | lung infection | chest infection |
    respiratory infection | interstitial markings | peribronchial thickening |
    ground glass opacity | hazy density | {extent} density | lung inflammation
kind =
    viral | bacterial | lobar | bronchial | community acquired | acute | childhood |
    pediatric | paediatric | severe | round | atypical
extent =
    focal | patchy | bilateral | multifocal | diffuse | dense | hazy | lobar | interstitial |
    alveolar | perihilar | extensive | subtle | left | right | basal | lower lobe |
    upper lobe | confluent | large | small
place =
    in lungs | in the lungs | in both lungs | in the {side} lung | in the {side} {lobe} lobe |
    at the {side} base | at the lung bases | in the {side} {lobe} zone |
    of the {side} lung | bilaterally | on this film | in a child | behind the heart |
    near the hilum
side =
    left | right
lobe =
    lower | upper | middle
clear =
    normal | normal {film_noun} | a normal {film_noun} | normal chest | normal lungs |
    healthy lungs | healthy chest | clear lungs | clear lung fields | lungs are clear |
    the lungs are clear | both lungs are clear | lungs clear bilaterally |
    lung fields are clear | unremarkable | unremarkable {film_noun} | unremarkable chest |
    sharp costophrenic angles | costophrenic angles are sharp |
    costophrenic angles are clear | normal study | normal examination | within normal limits |
    normal heart and lungs | heart and lungs are normal |
    normal cardiomediastinal silhouette, clear lungs | well expanded clear lungs |
    lungs are well expanded | the {film_noun} is normal | no findings |
    {film_noun} without findings
clear_noun =
    clear lungs | clear lung fields | normal lungs | healthy lungs | normal findings |
    sharp costophrenic angles | no abnormality | no findings
film =
    {film_noun} | {film_noun} | a {film_noun} | frontal {film_noun} | {age} {film_noun}
film_noun =
    chest radiograph | chest x-ray | chest xray | x-ray | radiograph | cxr | chest film |
    film | x-ray image
age =
    child | pediatric | paediatric
person =
    child | a child | patient | infant | pediatric patient | young patient
no =
    no | no | no evidence of | no sign of | no signs of | without | without evidence of |
    absence of | absent | never any | there is no
without =
    without | without any | with no | free of | showing no | not showing
free_of =
    free of | clear of | without
not_there =
    absent | not seen | not present | ruled out | not visible | not found
gone =
    resolved | cleared | disappeared | gone
there =
    there is | there are | we see | evidence of | signs of | presence of | seen:
suggests =
    findings consistent with | suspicious for | suggestive of | appearance of |
    compatible with | features of | diagnosis of
suggesting =
    suggesting | consistent with | due to | compatible with
distractor =
    pleural effusion | effusion | pneumothorax | cardiomegaly | rib fracture | fracture |
    enlarged heart | mass
abnormality =
    abnormality | disease | process | findings
"""


def _parsed(rules: str) -> dict[str, list[str]]:
    grammar: dict[str, list[str]] = {}
    for line in rules.strip().splitlines():
        if line.endswith(" ="):
            grammar[line.removesuffix(" =")] = choices = []
        else:
            choices += [choice.strip() for choice in line.split("|") if choice.strip()]
    return grammar


#: The choices that each name stands for.
GRAMMAR: Mapping[str, Sequence[str]] = _parsed(_RULES)


def caption(subject: str, random: Random) -> str:
    """One sentence about a film.

    Args:
        subject: ``normal`` or ``pneumonia``.
        random: the only source of chance.
    """
    return _expand(GRAMMAR[subject], random)


def with_typos(text: str, random: Random, rate: float = 0.15) -> str:
    """The same sentence, as hurried fingers would type some of its words.

    Args:
        text: a sentence.
        random: the only source of chance.
        rate: probability that a word of five letters or more is misspelt.
    """
    return " ".join(
        _misspell(word, random) if len(word) > 4 and random.random() < rate else word
        for word in text.split()
    )


def _expand(choices: Sequence[str], random: Random) -> str:
    text = random.choice(choices)
    while "{" in text:
        head, _, rest = text.partition("{")
        name, _, tail = rest.partition("}")
        text = head + _expand(GRAMMAR[name], random) + tail
    return text


def _misspell(word: str, random: Random) -> str:
    at = random.randrange(1, len(word) - 1)
    return random.choice(
        [
            word[:at] + word[at + 1 :],
            word[:at] + word[at] + word[at:],
            word[:at] + word[at + 1] + word[at] + word[at + 2 :],
            word[:at] + random.choice("abcdefghijklmnopqrstuvwxyz") + word[at + 1 :],
        ]
    )
