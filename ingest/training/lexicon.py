"""The words of the bundled encoder's subject: what a query may be made of to be understood.

The captions that it learned from speak of two things, normal chest films and pneumonia. Around
their words stand those that a reader of such films uses for the same; every other word is unknown.
What the words mean to the encoder is its text tower's matter; here is only what it has grounds for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from ingest.training.captions import ENGLISH, SYNONYMS

#: File beside a checkpoint's tokenizer.
FILE = "lexicon.json"
FORMAT = 2

#: Kind of word -> words. ``findings``: what pneumonia looks like. ``states``: normal or not.
#: ``hints``: normal or not, when a part of the chest or its film (``parts``) is named as well.
#: ``others``: findings and parts of the chest that the encoder cannot tell. ``turning``: turn a
#: finding into its opposite, and no caption holds them. ``elsewhere``: other parts of the body;
#: captions hold them, but they are as good as unknown. ``plain``: carry the sentence.
WORDS: Mapping[str, str] = {
    "findings": """
        bronchitis alveolitis pneumonia pneumonias pneumonic pneumonitis bronchopneumonia
        consolidation consolidations consolidated consolidative infiltrate infiltrates infiltrated
        infiltration infiltrations infiltrative opacity opacities opacification opacifications
        opacified bronchogram bronchograms infection infections infected infectious infective
        inflammation inflammatory inflamed peribronchial cuffing groundglass ggo haziness exudate
        exudates exudative consolidating pna lrti silhouette
    """,
    "states": """
        normal normality clear clears cleared healthy unremarkable abnormal abnormally abnormality
        abnormalities finding findings unaffected uninvolved unhealthy unclear uninfected undiseased
        nad wnl clearer
    """,
    "hints": """
        sharp crisp expanded aerated aeration inflated ventilated lucent translucent transparent
        fine good okay ok bad ill process limits positive negative resolved resolution gone
        disappeared nothing wrong affected involved spotless pathology pathological disease diseased
        sick dense hazy haze cloudy clouding murky blotchy shadow shadows shadowed whitening
        thickening thickened white whitened whiteness foggy fog misty smoky milky dirty dusky
        mottled fuzzy grey soggy dull veiled obscured solid solidified congested damaged fluid
        filled filling unwell clean pristine faultless radiolucent unharmed undamaged unscathed
        unimpaired untouched spared sound dry black patchy streaky amiss unusual untoward sinister
        healed vanished poor order blurred blotted clogged coarse crystal flawless fleck flecks
        speck specks fluffy lost hidden effaced preserved mist veil mucus phlegm spot spotty
        textbook ordinary alright great excellent terrible failing problem health airy reassuring
        fit well immaculate impeccable blameless unblemished density densities markings opaque
        shadowing whiteout pus silhouettes
    """,
    "parts": """
        lung lungs pulmonary chest thorax thoracic hemithorax cardiopulmonary cardiomediastinal
        hilum hila hilar perihilar lobe lobes lobar multilobar sublobar lingula lingular segment
        segmental subsegmental costophrenic sulcus sulci diaphragm diaphragms hemidiaphragm
        hemidiaphragms pleura bronchus bronchi bronchial bronchiolar airway airways alveolar alveoli
        parenchyma parenchymal interstitial interstitium cxr cxrs radiograph radiographs
        retrocardiac respiratory apex apices base bases basal basilar zone zones rll lll rul lul rml
        bronchovascular fissure fissures hemithoraces airspace airspaces xray xrays
    """,
    "others": """
        effusion effusions pleural pneumothorax pneumothoraces cardiomegaly fracture fractures rib
        ribs mass masses nodule nodules nodular atelectasis collapse emphysema edema oedema
        congestion fibrosis fibrotic tuberculosis tb covid cancer tumor tumors tumour tumours
        carcinoma metastasis metastases hernia pacemaker pacemakers catheter catheters tube tubes
        device devices scoliosis enlarged enlargement calcification calcifications calcified
        hyperinflation hyperinflated copd asthma bronchiectasis sarcoidosis granuloma granulomas
        cavity cavities cavitation embolism pneumoperitoneum aneurysm cyst cysts bone bones aorta
        thymus clavicle clavicles skeleton abscess nodes lesion drain nasogastric injury bony
        tachypnoea picc ett cannula heart cardiac vessels vascular vasculature tissue tissues
        trachea mediastinum mediastinal
    """,
    "turning": """
        devoid exclude excluded excludes excluding exclusion lack lacked lacking lacks averted
        avoided prevented incompatible inconsistent improbable implausible undetected unseen
        nonexistent immune protected rid kein keine ohne sin senza pas geen ingen aucun aucune
    """,
    "elsewhere": "skin throat",
    "plain": """
        zero remotely exactly a an the whom this that these those there here it its i we you he she
        they one any some all both each every several few many much more most less least other
        another same such no not none never neither nor without with within of in on at to from for
        by and or but yet so as than then if while when where which who what whose into onto over
        under above below behind beside between near around along across through throughout about
        after before since during until up down out off only also very quite rather too just still
        again almost nearly hardly completely entirely fully perfectly totally largely mostly mainly
        partly slightly somewhat do does did done doing have has had having is are was were be been
        being am can could cannot may might must shall should will would isn aren wasn weren don
        doesn didn hasn haven couldn t s see sees seen seeing saw show shows shown showing showed
        look looks looked looking find finds found appear appears appeared appearing appearance
        appearances demonstrate demonstrates demonstrated demonstrating reveal reveals revealed note
        noted identify identified detect detected suggest suggests suggested suggesting suggestive
        indicate indicates indicating represent represents representing suspect suspected suspicious
        suspicion concern concerning consistent compatible keeping typical likely probable probably
        possible possibly definite definitely obvious evident visible present presence absent
        absence free ruled rule far longer loss remain remains remained persistent persist unchanged
        stable new newly old older recent previous prior earlier today compared compare comparison
        follow following improved improving improvement worse worsening worsened increased
        increasing increase decreased decreasing decrease developing developed early late known due
        caused cause secondary change changes left right upper lower middle mid apical field fields
        side sides sided unilateral bilateral bilaterally central centrally peripheral peripherally
        medial lateral anterior posterior frontal area areas region regions part place patch patches
        focal focus foci multifocal diffuse diffusely extensive widespread scattered confluent
        coalescent subtle faint mild mildly moderate moderately severe severely marked gross large
        small tiny big round rounded linear reticular reticulonodular acute chronic subacute ongoing
        active viral bacterial virus bacteria fungal mycoplasma atypical community acquired
        aspiration childhood pediatric paediatric adult infant infants baby child children toddler
        toddlers neonate newborn boy girl patient patients person man woman male female young year
        years month months aged age week weeks day days radiographic radiographically radiography
        radiological radiologic radiology roentgenogram x ray rays film films image images picture
        imaging view views projection scan study examination exam pa ap portable erect supine
        evidence sign signs feature features diagnosis history question result results report
        impression reading typically expand expands space spaces air ground glass angle angles size
        shape contour contours outline outlines border borders margin margins volume volumes cough
        coughing fever febrile wheeze wheezing sputum oxygen treatment treated antibiotics intact
        soft aspect aspects pattern patterns set confirmed confirm confirms needs two three first
        second my her his their our your per absolutely really truly wholly scarcely barely nowhere
        away distant remote different apart anything everything except save fail means way long
        short breath breathless chills cold suffers however though although bare empty missing
        wanting last line dismissed discounted disproved refuted denied unlikely contain contains
        contained full greater higher raised islands spots trace reader against void sans minus isnt
        arent doesnt dont hold argues argue speaks speak got like think admitted anywhere apparent
        babies back badly because better boys breathing called came cases caught certain certainly
        chests class classified clinical complicated conclusion confirmation control controls
        crackles cut defined diagnosed discharge display distinct double doubt eight either
        established even example examples expected failed fails fast fear feared fetch filter five
        fold foreign former get girls give group hospital hospitalised how ignored instead kid kids
        kind label labelled later leave let list little made maintained massive me meaning medical
        midline missed mother necrotising necrotizing need now obviously occupying omit once ones
        otherwise outside overlooked overseen pain people persists photo pick pictures please points
        position preschooler presenting presumably previously proved proven query read reads reason
        reference remove replacing reported respect retrieve returned rules samples says scans
        screening search seem select seven shaped simply single six skip something sore spite spread
        studies suffering surely surgery tagged ten them thought truth turned unlike us verified
        vomiting walking want wants wedge whole worried neg pos rt lt horizontal oblique tip svc
        lines port ctr ratio baseline lecture teaching teach student students nurse doctor doctors
        teacher radiologist radiologists clinician physician paediatrician pediatrician ward clinic
        admission discharged emergency department preoperative postoperative operative training
        train validation dataset data sets model benchmark mimic mimicking mimics mimicked
        resembling resembles confirming proves dependent bulging bulge rotated rotation inspiration
        inspiratory expiration expiratory symmetric symmetrical asymmetric asymmetry thin thick
        smooth irregular poorly sharply ventilation saturation saturations grunting distress sepsis
        septic afebrile sneezing vaccinated schoolboy schoolgirl teenager teenagers teen adolescent
        youngster preterm physiological unresolved anatomy usual yesterday category quiz atlas slide
        presentation demo illustrate illustrating illustrates depicts depict exhibits exhibit
        featuring containing tell difference four nine everywhere else identifies resolving
        recurrent numerous detectable discernible particular kindly seems seemed seeming going make
        makes take takes taken used using use whether why cm described documented observed presumed
        recognised accept bigger bottom call come contrast deny denying escaped germ germs grown
        microbes mistake name nobody opposed pass persisted plain progressed regular slightest
        stayed top yes thymic sail leads relapse fresh streptococcal staphylococcal given specimen
        learn learning son daughter mum mom dad parent parents state slowly remnants false alarm
        signed send sent home belong folder everyday boring benign match restored included plz
        thanks hello m re ve ll w o y contrary expectation go goes plainly refuses owing high abated
        deepened extended faded insufficiently prominent receded regressed subsided sufficiently
        illness asymptomatic expansion dark wall obscuring bibasal clearly clearing normally tract
        body appreciated occurred pointed recognized spotted
    """,
}

#: Words that are hardly used of anything else: beside one of them, an unknown word does no harm.
CERTAIN = """
    pneumonia pneumonias pneumonic pneumonitis bronchopneumonia alveolitis bronchogram bronchograms
    infiltrates opacities consolidations lung lungs pulmonary perihilar costophrenic cxr cxrs
