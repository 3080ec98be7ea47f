"""What the browser makes of stored values is what the pixel reader makes of them."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
import pytest

import ui.dashboard.film
from ingest.originals.decode import decode_original
from ingest.originals.picture import picture
from tests.ingest import films as files
from ui.dashboard.originals import header

pytestmark = pytest.mark.browser
SCRIPTS = Path(ui.dashboard.film.__file__).with_name("js")
GREYS = """([bytes, setting]) => {
  const data = Uint8Array.from(atob(bytes), (one) => one.charCodeAt(0));
  const answer = new Response(data, { headers: { "content-type": "application/octet-stream" } });
  return read(answer).then((film) => film.presets.map(({ name }) => {
    const table = greys(film, { ...TONES, preset: name });
    let drawn = ""; // as bytes: a list of numbers takes Playwright seconds
    for (const value of film.levels[0].data) drawn += String.fromCharCode(table[value & 0xffff]);
    return btoa(drawn);
  }));
}"""


def table() -> list:
    """A VOI LUT of 8 bits that rises by a root."""
    from pydicom.dataset import Dataset

    found = Dataset()
    found.add_new(0x00283002, "US", [4096, 0, 8])
    rising = np.sqrt(np.arange(4096) / 4095) * 255
    found.add_new(0x00283006, "OW", rising.astype("<u2").tobytes())
    return [found]


def kinds() -> dict[str, bytes]:
    """Films of each way from stored values to grey."""
    ramp = np.arange(0, 4096, 7, dtype=np.uint16)[: 24 * 24].reshape(24, 24)
    known = {"BitsStored": 12, "HighBit": 11}
    window = {"WindowCenter": "1500", "WindowWidth": "1201"}
    signed = ramp.astype(np.int16) - 2048
    scaled = {"RescaleSlope": "-2.5", "RescaleIntercept": "4000"}
    return {
        "linear": files.film(ramp, **known, **window),
        "exact": files.film(ramp, **known, **window, VOILUTFunction="LINEAR_EXACT"),
        "sigmoid": files.film(ramp, **known, **window, VOILUTFunction="SIGMOID"),
        "inverted": files.film(ramp, **known, **window, PhotometricInterpretation="MONOCHROME1"),
        "negative slope": files.film(ramp, **known, **window, **scaled),
        "signed": files.film(
            signed, WindowCenter="-300", WindowWidth="900", BitsStored=16, HighBit=15
        ),
        "table": files.film(ramp, **known, VOILUTSequence=table()),
        "no window": files.film(ramp, **known),
        "png of 16 bits": files.encoded(files.Image.fromarray(ramp * 16)),
        "png of 8 bits": files.png(3, 24),
    }


@pytest.fixture(scope="module")
def scripts(chromium):
    page = chromium.new_page()  # no page of the app
    names = ("samples", "tones", "place")
    page.add_script_tag(
        content="\n".join((SCRIPTS / f"{one}.js").read_text("utf-8") for one in names)
    )
    yield page
    page.close()


@pytest.mark.parametrize("kind", list(kinds()))
def test_greys_are_those_of_the_pixel_reader(scripts, kind):
    agree(scripts, kinds()[kind], kind, longest=24)


def test_greys_of_real_films_are_those_of_the_pixel_reader(scripts, data):
    found = [*(data.parent / "cases" / "dicom").glob("*.dcm")]
    found += [*(data.parent / "cases" / "images").iterdir()]
    assert len(found) > 10
    for path in found:
        agree(scripts, path.read_bytes(), path.name, longest=256)


def agree(scripts, data: bytes, name: str, longest: int) -> None:
    """The browser's greys of every preset are the picture's, to a step of rounding."""
    film = decode_original(data, name)
    sent = header(film) + film.values.tobytes()
    found = scripts.evaluate(GREYS, [base64.b64encode(sent).decode(), {}])
    assert len(found) == len(film.presets) >= 2
    for preset, drawn in zip(film.presets, found, strict=True):
        expected = picture(film, longest, preset).ravel().astype(int)
        greys = np.frombuffer(base64.b64decode(drawn), np.uint8)
        assert np.abs(greys - expected).max() <= 1, (name, preset.name)


def test_a_length_is_in_the_files_millimetres_and_turns_are_told(scripts):
    told = scripts.evaluate(
        """() => [
          length({ spacing: [0.2, 0.1], spacing_plane: "patient" }, [0, 0, 30, 20]),
          length({ spacing: null, own: true }, [0, 0, 3, 4]),
          turned({ way: TURNS.right(TURNS.right(PLACE.way)) }),
          turned({ way: TURNS.left(TURNS.right(PLACE.way)) }),
          turned({ way: TURNS.upend(TURNS.right(TURNS.right(PLACE.way))) }),
        ]"""
    )
    assert told == [
        "5.0 mm in the patient plane",
        "5 pixels, size unknown",
        "turned by 180°: left is right, top is bottom",
        "",
        "mirrored: left is right",
    ]
