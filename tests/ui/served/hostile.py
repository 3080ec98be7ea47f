"""Films of which everything that is said is hostile: markup, directives, formulas."""

from __future__ import annotations

from dataclasses import replace

from ingest import ImageRecord
from tests.ui.films import film

HTML = '"><img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'
STYLE = "</style><svg onload=window.hacked=1>"
MARKDOWN = "**INJECTED** [a](http://evil.example/) ![p](http://evil.example/p.png) `x`"
DIRECTIVES = ":red[INJECTED] $\\frac{1}{2}$ :material/home: <b>INJECTED</b>"
ODD = "\u202edrow \u2028 =cmd()|'/C calc'!A0"
NASTY = [HTML, STYLE, MARKDOWN, DIRECTIVES, ODD]


def films() -> list[ImageRecord]:
    """30 of them, with every kind of text as id, label, split, data set, patient and own column."""
    return [
        replace(
            film(number, split, of=number % 12),
            id=f"{nasty}/{number}",
            labels=(nasty, NASTY[(number + 1) % len(NASTY)])[: 1 + number % 2],
            uncertain=(NASTY[(number + 2) % len(NASTY)],),
            absent=(MARKDOWN,),
            split=split,
            dataset=nasty,
            patient=nasty,
            extra={"caption": nasty},
        )
        for number in range(30)
        for nasty, split in [(NASTY[number % len(NASTY)], ("test", HTML)[number % 2])]
    ]
