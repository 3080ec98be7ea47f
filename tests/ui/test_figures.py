from __future__ import annotations

import io
import re
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from matplotlib.artist import Artist
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image

from store import Evaluation, Hit, Row
from tests.ui.drawn import chest, png
from ui.report.figures import (
    MARKS,
    Case,
    Query,
    cases_figure,
    judge,
    precision_figure,
    retrieval_figure,
)
from ui.report.sheet import Provenance, pdf_bytes, png_bytes, svg_bytes

ORIGIN = Provenance("drawn (abababababab, 784-d)", "pneumoniamnist", "test queries", 7)
LOUD = Provenance("drawn", "synthetic-cohort", "test queries", 7, "SYNTHETIC: nobody's film")


def hits_of(labels: list[tuple[str, ...]]) -> list[Hit]:
    return [
        Hit(place, 1 - place / 64, Row(f"set/train/{place}", b"", labels=found))
        for place, found in enumerate(labels, start=1)
    ]


def thumbnails_of(hits: list[Hit]) -> dict[str, bytes | None]:
    return {hit.row.id: png(chest(hit.rank, ill=hit.rank % 2 == 0)) for hit in hits}


def artists(figure: Figure, prefix: str) -> dict[str, Any]:
    found = figure.findobj(lambda one: str(one.get_gid() or "").startswith(prefix))
    return {str(one.get_gid()): one for one in found}


def words(figure: Figure) -> list[str]:
    found: list[Artist] = figure.findobj(lambda one: hasattr(one, "get_text"))
    return [one.get_text() for one in found]  # type: ignore[attr-defined]


def query() -> Query:
    return Query(image=chest(0, ill=True), labels=("pneumonia",), name="set/test/0")


@pytest.mark.parametrize(
    ("wanted", "labels", "verdict"),
    [
        (("a",), ("a",), "right"),
        (("a", "b"), ("b", "c"), "right"),
        (("a",), ("b",), "wrong"),
        (("a",), (), "unlabelled"),
        ((), ("a",), None),
        ((), (), None),
    ],
)
def test_a_hit_is_right_when_it_shares_a_label(wanted: Any, labels: Any, verdict: Any) -> None:
    assert judge(wanted, labels) == verdict


@pytest.mark.parametrize("k", [0, 1, 2, 5, 6, 10, 23, 50])
def test_every_hit_is_a_tile_with_rank_and_cosine(k: int) -> None:
    hits = hits_of([("pneumonia",)] * k)
    figure = retrieval_figure(query(), hits, thumbnails_of(hits), ORIGIN)
    assert len(artists(figure, "frame:")) == k
    scores = artists(figure, "score:")
    expected = [f"cos {hit.score:.3f}" for hit in hits]
    assert [scores[f"score:{hit.row.id}"].get_text() for hit in hits] == expected
    assert {str(hit.rank) for hit in hits} <= set(words(figure))
    # Nothing hangs over the edge, and no two tiles overlap.
    width, height = figure.get_size_inches()
    boxes = [frame.get_bbox().extents for frame in artists(figure, "frame:").values()]
    assert all(a > 0 and b > 0 and c < width and d < height for a, b, c, d in boxes)
    corners = {(round(box[0], 3), round(box[1], 3)) for box in boxes}
    assert len(corners) == k
    with Image.open(io.BytesIO(png_bytes(figure))) as picture:
        picture.load()
        assert picture.format == "PNG"
        assert picture.size == tuple(int(side * figure.dpi) for side in (width, height))


def test_right_and_wrong_differ_by_glyph_frame_and_colour() -> None:
    hits = hits_of([("pneumonia",), ("normal",), ()])
    figure = retrieval_figure(query(), hits, thumbnails_of(hits), ORIGIN)
    marks = {name.split(":")[1]: one for name, one in artists(figure, "mark:").items()}
    frames = {name.split(":")[1]: one for name, one in artists(figure, "frame:").items()}
    assert {name: one.get_text() for name, one in marks.items()} == {
        "right": "✓",
        "wrong": "✗",
        "unlabelled": "?",
    }
    assert len({str(one.get_linestyle()) for one in frames.values()}) == 3
    assert frames["right"].get_linestyle() in ("solid", "-")
    assert len({to_hex(one.get_edgecolor()) for one in frames.values()}) == 3
    for verdict, (glyph, colour, _) in MARKS.items():
        assert marks[verdict].get_color() == colour
        assert to_hex(frames[verdict].get_edgecolor()) == colour.lower()
        assert marks[verdict].get_gid().endswith(frames[verdict].get_gid().split(":")[-1])
        assert glyph in " ".join(words(figure))
    assert "1 of 3 labelled pneumonia" in artists(figure, "subtitle")["subtitle"].get_text()


def test_glyphs_exist_in_the_font() -> None:
    from matplotlib.font_manager import findfont, get_font

    from ui.report.sheet import font

    path = findfont(font(10), fallback_to_default=False)
    assert "DejaVuSans" in str(path)
    assert {ord(glyph) for glyph, _, _ in MARKS.values()} <= set(get_font(path).get_charmap())


