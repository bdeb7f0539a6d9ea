"""What an import writes is read as it was meant, whatever the texts are."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from agentdeck.importing.imported import Expression, ImportedAgent, ImportedWorkflow, Names, quoted, template
from agentdeck.importing.workflow_text import workflow_text
from agentdeck.terminal_text import escaped
from agentdeck.workflow.expressions import Template
from agentdeck.workflow.yaml_source import read_text

CHARACTERS = st.characters(exclude_categories=["Cs"])
WORDS = st.sampled_from(
    ["a", "${x}", "$", "{", "\n", " ", "  ", "\n\n", "# b", ": ", "- ", "'", '"', "word " * 30, "\t"]
)
TEXTS = st.one_of(st.text(CHARACTERS, max_size=30), st.lists(WORDS, max_size=12).map("".join))
DATA = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(10**9), 10**9), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(TEXTS, DATA, st.lists(TEXTS, max_size=3))
def test_what_is_written_is_read_back(text: str, data: object, notes: list[str]) -> None:
    agents = [
        ImportedAgent("one", {"prompt": text, "with": data}, notes),
        ImportedAgent("two", {"prompt": "b"}, notes, shares="boss"),
    ]
    found = ImportedWorkflow("name", text, {"x": "any"}, {"boss": {"system": text}}, agents, data, {}, notes)
    written = workflow_text(found)
    assert escaped(written) == written  # nothing that a terminal would obey
    read = read_text(written, "file")
    assert not read.issues
    wanted = {
        "agentdeck": 1, "name": "name", "inputs": {"x": "any"}, "x-boss": {"system": text},
        "agents": {"one": {"prompt": text, "with": data}, "two": {"system": text, "prompt": "b"}},
    }  # fmt: skip
    wanted |= {"about": text} if text else {}
    wanted |= {} if data is None else {"output": data}
    assert read.data == wanted


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(TEXTS, st.just(Expression("x"))), max_size=6))
def test_plain_text_stays_plain_in_a_template(parts: list[str | Expression]) -> None:
    shown = "".join("<x>" if isinstance(part, Expression) else part for part in parts)
    assert str(Template(template(parts)).render({"x": "<x>"})) == shown


@given(TEXTS)
def test_quoted_text_is_a_literal_in_a_template(text: str) -> None:
    assert Template(template(["a", Expression(quoted(text)), "b"])).render({}) == f"a{text}b"


@given(st.lists(TEXTS, unique=True, max_size=8))
def test_names_are_allowed_and_different(names: list[str]) -> None:
    given = Names(["run"])
    made = [given.of(name) for name in names]
    assert len(set(made)) == len(names)
    assert all(name.isidentifier() and name.isascii() and name != "run" for name in made)
    assert made == [given.of(name) for name in names]
