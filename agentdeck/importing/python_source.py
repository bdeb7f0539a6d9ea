"""Reads Python files as syntax trees. Nothing of them is executed."""

from __future__ import annotations

import ast
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentdeck.errors import InvalidFile, Issue
from agentdeck.importing.imported import Place
from agentdeck.workflow.yaml_source import MAX_FILE_BYTES, refusal


@dataclass(frozen=True, slots=True)
class Code:
    """A value that only running the code would give."""

    text: str

    def __str__(self) -> str:
        return self.text


def read_python(path: Path, shown: str) -> ast.Module:
    """The syntax tree of a file. Raises InvalidFile."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise refusal(shown, "this file is too large", f"the most is {MAX_FILE_BYTES // 10**6} MB")
        text = path.read_bytes().decode("utf-8-sig")
        return ast.parse(text)
    except FileNotFoundError:
        raise refusal(shown, "no such file", "check the name") from None
    except IsADirectoryError:
        raise refusal(shown, "is a folder", "name a file in it") from None
    except OSError as error:
        raise refusal(shown, f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise refusal(shown, f"is not UTF-8 text (byte {error.start})", "save it as UTF-8") from None
    except SyntaxError as error:
        what = f"not Python: {error.msg}"
        raise InvalidFile([Issue(shown, error.lineno or 0, error.offset or 0, what)]) from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise refusal(shown, f"not Python: {error or 'nested too deep'}") from None


def place_of(node: ast.AST, file: str) -> Place:
    """Where a node stands in its file."""
    return Place(file, getattr(node, "lineno", 0), getattr(node, "col_offset", -1) + 1)


def last_name(node: ast.expr | None) -> str:
    """The last part of a dotted name, of what is called where the node is a call; "" for anything else."""
    if isinstance(node, ast.Call):
        return last_name(node.func)
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def literal(node: ast.expr) -> Any:
    """The value of a literal, of joined strings and of `dedent("…")`; Code for everything else."""
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, RecursionError):
        pass
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        both = [literal(node.left), literal(node.right)]
        if all(isinstance(one, str) for one in both):
            return "".join(both)
    if isinstance(node, ast.Call) and not node.keywords:
        inner = literal(node.args[0]) if len(node.args) == 1 else None
        if isinstance(inner, str) and last_name(node.func) == "dedent":
            return textwrap.dedent(inner)
        if isinstance(inner, str) and last_name(node.func) == "cleandoc":
            return textwrap.dedent(inner).strip()
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "strip":
        inner = literal(node.func.value)
        if isinstance(inner, str) and not node.args:
            return inner.strip()
    return Code(source(node))


def source(node: ast.expr) -> str:
    """The code of an expression in one line."""
    try:
        return " ".join(ast.unparse(node).split())
    except RecursionError:
        return "(nested too deep)"
