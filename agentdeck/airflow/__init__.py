"""agentdeck in Airflow: `AgentdeckOperator` (extra `airflow`). Only this package imports Airflow.

`operator.py` and `trigger.py` are what Airflow calls. The others know nothing of Airflow: which run belongs to a
task (`run_ids.py`), how it is started or continued (`submission.py`), what it does meanwhile (`narration.py`),
what it asks (`question_form.py`), and how it ended (`ending.py`). `exported.py` runs in tasks of exported DAGs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agentdeck.airflow.operator import AgentdeckOperator

__all__ = ["AgentdeckOperator"]


def __getattr__(name: str) -> Any:
    """The operator is imported when it is first used: it imports Airflow, which the other parts do without."""
    if name != "AgentdeckOperator":
        raise AttributeError(f"module 'agentdeck.airflow' has no attribute {name!r}")
    from agentdeck.airflow.operator import AgentdeckOperator

    return AgentdeckOperator
