"""Makes files for other orchestrators of a workflow (`agentdeck export`)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from agentdeck.errors import InvalidFile, UsageError

if TYPE_CHECKING:
    from agentdeck.exporting.airflow import ExportedDag


def export_airflow(file: str, out: str | None, strict: bool) -> ExportedDag:
    """The DAG of a workflow file, to be written to `out`. Raises InvalidFile for a workflow with faults, and with
    `strict` for one of which something is lost."""
    from agentdeck.exporting.airflow import export_airflow
    from agentdeck.workflow.loader import load

    path = Path(file)
    loaded = load(path)
    if out is not None and Path(out).resolve() == path.resolve():
        raise UsageError(f"-o {out}: this is the workflow itself, which would be overwritten; name another file")
    source = str(path.resolve())
    if out is not None:
        source = Path(os.path.relpath(source, Path(out).resolve().parent)).as_posix()
    dag = export_airflow(loaded, file, source, beside=out is not None)
    if strict and dag.lost:
        raise InvalidFile([issue._replace(warning=False) for issue in dag.lost])
    return dag
