"""Makes workflow files of crews, graphs and flows of other frameworks (`agentdeck import`)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from agentdeck.errors import InvalidFile, Issue, UsageError
from agentdeck.importing.imported import Findings, ImportedWorkflow


@dataclass(frozen=True, slots=True)
class Imported:
    """The text of a workflow file that `check` accepts, and the warnings of its import."""

    text: str
    warnings: list[Issue]


def import_crewai(target: str, out: str | None) -> Imported:
    """The workflow of a CrewAI crew. Raises InvalidFile with every fault."""
    from agentdeck.importing.crewai import import_crewai

    return _written(*import_crewai(target, _models(_folder(out))), _folder(out))


def import_langgraph(target: str, run_code: bool, out: str | None) -> Imported:
    """The workflow of a LangGraph graph, whose module is imported only with `run_code`. Raises InvalidFile."""
    from agentdeck.importing.langgraph import import_langgraph
    from agentdeck.workflow.functions import module_file

    workflow, findings = import_langgraph(target, run_code)
    imported, folder = _written(workflow, findings, _folder(out)), _folder(out)
    module = target.rpartition(":")[0]
    if module.endswith(".py") and module_file(Path(module).stem, folder) is None:
        what = f"{Path(module).stem} is not found from {folder}, so the workflow cannot run there"
        imported.warnings.append(Issue(module, 0, 0, what, "write it into the folder of the module", True))
    return imported


def import_flow(file: str, out: str | None) -> Imported:
    """The workflow of a declarative CrewAI flow. Raises InvalidFile."""
    from agentdeck.importing.crewai_flow import import_flow

    if out is not None and Path(out).resolve() == Path(file).resolve():
        raise UsageError(f"-o {out}: this is the flow itself, which would be overwritten; name another file")
    return _written(*import_flow(file, _models(_folder(out))), _folder(out))


def _written(workflow: ImportedWorkflow, findings: Findings, folder: Path) -> Imported:
    from agentdeck.importing.workflow_text import faults_of, workflow_text

    text = workflow_text(workflow)
    faults = [issue for issue in faults_of(text, folder) if not issue.warning]
    if faults:
        raise InvalidFile([*findings.sorted(), *faults])
    return Imported(text, findings.sorted())


def _folder(out: str | None) -> Path:
    """The folder in which the workflow will be."""
    return Path.cwd() if out is None else Path(out).resolve().parent


def _models(folder: Path) -> dict[str, str]:
    """The names of the deck's models, by their ids."""
    from agentdeck.workflow.deck import deck_for

    try:
        return {model.id: name for name, model in reversed([*deck_for(folder).models.items()])}
    except InvalidFile:  # a run says what is wrong with it
        return {}