def test_a_text_is_set_as_a_card_and_judged_only_when_told() -> None:
    hits = hits_of([("pneumonia",), ("normal",)])
    told = Query(text="opacity in lungs", labels=("normal",))
    silent = Query(text="opacity in lungs")
    figure = retrieval_figure(silent, hits, thumbnails_of(hits), ORIGIN)
    assert artists(figure, "prompt")["prompt"].get_text().split() == ["“opacity", "in", "lungs”"]
    assert not artists(figure, "mark:")
    assert all("None" in name for name in artists(figure, "frame:"))
    figure = retrieval_figure(told, hits, thumbnails_of(hits), ORIGIN)
    verdicts = [name.split(":")[1] for name in sorted(artists(figure, "mark:"))]
    assert verdicts == ["right", "wrong"]


@pytest.mark.parametrize(
    "text",
    ["$\\frac{1}{2}$ costs $5", "a" * 400, "many words " * 80, "肺炎 \u202e \x00 \n tab\t", "_^{}"],
)
def test_any_words_are_drawn_as_they_are(text: str) -> None:
    hits = hits_of([(text,), ("normal",)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = retrieval_figure(Query(text=text), hits, {}, ORIGIN)
        assert png_bytes(figure, text)
    card = artists(figure, "query")["query"].get_window_extent()
    assert card.contains(*artists(figure, "prompt")["prompt"].get_window_extent().min)
    assert card.contains(*artists(figure, "prompt")["prompt"].get_window_extent().max)


def test_a_footer_says_where_it_comes_from_and_what_it_is_not() -> None:
    hits = hits_of([("pneumonia",)])
    figure = retrieval_figure(query(), hits, thumbnails_of(hits), ORIGIN)
    footer = artists(figure, "footer")["footer"].get_text().replace("\n", " ")
    for part in (ORIGIN.encoder, ORIGIN.dataset, ORIGIN.protocol, "table version 7"):
        assert part in footer
    assert "not for diagnosis" in footer
    assert not artists(figure, "notice")


def test_synthetic_images_are_called_so_on_every_figure() -> None:
    hits = hits_of([("pneumonia",)])
    pictures = thumbnails_of(hits)
    for figure in (
        retrieval_figure(query(), hits, pictures, LOUD),
        cases_figure("Hardest", [Case(query(), hits)], pictures, LOUD),
        precision_figure([evaluation()], LOUD),
    ):
        banner = artists(figure, "notice")["notice"].get_text().replace("\n", " ")
        assert banner == LOUD.notice
        assert banner in " ".join(words(figure)).replace("\n", " ")


def test_images_keep_their_shape_and_missing_ones_say_so() -> None:
    hits = hits_of([("normal",), ("normal",)])
    wide = np.zeros((20, 60, 3), np.uint8)
    figure = retrieval_figure(
        Query(image=wide), hits, {hits[0].row.id: png(chest(1, ill=False))}, ORIGIN
    )
    assert words(figure).count("no image") == 1
    left, right, bottom, top = figure.axes[0].get_images()[0].get_extent()
    assert (right - left) / (bottom - top) == pytest.approx(3)
    # A 28-pixel film is drawn from more pixels than it has: smooth, not tiled.
    assert min(figure.axes[0].get_images()[1].get_array().shape) > 200


def test_cases_are_one_query_a_row() -> None:
    hits = hits_of([("normal",)] * 9)
    cases = [Case(query(), hits), Case(query(), hits[:2])]
    figure = cases_figure("Hardest", cases, thumbnails_of(hits), ORIGIN, columns=5)
    frames = figure.findobj(lambda one: str(one.get_gid() or "").startswith("frame:"))
    assert len(frames) == 7
    assert len({round(frame.get_y(), 3) for frame in frames}) == 2


def test_a_film_on_paper_is_a_picture_of_its_own_with_the_pixels_that_were_drawn() -> None:
    hits = hits_of([("pneumonia",)] * 3)
    big = {
        hit.row.id: np.kron(chest(hit.rank, ill=False), np.ones((20, 20), np.uint8)) for hit in hits
    }
    figure = retrieval_figure(query(), hits, big, ORIGIN)
    pdf, svg = pdf_bytes(figure), svg_bytes(figure)
    wide = [int(one) for one in re.findall(rb"/Subtype /Image [^>]*?/Width (\d+)", pdf)]
    wide += [int(one) for one in re.findall(rb"/Width (\d+)[^>]*?/Subtype /Image", pdf)]
    assert len(wide) == 4 and min(wide) >= 340  # 1.42 inches at 240 to the inch
    assert svg.count(b"<image ") == 4


def test_threads_draw_the_same_pictures() -> None:
    hits = hits_of([("pneumonia",), ("normal",)] * 3)
    pictures = thumbnails_of(hits)

    def draw(_: int) -> bytes:
        return png_bytes(retrieval_figure(query(), hits, pictures, ORIGIN))

    alone = draw(0)
    with ThreadPoolExecutor(4) as pool:
        assert all(drawn == alone for drawn in pool.map(draw, range(4)))


def test_no_global_figures() -> None:
    program = "import sys, ui.report.figures; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


def evaluation(**fields: Any) -> Evaluation:
    precision = {1: 0.94, 3: 0.93, 5: 0.92, 10: 0.91}
    return Evaluation(
        **{
            "protocol": "leave-one-out",
            "queries": 624,
            "gallery": 624,
            "precision": precision,
            "ci95": {k: (value - 0.02, value + 0.015) for k, value in precision.items()},
            "per_label": {},
            "map": 0.8,
            "vote": {},
            "hit_rate": precision,
            "baselines": {
                "random": {"precision": dict.fromkeys(precision, 0.53)},
                "raw_pixels": {"precision": {k: v - 0.06 for k, v in precision.items()}},
            },
            **fields,
        }
    )


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("any", "Relevant: shares a finding with the query"),
        ("jaccard", "Relevant: gain: Jaccard index of its findings and the query's"),
        ("finding=mass", "Relevant: agrees with the query on mass"),
    ],
)
def test_what_precision_means_stands_on_its_figure(name: str, said: str) -> None:
    measured = evaluation(
        relevance={"name": name, "definition": ""},
        excluded="patient",
        interval={"over": "patients", "units": 60, "method": "cluster bootstrap"},
    )
    figure = precision_figure([measured], ORIGIN)
    shown = " ".join(artists(figure, "subtitle")["subtitle"].get_text().split())
    assert said in shown
    assert "Films of the query's own patient are not in its ranking" in shown
    assert "95 % intervals over patients" in shown


