"""Which queries the bundled encoder has grounds to understand."""

from __future__ import annotations

import csv
import json
import re
from functools import cache
from pathlib import Path

import pytest

import ingest
from ingest.encoders.understanding import Understanding, understand
from ingest.training.captions import (
    GRAMMAR,
    SYNONYMS,
    caption,
    is_held_out,
    learned_words,
    words_of,
)
from ingest.training.lexicon import WORDS, save_lexicon
from ingest.training.sentences import read_sentences

PROMPTS = Path(ingest.__file__).parent / "training" / "prompts.csv"

OFF_TOPIC = """
carburettor gasket
knee fracture
asdf
qwertyuiop
a cat on a sofa
red sports car
how do I bake sourdough bread
the weather in Lisbon tomorrow
stock market crash
chest of drawers
treasure chest
clear sky over the sea
clear instructions
normal distribution
healthy breakfast recipes
dense fog on the motorway
opacity of a css element
debt consolidation loan
consolidation of power
heart attack
heart disease
broken heart
brain MRI with contrast
normal brain scan
normal knee x-ray
x-ray of a hand
fracture of the left femur
dental panoramic radiograph
mammogram
abdominal ultrasound
normal liver
clear urine
ear infection
skin infection of the foot
bladder infection
eye shadow
shadow of a tree
football results
python list comprehension
SELECT * FROM users
<script>alert(1)</script>
lorem ipsum dolor sit amet
best pizza in Naples
guitar chords
president of France
quantum entanglement
12345
?!...
Lungenentzündung im rechten Unterlappen
keine Verdichtung
unauffälliger Befund
poumons clairs
pas de foyer pulmonaire
opacité du lobe inférieur droit
neumonía bilateral en un niño
pulmones limpios
polmonite lobare
medwall pneumonie i högra lungan
肺炎
正常胸片
пневмония
التهاب رئوي
airport security queue
glass of water
film noir
a small child playing with a dog
left turn at the lights
right of way
old man and the sea
washing machine manual
viral marketing
bacterial culture on agar
acute angle in a triangle
lower back pain
normal breasts
infection of the butt
clear soil
a healthy corpse
normal telephone
infected vent
""".strip().splitlines()

#: Chest findings that it never learned to tell.
OTHER_FINDINGS = """
cardiomegaly
pneumothorax
pleural effusion
rib fracture
pacemaker
lung nodule
lung cancer
tuberculosis
enlarged heart
no pleural effusion
""".strip().splitlines()

#: Beside the prompt set; none of it is a caption of the grammar.
ON_TOPIC = """
right lower lobe pneumonia
RLL is wrong but consolidation is there
consolidation in the lingula
bronchopneumonia of both lower lobes
patchy bilateral airspace opacities
multifocal consolidation, more on the left
ill-defined opacity in the right middle zone
perihilar infiltrates suggesting viral infection
increased interstitial markings
ground-glass opacities
haziness at both bases
suspected pneumonia in an infant
pneumonia with small pleural effusion
opacified left hemithorax
dense lobar consolidation with air bronchograms
the left lung is infected
lungs not clear
this film is abnormal
Is there any pneumonia?
Does this child have pneumonia
lungs clear
Lungs are clear bilaterally.
No focal consolidation, pleural effusion or pneumothorax.
Normal heart size. Clear lungs.
There is no evidence of acute cardiopulmonary disease.
no infiltrate
no opacity is seen
normal pediatric chest
healthy child
unremarkable frontal radiograph
the lungs are well expanded and clear
cardiomediastinal silhouette is normal
no abnormality detected
nothing abnormal
everything looks normal
no active lung disease
costophrenic angles are sharp
film of a healthy infant
pnemonia
pneumona in the rigth lung
consolodation
infiltrats in both lungs
opacites
clear lugns
nromal chest xray
no evidense of pneumonia
unremarkabel chest
PNEUMONIA!!!
pneumonia, 5 year old
""".strip().splitlines()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """What a lexicon is read from: nothing else of a checkpoint is looked at."""
    made = tmp_path_factory.mktemp("checkpoint")
    (made / "tokenizer.json").write_text(json.dumps({"added_tokens": [{"content": "lacking"}]}))
    save_lexicon(made)
    return made


def prompts() -> list[dict[str, str]]:
    with PROMPTS.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def judged(folder: Path, texts: list[str]) -> dict[str, Understanding]:
    return {text: understand(folder, text) for text in texts}


def test_off_topic_is_said_to_be(folder):
    found = judged(folder, OFF_TOPIC)
    wrong = [text for text, one in found.items() if one.understood is not False]
    assert len(OFF_TOPIC) >= 60
    assert len(wrong) <= 0.05 * len(OFF_TOPIC), wrong
    assert all(one.reason for one in found.values() if one.understood is False)


