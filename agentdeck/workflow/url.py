"""Templates of urls: each value is percent-encoded for its place in the url.

A value is data and never structure: `a&b` stays one parameter and `@other-host/` stays one part of a path. Two
places take more than text. A value that is the whole url (`${inputs.url}`) is read as a url, and a value inside
the host (`https://${inputs.region}.example.com/`) chooses which server gets the request. In both cases
`from_value` is true, and the request is sent only to hosts that the file lists (`hosts`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from enum import Enum
from urllib.parse import quote, unquote

from agentdeck.errors import AgentdeckError
from agentdeck.workflow.expressions import Expression, ExpressionError, Scope, show, split

_SCHEME = re.compile(r"\s*https?://", re.IGNORECASE)
_HOST = re.compile(r"(?:[^\s/?#@\\%:\[\]\x00-\x1f\x7f]*|\[[0-9a-fA-F:.]+\])(?::[0-9]{1,5})?")
_PORT = re.compile(r"[0-9]{1,5}")
_LISTED = re.compile(r"\*|(?:\*\.)?[^\s/?#@\\%:\[\]*]+(?::[0-9]{1,5})?|\[[0-9a-fA-F:.]+\](?::[0-9]{1,5})?")


class UrlError(AgentdeckError):
    """A value that is not possible in its place."""


class Place(Enum):
    """The part of a url that contains a value."""

    WHOLE = "whole"
    USERINFO = "userinfo"
    HOST = "host"
    PORT = "port"
    PATH = "path"
    QUERY = "query"
    FRAGMENT = "fragment"


class UrlTemplate:
    """A compiled url. `from_value` says whether its host depends on a value. Raises ExpressionError for a text
    that is not a template, or has a value before `://`."""

    __slots__ = ("_parts", "from_value", "references")

    def __init__(self, text: str) -> None:
        parts = split(text)
        self._parts: list[tuple[str | Expression, Place]] = list(zip(parts, _places(parts), strict=True))
        values = [(part, place) for part, place in self._parts if isinstance(part, Expression)]
        self.references = frozenset(name for part, _ in values for name in part.references)
        self.from_value = any(place in (Place.WHOLE, Place.HOST) for _, place in values)

    def render(self, scope: Scope) -> str:
        """The url. Raises UrlError for a value that is not possible in its place, ExpressionError for a value
        that cannot be computed."""
        found: list[tuple[str, Place, bool]] = []
        for part, place in self._parts:
            if isinstance(part, Expression):
                found.append((_encode(show(part.evaluate(scope)), place, part), place, True))
            else:
                found.append((part, place, False))
        _refuse_dot_segments(found)
        return "".join(text for text, _, _ in found).strip()


def check_listed(text: str) -> None:
    """Raises ValueError for a text that is not possible in `hosts`."""
    if not _LISTED.fullmatch(text):
        raise ValueError(
            f"{text!r} is not a host; write it like api.example.com, api.example.com:8443 or *.example.com"
        )


def is_listed(host: str, port: int, hosts: Sequence[str]) -> bool:
    """Whether `hosts` names this host: as it is, with its port, as `*.domain`, or by `*`."""
    host = host.lower().strip("[]").rstrip(".")
    for listed in hosts:
        name, its_port = _split_port(listed.lower())
        if its_port is not None and its_port != port:
            continue
        if name == "*" or name == host or (name[:2] == "*." and host.endswith(name[1:]) and host != name[2:]):
            return True
    return False


def _split_port(listed: str) -> tuple[str, int | None]:
    name, colon, port = listed.rpartition(":")
    if colon and port.isdecimal() and (name.endswith("]") or ":" not in name):
        return _ascii(name.strip("[]")), int(port)
    return _ascii(listed.strip("[]")), None


def _ascii(name: str) -> str:
    """The name that is resolved: international names are encoded."""
    if name.isascii():
        return name.rstrip(".")
    star, name = ("*.", name[2:]) if name.startswith("*.") else ("", name)
    try:
        return star + name.encode("idna").decode().rstrip(".")
    except UnicodeError:
        return star + name


def _places(parts: Sequence[str | Expression]) -> list[Place]:
    """The place of each part. Literal text gets the place where it ends."""
    if len(parts) == 1 and isinstance(parts[0], Expression):
        return [Place.WHOLE]
    if not any(isinstance(part, Expression) for part in parts):
        return [Place.PATH for _ in parts]
    first = parts[0]
    scheme = _SCHEME.match(first) if isinstance(first, str) else None
    if scheme is None:
        raise ExpressionError(
            "a url with values in it begins with http:// or https://, or is one value as a whole"
        )
    places, place = [], Place.HOST
    authority: list[tuple[int, str]] = []  # the literal text of the authority, by part; "" for a value
    for number, part in enumerate(parts):
        if isinstance(part, str):
            text = part[scheme.end() :] if number == 0 else part
            if place is Place.HOST:
                authority.append((number, re.split(r"[/?#]", text, maxsplit=1)[0]))
            place = _after(text, place)
        elif place is Place.HOST:
            authority.append((number, ""))
        places.append(place)
    for number, inner in _inside_authority(parts, authority):
        places[number] = inner
    return places


def _after(text: str, place: Place) -> Place:
    """The place of a value that follows this text."""
    for char in text:
        if char == "#":
            return Place.FRAGMENT
        if char == "?" and place in (Place.HOST, Place.PATH):
            place = Place.QUERY
        elif char == "/" and place is Place.HOST:
            place = Place.PATH
    return place


def _inside_authority(
    parts: Sequence[str | Expression], authority: Sequence[tuple[int, str]]
) -> Iterator[tuple[int, Place]]:
    """The places of values inside `user:password@host:port`."""
    at = max((i for i, (_, text) in enumerate(authority) if "@" in text), default=-1)
    literal = ""
    fixed = True  # the host so far is literal text
    for i, (number, text) in enumerate(authority):
        is_value = isinstance(parts[number], Expression)
        if i < at:
            if is_value:
                yield number, Place.USERINFO
            continue
        if not is_value:
            literal += text.rpartition("@")[2] if i == at else text
        elif fixed and len(literal) > 1 and literal.endswith(":") and (":" not in literal[:-1] or "]" in literal):
            yield number, Place.PORT
        else:
            fixed = False
            yield number, Place.HOST


def _encode(text: str, place: Place, part: Expression) -> str:
    if place is Place.WHOLE:
        return text
    if place in (Place.HOST, Place.PORT):
        if not (_HOST if place is Place.HOST else _PORT).fullmatch(text):
            what = "host" if place is Place.HOST else "port"
            raise UrlError(f"the value of ${{{part.text.strip()[:60]}}} is not allowed in the {what} of a url")
        return text
    return quote(text, safe="", errors="replace")


def _refuse_dot_segments(found: Sequence[tuple[str, Place, bool]]) -> None:
    """Refuses a value that makes `.` or `..` of a part of the path: clients resolve these to another path."""
    segment, valued = "", False
    for text, place, is_value in found:
        if place is Place.WHOLE:
            return
        if is_value:
            if place is Place.PATH:
                segment, valued = segment + text, True
            continue
        pieces = re.split(r"[/?#]", text)
        segment += pieces[0]
        if len(pieces) > 1:
            _refuse_dots(segment, valued)
            segment, valued = pieces[-1], False
    _refuse_dots(segment, valued)


def _refuse_dots(segment: str, valued: bool) -> None:
    if valued and unquote(segment).strip() in (".", ".."):
        raise UrlError(f"a value turns a segment of the url's path into {unquote(segment)!r}")