def test_precision_is_drawn_as_measured() -> None:
    both = [evaluation(), evaluation(protocol="split", gallery=4708)]
    figure = precision_figure(both, ORIGIN, name="cxr-clip-28")
    for measured in both:
        panel = next(axes for axes in figure.axes if axes.get_gid() == f"panel:{measured.protocol}")
        lines = {str(line.get_gid()): line for line in panel.get_lines()}
        assert [*lines["series:encoder"].get_ydata()] == [*measured.precision.values()]
        for name, floor in measured.baselines.items():
            assert [*lines[f"series:{name.replace('_', ' ')}"].get_ydata()] == [
                *floor["precision"].values()
            ]
        series = [line for name, line in lines.items() if name.startswith("series:")]
        assert len({line.get_linestyle() for line in series}) == 3
        assert len({line.get_color() for line in series}) == 3
        bars = [container for container in panel.containers if container.has_yerr]
        drawn = [tuple(bar.lines[2][0].get_segments()[0][:, 1]) for bar in bars]
        assert np.allclose(drawn, [*measured.ci95.values()])
        shown = [text.get_text() for text in panel.texts]
        assert {f"{value:.3f}" for value in measured.precision.values()} <= set(shown)
        assert {"cxr-clip-28", "raw pixels", "random"} <= set(shown)
        low, high = panel.get_ylim()
        assert low <= 0.53
        assert high >= 1
    assert any("624 queries, gallery of 4,708" in text for text in words(figure))


def test_labels_of_equal_lines_do_not_cover_each_other() -> None:
    same = evaluation(baselines={"raw_pixels": {"precision": evaluation().precision}})
    figure = precision_figure([same], ORIGIN, name="pixels")
    png_bytes(figure)
    boxes = [
        text.get_window_extent() for text in figure.axes[1].texts if "pixels" in text.get_text()
    ]
    assert len(boxes) == 2
    assert not boxes[0].overlaps(boxes[1])


def test_precision_without_intervals_and_floors() -> None:
    figure = precision_figure([evaluation(ci95={}, baselines={})], ORIGIN)
    panel = figure.axes[1]
    assert not panel.containers
    assert "0.940" in [text.get_text() for text in panel.texts]


def test_a_shared_label_is_never_the_one_cut_off() -> None:
    many = ("atelectasis", "cardiomegaly", "consolidation", "pneumonia")
    hits = hits_of([many])
    figure = retrieval_figure(query(), hits, thumbnails_of(hits), ORIGIN)
    assert any(text.startswith("pneumonia") and text.endswith("…") for text in words(figure))


def test_shortened_text_stays_within_its_tile() -> None:
    long = Row("nih/images_001/a very long folder name/00027426_000.png", b"", labels=("m" * 90,))
    hits = [Hit(place, 0.5, long) for place in (1, 2)]
    figure = retrieval_figure(query(), hits, {}, ORIGIN)
    frame = next(iter(artists(figure, "frame:").values())).get_window_extent()
    cut = figure.findobj(lambda one: "…" in getattr(one, "get_text", str)())
    assert len(cut) >= 4
    for text in cut:
        box = text.get_window_extent()
        assert box.width <= frame.width
    footer = artists(figure, "footer")["footer"].get_window_extent()
    assert footer.x1 < figure.bbox.x1
