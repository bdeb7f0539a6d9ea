"""`local`: the process of the engine."""

from __future__ import annotations

import platform
import sys

from agentdeck import __version__
from agentdeck.agents.secret_masking import runner
from agentdeck.agents.verb import Verb, WorkflowContext
from agentdeck.places.place import Place
from agentdeck.places.report import PlaceReport, WorkerReport
from agentdeck.processes.children import Children
from agentdeck.workflow.model import Agent


class LocalPlace(Place):
    """Attempts run on the engine's event loop, and their blocking calls in its threads. The engine calls what the
    agent's kind gives, so an attempt costs nothing more."""

    def prepare(self, agent: Agent, context: WorkflowContext) -> Verb:
        return runner(agent, context)

    async def report(self, children: Children) -> PlaceReport:
        here = WorkerReport(sys.executable, python=platform.python_version(), agentdeck=__version__)
        return PlaceReport((here,))
