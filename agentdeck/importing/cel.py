"""Translates expressions of CEL, which CrewAI's flows are written in, into those of workflow files.

Only what means the same in both is translated. Division is not: CEL divides whole numbers to whole numbers.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from agentdeck.importing.imported import Expression, quoted

#: What a name and its fields become: `("outputs", "score", "raw")` is an agent's result, say. Raises CelError.
Resolve = Callable[[Sequence[str]], str]

_TOKEN = re.compile(
    r"""\s*(?:
    (?P<number>\d+\.\d+|\d+)(?![\w.])
    | (?P<string>'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*")
    | (?P<name>[A-Za-z_]\w*)
    | (?P<sign>&&|\|\||==|!=|<=|>=|[-+*<>!?:.,()\[\]{}])
    )""",
    re.X,
)
#: Binary operators by how tightly they bind, with what they are here.
_LEVELS: list[dict[str, str]] = [
    {"||": "or"},
    {"&&": "and"},
    {"==": "==", "!=": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">=", "in": "in"},
    {"+": "+", "-": "-"},
    {"*": "*"},
]
_FUNCTIONS = {"string": "str", "size": "len", "int": "int", "double": "float"}
_METHODS = {
    "size": "len({0})",
    "contains": "({1} in {0})",
    "lowerAscii": "lower({0})",
    "upperAscii": "upper({0})",
}
MAX_DEPTH = 50


class CelError(ValueError):
    """An expression that is not translated, with the reason."""


class _Token(NamedTuple):
    kind: str
    text: str


def translate(text: str, resolve: Resolve) -> str:
    """The expression of a workflow that means the same. Raises CelError."""
    source = text.strip()
    if source.startswith("${") and source.endswith("}"):
        source = source[2:-1]
    return _Parser(source, resolve).whole()


def template_parts(text: str, resolve: Resolve) -> list[str | Expression]:
    """The parts of a text with `${…}` in CEL. Raises CelError."""
    parts: list[str | Expression] = []
    at = 0
    while (start := text.find("${", at)) >= 0:
        end = _closing(text, start + 2)
        parts += [text[at:start], Expression(translate(text[start + 2 : end], resolve))]
        at = end + 1
    return [*parts, text[at:]]


def _closing(text: str, at: int) -> int:
    depth, quote = 0, ""
    for i in range(at, len(text)):
        char = text[i]
        if quote:
            quote = "" if char == quote and text[i - 1] != "\\" else quote
        elif char in "'\"":
            quote = char
        elif char == "{":
            depth += 1
        elif char == "}":
            if depth == 0:
                return i
            depth -= 1
    raise CelError("`${` without its `}`")


def _string(text: str) -> str:
    try:
        return quoted(ast.literal_eval(text))
    except (SyntaxError, ValueError):
        raise CelError(f"{text[:20]} is not translated") from None


class _Parser:
    """A recursive descent over the tokens of one expression."""

    def __init__(self, text: str, resolve: Resolve) -> None:
        self.resolve = resolve
        self.tokens: list[_Token] = []
        self.at = self.depth = 0
        place = 0
        while text[place:].strip():
            found = _TOKEN.match(text, place)
            if found is None:
                raise CelError(f"{text[place:].strip()[:20]} is not translated")
            self.tokens.append(_Token(found.lastgroup or "", found[found.lastgroup or 0]))
            place = found.end()

    def whole(self) -> str:
        found = self.ternary()
        if self.at < len(self.tokens):
            raise CelError(f"{self.tokens[self.at].text} is not expected here")
        return found

    def next_is(self, *texts: str) -> str:
        """The next token, taken, if it is one of these; else ""."""
        if self.at < len(self.tokens) and self.tokens[self.at].kind != "string":
            text = self.tokens[self.at].text
            if text in texts:
                self.at += 1
                return text
        return ""

    def expect(self, text: str) -> None:
        if not self.next_is(text):
            raise CelError(f"{text} is missing")

    def ternary(self) -> str:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise CelError("it is nested too deep")
        found = self.binary(0)
        if self.next_is("?"):
            yes = self.ternary()
            self.expect(":")
            found = f"{f'({yes})' if ' if ' in yes else yes} if {found} else {self.ternary()}"
        self.depth -= 1
        return found

    def binary(self, level: int) -> str:
        if level == len(_LEVELS):
            return self.unary()
        found = self.binary(level + 1)
        compared = False
        while sign := self.next_is(*_LEVELS[level]):
            if compared and level == 2:  # `a < b < c` means something else in Python
                raise CelError("a comparison of a comparison is not translated")
            compared = True
            found = f"{found} {_LEVELS[level][sign]} {self.binary(level + 1)}"
        return found  # operators bind as in Python, and what stands in parentheses keeps them

    def unary(self) -> str:
        if self.next_is("!"):
            return f"(not {self.unary()})"
        if self.next_is("-"):
            return f"-{self.unary()}"
        return self.member()

    def member(self) -> str:
        if self.at >= len(self.tokens):
            raise CelError("it ends too early")
        kind, text = self.tokens[self.at]
        if kind == "name" and text not in ("true", "false", "null") and not self.is_call(self.at):
            return self.path()
        found = self.primary()
        while sign := self.next_is(".", "["):
            found = self.after(found, sign)
        return found

    def is_call(self, at: int) -> bool:
        return at + 1 < len(self.tokens) and self.tokens[at + 1] == _Token("sign", "(")

    def path(self) -> str:
        """A name and its fields, then what is called on it."""
        names = [self.tokens[self.at].text]
        self.at += 1
        while self.at + 1 < len(self.tokens) and self.tokens[self.at] == _Token("sign", "."):
            if self.tokens[self.at + 1].kind != "name" or self.is_call(self.at + 1):
                break
            names.append(self.tokens[self.at + 1].text)
            self.at += 2
        found = self.resolve(names)
        while sign := self.next_is(".", "["):
            found = self.after(found, sign)
        return found

    def after(self, found: str, sign: str) -> str:
        """A field, an index or a method of a value."""
        if sign == "[":
            index = self.ternary()
            self.expect("]")
            return f"{found}[{index}]"
        name = self.name()
        if not self.next_is("("):
            return f"{found}.{name}"
        given = self.arguments(")")
        if name not in _METHODS or len(given) != _METHODS[name].count("{1}"):
            raise CelError(f"{name}() is not translated")
        return _METHODS[name].format(found, *given)

    def name(self) -> str:
        if self.at >= len(self.tokens) or self.tokens[self.at].kind != "name":
            raise CelError("a name is missing after the dot")
        self.at += 1
        return self.tokens[self.at - 1].text

    def primary(self) -> str:
        kind, text = self.tokens[self.at]
        self.at += 1
        if kind == "number":
            return text
        if kind == "string":
            return _string(text)
        if kind == "name" and text in ("true", "false", "null"):
            return text
        if kind == "name":
            self.expect("(")
            given = self.arguments(")")
            if text == "has" and len(given) == 1:
                return f"({given[0]} != null)"
            if text not in _FUNCTIONS or len(given) != 1:
                raise CelError(f"{text}() is not translated")
            return f"{_FUNCTIONS[text]}({given[0]})"
        if text == "(":
            inner = self.ternary()
            self.expect(")")
            return f"({inner})"
        if text == "[":
            return f"[{', '.join(self.arguments(']'))}]"
        if text == "{":
            return self.map()
        raise CelError(f"{text} is not expected here")

    def arguments(self, end: str) -> list[str]:
        """Values with commas between them, up to `end`."""
        found: list[str] = []
        while not self.next_is(end):
            if found:
                self.expect(",")
            found.append(self.ternary())
        return found

    def map(self) -> str:
        found: list[str] = []
        while not self.next_is("}"):
            if found:
                self.expect(",")
            key = self.ternary()
            self.expect(":")
            found.append(f"{key}: {self.ternary()}")
        return f"{{{', '.join(found)}}}"