def test_findings_that_it_cannot_tell_are_said_to_be(folder):
    for text, one in judged(folder, OTHER_FINDINGS).items():
        assert one.understood is False, text
        assert "cannot tell" in str(one.reason)


def test_on_topic_is_understood(folder):
    texts = [*ON_TOPIC, *(row["text"] for row in prompts())]
    wrong = {text: one for text, one in judged(folder, texts).items() if not one.understood}
    assert len(wrong) <= 0.05 * len(texts), wrong


#: Words that deny, that the tower never met, and that no synonym tells it.
TURNING = set(WORDS["turning"]) - {"lacking"}


def test_held_out_prompts_are_understood(folder):
    texts = [row["text"] for row in prompts() if row["held_out"] == "yes"]
    texts = [text for text in texts if not TURNING & set(text.lower().split())]
    wrong = {text: one for text, one in judged(folder, texts).items() if not one.understood}
    assert len(wrong) <= 0.05 * len(texts), wrong


def test_the_issues_examples(folder):
    for text in ("carburettor gasket", "knee fracture", "asdf", "Röntgenbild ohne Befund"):
        assert understand(folder, text).understood is False
    for text in ("pneumonia", "clear lungs", "no consolidation", "not normal"):
        assert understand(folder, text) == Understanding(True)


def test_words_that_deny_and_were_never_heard_are_said_to_be(folder):
    assert len(TURNING) > 20 and not TURNING & learned_words()
    denials = "isn aren wasn weren don doesn didn can couldn hasn haven isnt arent dont doesnt"
    denials += " no not none never without absent free nothing against minus sans void missing"
    assert set(denials.split()) <= learned_words()  # these need no warning
    assert understand(folder, "dense consolidation against the left heart border").understood
    assert "“qwxz”" in str(understand(folder, "qwxz zzqq devoid").reason)
    for word in TURNING:
        found = understand(folder, f"lungs {word} consolidation")
        assert found.understood is False and f"“{word}”" in str(found.reason)


def test_a_denying_word_is_understood_where_the_tower_was_told_of_it(folder, tmp_path):
    assert "lacking" in SYNONYMS
    assert understand(folder, "lungs lacking consolidation") == Understanding(True)
    (tmp_path / "tokenizer.json").write_text("{}")
    save_lexicon(tmp_path)
    assert "“lacking”" in str(understand(tmp_path, "lungs lacking consolidation").reason)


def test_captions_are_understood(folder):
    from random import Random

    random = Random(0)
    texts = [caption(subject, random) for subject in ("normal", "pneumonia") for _ in range(1000)]
    wrong = [text for text in texts if not understand(folder, text).understood]
    # "in order, not streaky" names nothing of a chest: such a search is rightly doubted.
    assert len(wrong) <= 0.12 * len(texts), wrong[:20]


def test_a_word_of_films_alone_carries_one_that_is_unknown(folder, tmp_path):
    assert understand(folder, "pneumonia qwxzly").understood
    assert understand(folder, "infection qwxzly").understood is False
    assert understand(folder, "pneumonia qwxzly vlorp").understood is False
    assert understand(folder, "lungs qwxzly").understood is False  # says nothing of the lungs
    (tmp_path / "tokenizer.json").write_text("{}")
    path = save_lexicon(tmp_path)
    older = json.loads(path.read_text())
    del older["certain"]
    path.write_text(json.dumps(older))
    assert understand(tmp_path, "pneumonia").understood
    assert understand(tmp_path, "pneumonia qwxzly").understood is False


def test_each_unheard_sentence_has_a_word_that_no_caption_holds():
    texts = [one.text for one in read_sentences() if one.kind == "unheard"]
    assert [text for text in texts if set(words_of(text)) <= learned_words()] == []


def test_searches_of_others_are_understood(folder):
    texts = [one.text for one in read_sentences() if one.kind == "search"]
    texts = [text for text in texts if not TURNING & set(words_of(text))]
    wrong = {text: one for text, one in judged(folder, texts).items() if not one.understood}
    assert len(texts) >= 140 and len(wrong) <= 0.06 * len(texts), wrong


def test_what_others_asked_is_understood(folder):
    """Written by somebody who knew neither grammar nor lexicon, a third of it in unusual words."""
    texts = [one.text for one in read_sentences() if one.kind == "asked"]
    wrong = {text: one for text, one in judged(folder, texts).items() if not one.understood}
    assert len(texts) == 200 and len(wrong) <= 0.12 * len(texts), wrong


