"""Changes values in the text of a workflow file; comments, anchors and layout are preserved.

A YAML library that loads and dumps preserves comments but not the layout. Therefore the text is edited at the
position that the parser reports. The result is loaded and compared: only the intended value may differ.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from agentdeck.errors import AgentdeckError, UsageError
from agentdeck.insight.diff import definitions
from agentdeck.workflow.loader import loads
from agentdeck.workflow.model import Agent, Data, Definition, Rate, Retry
from agentdeck.workflow.units import show_duration, show_rate

KeyPath: TypeAlias = tuple[str, ...]
_ALIAS = re.compile(r"\s*:\s*(\*[^\s,\]}]+)")


def save(file: Path, changes: Mapping[str, Data], source: Path | None = None) -> bool:
    """Write limits into a workflow file, atomically; with `source`, write the text of that file with the limits
    into `file`. Returns False if the file has the values already. Raises UsageError as `rewrite` does, and
    OSError."""
    text = (source or file).read_bytes().decode("utf-8")
    edited = rewrite(text, changes, file)
    if edited == text and (source is None or source == file):
        return False
    target = file.resolve()
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        part.write_bytes(edited.encode("utf-8"))
        if target.exists():
            shutil.copymode(target, part)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return True


def rewrite(text: str, changes: Mapping[str, Data], file: Path) -> str:
    """The text of a workflow file with these limits (`workers`, `agents.extract.timeout`, `openai.requests`).

    Raises UsageError, with the name, for a limit that cannot be written without changing another value.
    """
    for name, value in changes.items():
        text = _with_limit(text, name, value, file)
    return text


def _with_limit(text: str, name: str, value: Data, file: Path) -> str:
    before = loads(text, str(file), file.parent).definition
    reason = f"the file has no place where it could be inserted; set it in {file} by hand"
    for path, yaml in _candidates(before, name, value):
        try:
            edited = set_value(text, path, yaml)
            after = loads(edited, str(file), file.parent).definition
        except AgentdeckError as error:
            reason = str(error)
            continue
        if _changes_only(before, after, name):
            return edited
        reason = f"other agents share the value at {'.'.join(path)}; set it in {file} by hand"
    raise UsageError(f"{name}: {reason}")


def _candidates(definition: Definition, name: str, value: Data) -> Iterator[tuple[KeyPath, str]]:
    """(key path, YAML text) for each way to write a limit; the first one that changes nothing else is used."""
    parts = name.split(".")
    if parts == ["workers"]:
        yield ("limits", "workers"), str(value)
        return
    if parts[0] == "budget":
        yield ("budget", *parts[1:]), _yaml(value)
        return
    if parts[0] != "agents":
        yield ("limits", *parts), _yaml(value)
        return
    agent = definition.agents.get(parts[1])
    if agent is None:
        raise UsageError(f"{name}: the file has no agent {parts[1]}")
    at: KeyPath = ("agents", agent.name)
    match parts[2]:
        case "timeout":
            shown = "none" if value is None else show_duration(float(value))
            yield (*at, "timeout", "attempt"), shown
            yield (*at, "timeout"), shown
            yield (*at, "timeout"), _timeout(agent, shown)
        case "attempts":
            yield (*at, "retry", "attempts"), str(value)
            yield (*at, "retry"), str(value)
            yield (*at, "retry"), _retry(agent, value)
        case _:
            yield (*at, parts[2]), _yaml(value)


def _timeout(agent: Agent, attempt: str) -> str:
    clocks = {"queue": agent.timeout.queue, "idle": agent.timeout.idle, "total": agent.timeout.total}
    rest = [f"{name}: {show_duration(seconds)}" for name, seconds in clocks.items() if seconds is not None]
    return "{ " + ", ".join([f"attempt: {attempt}", *rest]) + " }"


def _retry(agent: Agent, attempts: Data) -> str:
    retry, usual, rest = agent.retry, Retry(), list[str]()
    if retry.factor != usual.factor:
        rest.append(f"factor: {retry.factor:g}")
    rest += [
        f"{name}: {show_duration(getattr(retry, name))}"
        for name in ("delay", "max_delay")
        if getattr(retry, name) != getattr(usual, name)
    ]
    rest += ["escalate: true"] if retry.escalate else []
    return "{ " + ", ".join([f"attempts: {attempts}", *rest]) + " }"


def _yaml(value: Data) -> str:
    if isinstance(value, Mapping) and {"count", "seconds"} <= value.keys():
        return show_rate(Rate(**value))
    return "null" if value is None else str(value)


def _changes_only(before: Definition, after: Definition, name: str) -> bool:
    """Whether this limit is the only difference."""
    found = definitions(before, after)
    different = {*found.added, *found.removed, *found.workflow}
    different |= {f"agents.{agent}.{key}" for agent, keys in found.changed.items() for key in keys}
    parts = name.split(".")
    if parts == ["workers"]:
        return different <= {"limits.workers"}
    if len(parts) == 1:
        return different <= {"limits.resources", f"limits.resources.{name}"}
    if parts[0] == "budget":
        return different <= ({"budget"} if before.budget is None else {name})
    if parts[0] != "agents":
        path = f"limits.providers.{name}."
        return all(path.startswith(f"{one}.") or f"{one}.".startswith(path) for one in different)
    stem = f"agents.{parts[1]}"
    allowed = {
        "timeout": {f"{stem}.timeout.attempt", f"{stem}.timeout.auto"},
        "attempts": {f"{stem}.retry.attempts"},
    }
    return different <= allowed.get(parts[2], {f"{stem}.{parts[2]}"})


def set_value(text: str, path: KeyPath, value: str) -> str:
    """YAML text with `value` (also YAML) at this key path; missing keys are inserted. An alias on the path is
    replaced by a value of its own, because its anchor serves other keys. Raises UsageError if the path cannot
    exist."""
    from ruamel.yaml import YAML

    node: Any = YAML(typ="safe", pure=True).compose(text)
    for depth, name in enumerate(path):
        if not isinstance(node.value, list) or (node.value and not isinstance(node.value[0], tuple)):
            raise UsageError(f"{'.'.join(path[:depth])} is not a map")
        rest = path[depth + 1 :]
        found = next((pair for pair in node.value if pair[0].value == name), None)
        if found is None:
            return _insert(text, node, f"{name}: {_nested(rest, value)}")
        key, below = found
        if alias := _alias(text, key, below):
            start, end = alias
            own = value if not rest else f"{{ <<: {text[start:end]}, {rest[0]}: {_nested(rest[1:], value)} }}"
            return text[:start] + own + text[end:]
        if not rest:
            return text[: below.start_mark.index] + value + text[below.end_mark.index :]
        node = below
    raise UsageError("no path was named")


def _nested(names: KeyPath, value: str) -> str:
    """The value in nested maps; `timeout: 10s` is short for `timeout: { attempt: 10s }`, `retry: 3` likewise."""
    if names in (("attempt",), ("attempts",)):
        return value
    return f"{{ {names[0]}: {_nested(names[1:], value)} }}" if names else value


def _alias(text: str, key: Any, value: Any) -> tuple[int, int] | None:
    """Start and end of the alias that is this key's value; None if it is not an alias. The parser reports the
    position of the anchored value instead."""
    if value.start_mark.index >= key.end_mark.index:
        return None
    found = _ALIAS.match(text, key.end_mark.index)
    return found.span(1) if found else None


def _insert(text: str, node: Any, entry: str) -> str:
    """Insert an entry: after the first entry of a block map, at the end of a flow map in one line."""
    if not node.value:
        start, end = node.start_mark.index, node.end_mark.index
        if text[start:end].strip() != "{}":
            raise UsageError("there is an empty map that cannot be filled")
        return text[:start] + "{ " + entry + " }" + text[end:]
    first = node.value[0][0].start_mark
    if node.flow_style:
        end = node.end_mark.index - 1
        if "\n" not in text[first.index : end]:
            head = text[:end].rstrip().removesuffix(",").rstrip()
            space = " " if text[end - 1] == " " else ""
            return f"{head}, {entry}{space}{text[end:]}"
        return f"{text[: first.index]}{entry}, {text[first.index :]}"
    indent, last = " " * first.column, node.value[0][1].end_mark
    if last.line > first.line:
        return f"{text[: first.index]}{entry}\n{indent}{text[first.index :]}"
    end = text.find("\n", first.index)
    line, rest = (text, "") if end < 0 else (text[:end], text[end:])
    return f"{line}\n{indent}{entry}{rest}"
