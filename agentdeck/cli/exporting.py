"""`export`: make files for other orchestrators of a workflow."""

from __future__ import annotations

import click

from agentdeck.cli.made_file import out_options, write_made


@click.group()
def export() -> None:
    """Make a file for another orchestrator of a workflow.

    What it has no counterpart for is named on stderr, with the line of the workflow, and in a comment at its
    place. With --strict, nothing is written then.

    \b
    Examples:
      agentdeck export airflow order.yaml -o dags/order.py

    Exit codes: 0 exported, 2 usage, an invalid workflow, or with --strict one that cannot be exported whole.
    """


@export.command()
@click.argument("file", metavar="FILE", type=click.Path())
@out_options("DAG")
@click.option("--strict", is_flag=True, help="Write nothing if something of the workflow is lost.")
def airflow(file: str, out: str | None, force: bool, strict: bool) -> int:
    """Make a DAG for Airflow 3 whose tasks are the agents of a workflow. Each task executes its agent with
    agentdeck, which has to be installed beside Airflow, and reads FILE, which the DAG names.

    \b
    Examples:
      agentdeck export airflow order.yaml -o dags/order.py
      agentdeck export airflow order.yaml --strict > /dev/null
    """
    from agentdeck.insight.formatting import plural
    from agentdeck.operations.exporting import export_airflow

    dag = export_airflow(file, out, strict)
    count = plural(len(dag.lost), "difference") if dag.lost else "nothing is lost"
    write_made(dag.text, dag.lost, out, force, f"({count})")
    return 0