"""

#: English words that look like slips of words above; words.txt has more.
STRANGERS = """
    injection inspection inflation insertion invention infarction affection pneumatic mortality
    funding shark crest bass cheat dusty wound ankle arterial market mouth knee month
"""


def lexicon(tokenizer: bytes) -> dict[str, object]:
    """What ``save_lexicon`` writes.

    Args:
        tokenizer: content of the checkpoint's tokenizer.json, which ties the two together.
    """
    kinds = {kind: sorted(set(words.split())) for kind, words in WORDS.items()}
    # Of a word that the tower has whole, and none taught it, a synonym told what it denies.
    entries = json.loads(tokenizer).get("added_tokens", [])
    told = set(kinds["turning"]) & SYNONYMS.keys() & {entry["content"] for entry in entries}
    kinds["turning"] = sorted(set(kinds["turning"]) - told)
    kinds["plain"] = sorted({*kinds["plain"], *told})
    known = {word for words in kinds.values() for word in words}
    return {
        "format": FORMAT,
        "tokenizer_sha256": hashlib.sha256(tokenizer).hexdigest(),
        "about": "normal chest films and pneumonia",
        "words": kinds,
        "certain": sorted(CERTAIN.split()),
        "strangers": sorted({*STRANGERS.split(), *ENGLISH} - known),
    }


def save_lexicon(folder: str | Path) -> Path:
    """Write the lexicon beside the tokenizer of a checkpoint that ``train`` made.

    It decides no vector, so the encoder's fingerprint stays what it is.

    Args:
        folder: holds tokenizer.json.
    """
    place = Path(folder)
    found = lexicon((place / "tokenizer.json").read_bytes())
    path = place / FILE
    path.write_text(json.dumps(found, indent=0, ensure_ascii=False) + "\n", "utf-8")
    return path
