"""Text from agents, made harmless for a terminal: it cannot move the cursor, hide, or turn text around, and it
is as wide in every terminal as it is counted here."""

from __future__ import annotations

import re

#: CSI, OSC (and DCS, SOS, PM, APC) up to their end or the end of the line, and two-character escapes.
_ESCAPES = re.compile(
    "(?:\x1b\\[|\x9b)[0-?]*[ -/]*[@-~]?"
    "|(?:\x1b[\\]PX^_]|[\x90\x98\x9d\x9e\x9f])[^\x07\x1b\x9c\n]*(?:\x07|\x9c|\x1b\\\\)?"
    "|\x1b[ -/]*[0-~]?"
)
#: C0 without tab and newline, DEL, C1, zero-width, direction overrides and isolates, line separators, surrogates.
_CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)

#: What terminals disagree on how wide it is: variation selectors, keycaps, skin tones, fillers, halves of flags.
_UNSTEADY = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u20e3\u3164\ufe00-\ufe0f\uffa0\U0001f3fb-\U0001f3ff"
    "\U000e0100-\U000e01ef\U0001f1e6-\U0001f1ff]"
)
_FLAGS = {0x1F1E6 + i: chr(ord("A") + i) for i in range(26)}


def escaped(json: str) -> str:
    """JSON in which such characters are written as escapes: the same data, harmless for a terminal."""
    plain = _CONTROLS.sub(lambda found: _escape(found[0]), json)
    return plain if plain.isascii() else _UNSTEADY.sub(lambda found: _escape(found[0]), plain)


def _escape(character: str) -> str:
    code = ord(character)
    if code < 0x10000:
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"


def dotted(text: str) -> str:
    """As long as it was, with a dot for each character that would not be shown: for text that is being edited."""
    if text.isascii() and text.isprintable():
        return text
    return _UNSTEADY.sub("·", _CONTROLS.sub("·", text.replace("\n", "·").replace("\t", "·")))


def clean(text: str, *, lines: bool = False) -> str:
    """Without control characters, escape sequences, zero-width and direction characters, and what has no width
    of its own; a tab is a space, a flag its two letters.

    `lines` keeps newlines; else each run of them is a space.
    """
    text = text.replace("\r\n", "\n")
    if "\x1b" in text or _CONTROLS.search(text):
        text = _CONTROLS.sub("", _ESCAPES.sub("", text))
    if not text.isascii() and _UNSTEADY.search(text):
        text = _UNSTEADY.sub("", text.translate(_FLAGS))
    text = text.replace("\t", " ")
    return text if lines or "\n" not in text else " ".join(text.splitlines())