def test_what_others_asked_of_something_else_is_not(folder):
    """By the same hand: other subjects, languages, parts of the body; words of films misused."""
    texts = Path(__file__).with_name("elsewhere.txt").read_text("utf-8").splitlines()
    wrong = [text for text, one in judged(folder, texts).items() if one.understood]
    assert len(texts) == 150 and len(wrong) <= 0.02 * len(texts), wrong


@pytest.mark.parametrize(
    "text",
    [
        "normal normal normal normal knee",  # said often, known no better
        "infected wound",  # an English word, and no misspelt "would"
        "infant mortality",  # nor "normality"
        "unopacified lungs",  # the opposite of what it looks like
        "skin infection",
        "normal heart",
        "heart is normal",
        "exclusion of pneumonia",
        "keine pneumonia",
    ],
)
def test_what_looks_like_a_film_is_doubted(folder, text):
    assert understand(folder, text).understood is False


def test_two_swaps_in_a_long_word_are_a_slip(folder):
    assert understand(folder, "consoildaiton in the lung").understood
    assert understand(folder, "normal heart size, clear lungs").understood


def test_reasons_name_the_words(folder):
    assert "“carburettor”" in str(understand(folder, "carburettor gasket").reason)
    assert "no words" in str(understand(folder, "42 ...").reason)
    assert "names nothing" in str(understand(folder, "chest film of a child").reason)


def test_the_lexicon_holds_every_word_of_the_grammar():
    known = {word for words in WORDS.values() for word in words}
    assert learned_words() <= known
    kinds = [word for words in WORDS.values() for word in set(words)]
    assert len(kinds) == len(set(kinds)), "a word has two kinds"


def test_without_a_lexicon_nothing_is_claimed(tmp_path):
    assert understand(tmp_path, "carburettor gasket") == Understanding(None)


@pytest.mark.parametrize("damage", ["tokenizer", "cut", "format", "list"])
def test_a_lexicon_of_something_else_is_not_used(tmp_path, damage):
    (tmp_path / "tokenizer.json").write_text("{}")
    path = save_lexicon(tmp_path)
    assert understand(tmp_path, "asdf").understood is False
    if damage == "tokenizer":
        (tmp_path / "tokenizer.json").write_text("{ }")
        path.write_text(path.read_text() + " ")
    elif damage == "cut":
        path.write_text(path.read_text()[:200])
    elif damage == "list":
        path.write_text("[]")
    else:
        path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99}))
    assert understand(tmp_path, "asdf") == Understanding(None)


# --- the prompt set, and what was kept from training ---


def test_the_prompt_set_is_varied():
    rows = prompts()
    texts = [row["text"] for row in rows]
    assert len(rows) >= 90 and len(set(texts)) == len(texts)
    assert {row["label"] for row in rows} == {"normal", "pneumonia"}
    for label in ("normal", "pneumonia"):
        assert sum(row["label"] == label for row in rows) >= 45
        assert sum(row["label"] == label and row["held_out"] == "yes" for row in rows) >= 15
    negated = re.compile(
        r"\b(no|not|without|never|neither|nor|free|negative|excluded|lacking|devoid|"
        r"nothing|far from|unaffected)\b"
    )
    assert sum(bool(negated.search(text.lower())) for text in texts) >= len(rows) / 4
    assert sum(text.isupper() for text in texts) >= 5
    assert min(len(t.split()) for t in texts) == 1 and max(len(t.split()) for t in texts) >= 12


def test_a_third_is_out_of_the_grammars_reach():
    held_out = [row["text"] for row in prompts() if row["held_out"] == "yes"]
    assert len(held_out) >= len(prompts()) / 3
    assert is_sentence("no evidence of lobar pneumonia in the left lung", "normal")
    assert not is_sentence("no evidence of lobar pneumonia in the left lung", "pneumonia")
    for text in held_out:
        assert not any(is_sentence(text.lower(), label) for label in ("normal", "pneumonia")), text
    heard = [text for text in held_out if not any(map(is_held_out, words_of(text)))]
    assert not heard, "training texts hold no held-out word, so none of these can be one"


def is_sentence(text: str, subject: str) -> bool:
    """Whether the grammar can say a text: from each place, where each of its names may end."""

    @cache
    def ends(name: str, start: int) -> frozenset[int]:
        found: set[int] = set()
        for choice in GRAMMAR[name]:
            places = {start}
            for part, piece in enumerate(re.split(r"\{(\w+)\}", choice)):
                if part % 2:
                    places = {end for place in places for end in ends(piece, place)}
                else:
                    places = {p + len(piece) for p in places if text.startswith(piece, p)}
            found |= places
        return frozenset(found)

    return len(text) in ends(subject, 0)
