"""Signing in, end to end in a browser, against a provider that the test serves itself."""

from __future__ import annotations

import re
import shutil

import pytest

from store import Gallery, UsageError
from tests.ui import browser
from tests.ui.served.test_search_page import expect
from tests.ui.visitor import Visitor
from ui.dashboard import sign_in as signin

pytest.importorskip("authlib", reason="the extra sign-in is not installed")

FILE = """[auth]
redirect_uri = "http://127.0.0.1:{port}/oauth2callback"
cookie_secret = "0123456789abcdef0123456789abcdef"
client_id = "cxr-dashboard"
client_secret = "a client secret of the stand-in"
server_metadata_url = "{provider}/.well-known/openid-configuration"

[visitors]
emails = ["ada@example.org", "@hospital.example"]
curators = ["ada@example.org"]
"""


@pytest.fixture(scope="module")
def store(drawn, tmp_path_factory):
    """A gallery of its own, which visitors may change."""
    place = tmp_path_factory.mktemp("signin") / "gallery"
    shutil.copytree(drawn[0], place, ignore=shutil.ignore_patterns("readers"))
    return place


@pytest.fixture(scope="module")
def served(drawn, store, tmp_path_factory):
    """(dashboard that asks for sign-in, its provider)."""
    from tests.ui.provider import provider

    root = store.parent
    port = browser.free_port()
    file = root / "sign-in.toml"
    with provider() as one:
        file.write_text(FILE.format(port=port, provider=one.url))
        file.chmod(0o600)
        options = ["--sign-in", str(file), "--allow-ingest"]
        with browser.serving(store, drawn[1], root / "home", options, port=port) as found:
            yield found, one


@pytest.mark.parametrize("link", ["", "id=drawn/test/103"])
def test_unsigned_visitors_get_nothing_but_the_sign_in_page(served, link):
    board, _ = served
    window = Visitor(board.url, link)
    said = window.text() + window.html()
    assert "Sign in" in [button.label for button in window.elements("button")]
    for secret in ("drawn", "films</span>", "tiny-clip", "gallery", "table version"):
        assert secret not in said
    window.close()


def sign_in(page, board):
    page.goto(board.url)
    page.get_by_role("button", name="Sign in").click()


class TestInABrowser:
    pytestmark = pytest.mark.browser

    def test_in_and_out_again(self, served, page):
        board, one = served
        one.claims = {"sub": "1", "email": "Ada@example.org", "email_verified": True}
        before = one.tokens
        sign_in(page, board)
        page.get_by_text("drawn: 60 films").wait_for()
        assert one.tokens == before + 1
        expect(page.get_by_text(re.compile("Signed in as Ada@\u2060?example.org"))).to_have_count(1)
        expect(page.get_by_role("link", name="Batches")).to_have_count(1)
        expect(page.get_by_role("link", name="Changes")).to_have_count(1)
        cookies = {one["name"]: one for one in page.context.cookies()}
        assert cookies["_streamlit_user"]["httpOnly"]
        page.get_by_role("button", name="Sign out").click()
        for path in ("", "/store", "/evaluation", "/batches"):
            if path:
                page.goto(board.url + path)
            page.get_by_role("button", name="Sign in").wait_for()
            expect(page.get_by_text(re.compile("drawn|tiny-clip|table version"))).to_have_count(0)

    def test_a_colleague_sees_films_but_no_batches(self, served, page):
        board, one = served
        one.claims = {"sub": "2", "email": "bo@hospital.example"}
        sign_in(page, board)
        page.get_by_text("drawn: 60 films").wait_for()
        expect(page.get_by_role("link", name="Batches")).to_have_count(0)
        page.goto(f"{board.url}/batches")
        page.get_by_text("drawn: 60 films").wait_for()
        expect(page.get_by_role("heading", name="Add films")).to_have_count(0)
        page.goto(f"{board.url}/film?id=drawn/test/103")
        page.get_by_role("button", name="More like this").first.wait_for()
        expect(page.get_by_text("Curate this film")).to_have_count(0)

    def test_changes_are_noted_under_the_name_of_who_signed_in(self, served, store, page):
        board, one = served
        one.claims = {"sub": "1", "email": "Ada@example.org", "email_verified": True}
        sign_in(page, board)
        page.get_by_text("drawn: 60 films").wait_for()
        page.goto(f"{board.url}/film?id=drawn/test/103")
        page.get_by_text("Curate this film").click()
        page.get_by_role("button", name="Labels are right").click()
        page.get_by_text("1 film: labels confirmed").first.wait_for()
        [told] = Gallery.open(store).curation().operations()
        assert (told.kind, told.who) == ("confirm", "Ada@example.org")

    @pytest.mark.parametrize(
        "claims",
        [
            {"sub": "3", "email": "eve@elsewhere.example"},
            {"sub": "4", "email": "ada@example.org", "email_verified": False},
            {"sub": "5", "name": "<b>nobody</b>"},
        ],
    )
    def test_others_are_told_that_they_are_not_on_the_list(self, served, page, claims):
        board, one = served
        one.claims = claims
        sign_in(page, board)
        page.get_by_role("heading", name="Not on the list").wait_for()
        expect(page.get_by_text("drawn: 60 films")).to_have_count(0)
        expect(page.locator("[data-testid=stMain] b")).to_have_count(0)


def test_a_forged_cookie_lets_nobody_in(served):
    import urllib.request

    board, _ = served
    request = urllib.request.Request(
        f"{board.url}/_stcore/health", headers={"Cookie": "_streamlit_user=forged"}
    )
    assert urllib.request.urlopen(request, timeout=60).status == 200
    window = Visitor(board.url, headers={"Cookie": "_streamlit_user=forged.by.hand"})
    assert "Sign in" in [button.label for button in window.elements("button")]
    window.close()


@pytest.mark.parametrize(
    ("user", "enters", "curates"),
    [
        ({"email": "ada@example.org"}, True, True),
        ({"email": " ADA@example.org "}, True, True),
        ({"email": "bo@hospital.example"}, True, False),
        ({"email": "bo@evil.example?@hospital.example.evil"}, False, False),
        ({"email": "hospital.example"}, False, False),
        ({"email": "@hospital.example", "email_verified": False}, False, False),
        ({"email": ""}, False, False),
        ({}, False, False),
    ],
)
def test_who_is_on_the_list(user, enters, curates):
    visitors = {"emails": ["ada@example.org", "@Hospital.example"], "curators": ["ada@example.org"]}
    assert signin.enters(user, visitors) is enters
    assert signin.curates(user, visitors) is curates
    assert signin.enters(user, {}) is True
    assert signin.enters(user, {"emails": []}) is False


@pytest.mark.parametrize(
    ("text", "mode", "said"),
    [
        ("not [ toml", 0o600, "no TOML"),
        ("", 0o600, "lacks redirect_uri"),
        (FILE, 0o644, "chmod 600"),
        (FILE.replace("/oauth2callback", "/"), 0o600, "redirect_uri"),
        (FILE.replace("0123456789abcdef0123", "0"), 0o600, "cookie_secret needs 32"),
        (FILE.replace('["ada@example.org"]', '"ada@example.org"'), 0o600, "curators must be a"),
    ],
)
def test_a_sign_in_file_that_would_not_protect_is_refused(tmp_path, text, mode, said):
    file = tmp_path / "sign-in.toml"
    file.write_text(text.replace("{port}", "8501").replace("{provider}", "https://x.example"))
    file.chmod(mode)
    with pytest.raises(UsageError, match=said) as refused:
        signin.check_file(file)
    assert "0123456789abcdef" not in str(refused.value)
    assert "stand-in" not in str(refused.value)
