"""`import`: make workflow files of what other frameworks define."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from agentdeck.cli.made_file import out_options, write_made

if TYPE_CHECKING:
    from agentdeck.operations.importing import Imported


@click.group("import")
def import_() -> None:
    """Make a workflow file of what another framework defines. The file loads, plans and runs; comments in it say
    what was mapped how.

    What would not run as in the framework is refused with its reason; what is not carried over is named on
    stderr. Code is only read, never executed, unless --run-code is given.

    \b
    Examples:
      agentdeck import crewai crews/research -o research.yaml
      agentdeck import langgraph review.graph:graph -o review.yaml
      agentdeck import flow flow.yaml -o research.yaml

    Exit codes: 0 imported, 2 usage, an invalid definition, or one that cannot be imported.
    """


@import_.command()
@click.argument("folder", metavar="DIR", type=click.Path())
@out_options("workflow")
def crewai(folder: str, out: str | None, force: bool) -> int:
    """Import a CrewAI crew: agents.yaml and tasks.yaml, and the class with @CrewBase that binds them, which is
    not executed. DIR is its folder or that of its project, or FILE.py, or FILE.py:Class.

    \b
    Examples:
      agentdeck import crewai crews/research -o research.yaml
      agentdeck import crewai src/research/crew.py:Research
    """
    from agentdeck.operations.importing import import_crewai

    return _report(import_crewai(folder, out), out, force)


@import_.command()
@click.argument("graph", metavar="MODULE:NAME")
@click.option("--run-code", is_flag=True, help="Import the module, instead of only reading it.")
@out_options("workflow")
def langgraph(graph: str, run_code: bool, out: str | None, force: bool) -> int:
    """Import a LangGraph graph: each node becomes a step that calls it with the state that it would have. NAME is
    a StateGraph, compiled or not, or a function that returns one. MODULE may also be a file.

    \b
    Examples:
      agentdeck import langgraph review.graph:graph -o review.yaml
      agentdeck import langgraph src/review/graph.py:make_graph --run-code
    """
    from agentdeck.operations.importing import import_langgraph

    return _report(import_langgraph(graph, run_code, out), out, force)


@import_.command()
@click.argument("file", metavar="FILE", type=click.Path())
@out_options("workflow")
def flow(file: str, out: str | None, force: bool) -> int:
    """Import a declarative CrewAI flow, a YAML file with schema: crewai.flow/v1.

    \b
    Examples:
      agentdeck import flow flow.yaml -o research.yaml
    """
    from agentdeck.operations.importing import import_flow

    return _report(import_flow(file, out), out, force)


def _report(imported: Imported, out: str | None, force: bool) -> int:
    """Write the workflow, and print the warnings."""
    from agentdeck.insight.formatting import plural

    count = plural(len(imported.warnings), "warning") if imported.warnings else "no warnings"
    summary = f"({count}); agentdeck plan {out} shows what it does"
    write_made(imported.text, imported.warnings, out, force, summary)
    return 0
