"""Writes an imported workflow as the text of a workflow file, as one writes it by hand."""

from __future__ import annotations

import re
from collections.abc import Mapping
from io import StringIO
from typing import Any

from agentdeck.errors import Issue
from agentdeck.importing.imported import ImportedAgent, ImportedWorkflow
from agentdeck.terminal_text import clean, escaped
from agentdeck.workflow.model import Data

WIDTH = 110
#: Stands for `<<` while the text is made: the two versions of ruamel.yaml that we allow merge in different ways.
#: Text in blocks is indented more, so it never begins a line there.
_MERGED = "x-merged"
#: Longer lists and maps are written with one item per line.
INLINE = 90


def workflow_text(found: ImportedWorkflow) -> str:
    """The YAML of the workflow, with its notes as comments."""
    from ruamel.yaml.comments import CommentedMap

    root = CommentedMap({"agentdeck": 1, "name": found.name})
    if found.about:
        root["about"] = _value(found.about)
    if found.inputs:
        root["inputs"] = _block({name: _value(spec) for name, spec in found.inputs.items()})
    if found.defaults:
        root["defaults"] = _value(found.defaults)
    shared = {}
    for name, keys in found.shared.items():
        shared[name] = _block({key: _value(value) for key, value in keys.items()})
        shared[name].yaml_set_anchor(name, always_dump=True)
        root[f"x-{name}"] = shared[name]
    root["agents"] = agents = CommentedMap()
    for agent in found.agents:
        agents[agent.name] = _agent(agent, shared)
        if len(agents) > 1 and found.agents[0].notes:
            agents.yaml_set_comment_before_after_key(agent.name, before="\n")
        if agent.notes:
            agents.yaml_set_comment_before_after_key(agent.name, before=_comment(agent.notes), indent=2)
    if found.output is not None:
        root["output"] = _value(found.output)
    for key in list(root)[2:]:
        if key != "about":
            root.yaml_set_comment_before_after_key(key, before="\n")
    notes = [f"# {line}".rstrip() for line in _comment(found.notes).splitlines()]
    return "\n".join([*notes, "", ""] if notes else []) + _dump(root)


def _agent(agent: ImportedAgent, shared: Mapping[str, Any]) -> Any:
    keys = {key: _value(value) for key, value in agent.keys.items()}
    return _block({_MERGED: shared[agent.shares], **keys} if agent.shares else keys)


def _comment(notes: list[str]) -> str:
    """Notes as the lines of a comment. What they quote of a file cannot end the comment."""
    return "\n".join(clean(note) for note in notes)


def _block(values: Mapping[str, Any]) -> Any:
    from ruamel.yaml.comments import CommentedMap

    return CommentedMap(values)


def _value(value: Data) -> Any:
    """The value in the style in which one writes it by hand: long text as a block, short lists on one line."""
    from ruamel.yaml.comments import CommentedMap, CommentedSeq

    if isinstance(value, str):
        return _text(value)
    if isinstance(value, dict):
        made: Any = CommentedMap({_text(key): _value(item) for key, item in value.items()})
    elif isinstance(value, list | tuple):
        made = CommentedSeq([_value(item) for item in value])
    else:
        return value
    if not _is_long(value):
        made.fa.set_flow_style()
    return made


def _is_long(value: Data) -> bool:
    shown = str(value)
    return len(shown) > INLINE or "\\n" in shown


#: What a block of text does not hold as it is: a first line that is indented or empty, lines that end in a blank,
#: newlines at the end, and characters that YAML escapes.
_NO_BLOCK = re.compile(
    r"\A[ \n]|[ \t]\n|[ \t\n]\Z|[^\n\x20-\x7e\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd]|\u2028|\u2029"
)
#: Lines that begin with a blank are not folded, and two blanks would become one where a line is broken.
_NO_FOLD = re.compile(r"\n[ \t]|  ")


def _text(text: str) -> Any:
    from ruamel.yaml.scalarstring import DoubleQuotedScalarString, FoldedScalarString, LiteralScalarString

    if _NO_BLOCK.search(text) or escaped(text) != text:
        return DoubleQuotedScalarString(text)
    if max(map(len, text.split("\n"))) > WIDTH and not _NO_FOLD.search(text):
        return FoldedScalarString(text)
    if "\n" in text:
        return LiteralScalarString(text)
    return DoubleQuotedScalarString(text) if "${" in text else text


def _dump(root: Any) -> str:
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.width = WIDTH
    yaml.indent(mapping=2, sequence=4, offset=2)
    written = StringIO()
    yaml.dump(root, written)
    text = re.sub(rf"^    {_MERGED}: \*", "    <<: *", written.getvalue(), flags=re.M)
    # What a terminal would obey is left only in texts in double quotes, in which an escape means the same.
    return escaped(text)


def faults_of(text: str, folder: Any) -> tuple[Issue, ...]:
    """The faults and warnings that `check` finds in the text."""
    from agentdeck.errors import InvalidFile
    from agentdeck.workflow.loader import loads

    try:
        return loads(text, "<imported>", folder).warnings
    except InvalidFile as error:
        return error.issues
