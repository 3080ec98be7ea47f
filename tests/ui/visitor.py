"""A visitor without a browser: speaks the dashboard's own protocol over a websocket.

Twenty of them cost next to nothing, so that a load test measures the server. What it keeps is what
a browser keeps: the elements by their place, the messages it was told to remember, the widgets.
"""

from __future__ import annotations

import re
import socket
import time
from html import unescape
from urllib.parse import urlsplit

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.Element_pb2 import Element
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.WidgetStates_pb2 import WidgetState
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

_TAG = re.compile(r"<[^>]+>")


class Visitor:
    """One open window."""

    def __init__(
        self,
        url: str,
        link: str = "",
        timeout: float = 60,
        *,
        headers: dict[str, str] | None = None,
        origin: str | None = None,
        host: str | None = None,
    ) -> None:
        place = urlsplit(url)
        self.timeout = timeout
        self._socket = connect(
            f"ws://{host or place.hostname}:{place.port}/_stcore/stream",
            sock=socket.create_connection((place.hostname, place.port)),
            origin=origin or url,
            subprotocols=["streamlit"],
            additional_headers=headers,
            max_size=64 << 20,
        )
        self.link = link
        self._page = ""
        self._elements: dict[tuple[int, ...], Element] = {}
        self._remembered: dict[str, ForwardMsg] = {}
        self._widgets: dict[str, WidgetState] = {}
        self._followed: list[tuple[float, str]] = []
        self._looked = time.monotonic()
        self.problems: list[str] = []
        self.pages: list[str] = []
        self.session, self.usage_stats = "", True
        self.took = self.run()

    def close(self) -> None:
        """Close the window; fails when the app broke in it."""
        self._socket.close()
        assert not self.problems, self.problems

    # -- what is on the page -------------------------------------------------------------------

    def elements(self, kind: str) -> list:
        """What the page shows of one kind, from top to bottom."""
        return [
            getattr(element, kind)
            for _, element in sorted(self._elements.items())
            if element.WhichOneof("type") == kind
        ]

    def html(self) -> str:
        """All HTML of ours."""
        found = [one.body for one in self.elements("html")]
        return "\n".join(body for body in found if not body.startswith("<style>"))

    def text(self) -> str:
        """What the page says, tags removed."""
        said = [one.body for one in self.elements("markdown")]
        said += [one.body for one in self.elements("alert")]
        return unescape(_TAG.sub(" ", self.html())) + "\n" + "\n".join(said).replace("\\", "")

    # -- what a visitor does -------------------------------------------------------------------

    def press(self, label: str, at: int = 0) -> float:
        """Press the button with this label; seconds until the page is drawn."""
        found = [one for one in self.elements("button") if one.label.endswith(label)]
        if not found:
            raise LookupError(f"no button {label!r}; the page says: {self.text()[:500]}")
        pressed = WidgetState(id=found[min(at, len(found) - 1)].id, trigger_value=True)
        return self.run(pressed)

    def write(self, label: str, text: str, button: str) -> float:
        """Fill the field with this label and press its button."""
        [field] = [one for one in self.elements("text_input") if one.label == label]
        self._widgets[field.id] = WidgetState(id=field.id, string_value=text)
        return self.press(button)

    def look(self) -> None:
        """What the browser does by itself every two seconds: follow the gallery."""
        self._looked = time.monotonic()
        for _, fragment in list(self._followed):
            self._ask(fragment=fragment)
            self._read()

    def idle(self, seconds: float) -> None:
        """Leave the window open, following the gallery."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(max(0.0, min(end, self._looked + 2) - time.monotonic()))
            if time.monotonic() >= self._looked + 2:
                self.look()

    def run(self, pressed: WidgetState | None = None) -> float:
        """Run the page; seconds until it is drawn."""
        began = time.monotonic()
        self._ask(pressed)
        self._read()
        if self._looked + 2 < time.monotonic():
            self.look()
        return time.monotonic() - began

    # -- the protocol --------------------------------------------------------------------------

    def _ask(self, pressed: WidgetState | None = None, fragment: str = "") -> None:
        message = BackMsg()
        state = message.rerun_script
        state.query_string = self.link
        state.page_script_hash = self._page
        state.fragment_id = fragment
        state.is_auto_rerun = bool(fragment)
        state.cached_message_hashes.extend(self._remembered)
        states = [*self._widgets.values(), *([pressed] if pressed else [])]
        state.widget_states.widgets.extend(states)
        self._socket.send(message.SerializeToString())

    def _read(self) -> None:
        """Messages until the script has finished, and has not asked for another run."""
        end = time.monotonic() + self.timeout
        while True:
            try:
                message = ForwardMsg.FromString(self._socket.recv(end - time.monotonic()))
            except ConnectionClosed as error:
                raise AssertionError(f"the server closed the window: {error}") from error
            if self._take(message):
                return

    def _take(self, message: ForwardMsg) -> bool:
        kind = message.WhichOneof("type")
        if kind == "ref_hash":
            kept = self._remembered[message.ref_hash]
            metadata = message.metadata
            message = ForwardMsg()
            message.CopyFrom(kept)
            message.metadata.CopyFrom(metadata)
            kind = message.WhichOneof("type")
        elif message.metadata.cacheable and message.hash:
            self._remembered[message.hash] = message
        if kind == "new_session":
            if not message.metadata.run.fragment_ids:
                self._elements.clear()
                self._followed.clear()
            self.session = message.new_session.initialize.session_id
            self.usage_stats = message.new_session.config.gather_usage_stats
            self._page = message.new_session.page_script_hash
        elif kind == "navigation":
            self.pages = [page.page_name for page in message.navigation.app_pages]
        elif kind == "page_info_changed":
            self.link = message.page_info_changed.query_string
        elif kind == "auto_rerun":
            self._followed.append((message.auto_rerun.interval, message.auto_rerun.fragment_id))
        elif kind == "delta" and message.delta.WhichOneof("type") == "new_element":
            element = message.delta.new_element
            self._elements[tuple(message.metadata.delta_path)] = element
            if element.WhichOneof("type") == "exception":
                self.problems.append(f"{element.exception.type}: {element.exception.message}")
        elif kind == "script_finished":
            status = ForwardMsg.ScriptFinishedStatus.Name(message.script_finished)
            if "COMPILE_ERROR" in status or "FATAL" in status:
                self.problems.append(status)
            return "EARLY" not in status
        return False
