"""`cli`: runs a coding agent without a terminal, and reads what it does and answers from its output."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from agentdeck.agents.cli import Cli
from agentdeck.agents.cli_events import ClaudeEvents, CliEnd, CodexEvents, GeminiEvents, Reader
from agentdeck.agents.command_output import FAILURE_TAIL, MB, OutputLog, OutputStream, failure
from agentdeck.agents.program import Program
from agentdeck.agents.prompt_log import ANSWER, CALL, FAILED, TextLog
from agentdeck.agents.template_rendering import render_text
from agentdeck.agents.verb import AttemptContext, VerbResult, WorkflowContext
from agentdeck.errors import StepError
from agentdeck.workflow.expressions import Template
from agentdeck.workflow.model import Agent, Data

#: The longest line of events that is read: a tool's result can be large.
LONGEST_EVENT = 8 * MB
#: The most characters in the log of a call's arguments, of a tool's result, of an event that is not known.
MOST_ARGUMENTS, MOST_RESULT, MOST_EVENT = 1000, 500, 500
#: Requests to the model's server that a coding agent may repeat by itself: the agent's `retry` decides on more.
OWN_RETRIES = 2
#: Variables that lead to the settings and sessions of the person who runs agentdeck.
PERSONAL = ("CLAUDE_CONFIG_DIR", "CODEX_HOME", "GEMINI_CLI_HOME")
_STATUS = re.compile(r"\b(?:status|API Error:?)\D{0,3}([45]\d\d)\b", re.I)


class Family(NamedTuple):
    """How one kind of coding agent is called. `home` writes what it needs into its empty home folder."""

    arguments: Callable[[Cli, Mapping[str, str]], list[str]]
    events: Callable[[], Reader]
    environment: Mapping[str, str] = {}
    home: Callable[[Path], None] = lambda _: None


def _claude(does: Cli, env: Mapping[str, str]) -> list[str]:
    allowed = ["--allowedTools", ",".join(does.allow)] if does.allow else []
    model = ["--model", does.model] if does.model else []
    return ["-p", "--output-format", "stream-json", "--verbose", "--include-partial-messages", *model, *allowed]


def _codex(does: Cli, env: Mapping[str, str]) -> list[str]:
    words = ["exec", "--json", "--skip-git-repo-check", "--sandbox", does.allow[0] if does.allow else "read-only"]
    if does.model:
        words += ["--model", does.model]
    if "OPENAI_API_KEY" in env:  # else it has a login; its own provider would repeat a request thirty times
        url = env.get("OPENAI_BASE_URL") or "https://api.openai.com/v1"
        settings = {
            "name": "agentdeck",
            "base_url": url,
            "wire_api": "responses",
            "env_key": "OPENAI_API_KEY",
            "request_max_retries": 0,  # each stream is one request
            "stream_max_retries": OWN_RETRIES,
        }
        words += ["-c", "model_provider=agentdeck"]
        for key, value in settings.items():
            words += ["-c", f"model_providers.agentdeck.{key}={json.dumps(value)}"]
    return [*words, "-"]


def _gemini(does: Cli, env: Mapping[str, str]) -> list[str]:
    model = ["--model", does.model] if does.model else []
    allowed = [word for tool in does.allow for word in ("--allowed-tools", tool)]
    return ["--output-format", "stream-json", *model, *allowed]


def _gemini_home(home: Path) -> None:
    folder = home / ".gemini"
    folder.mkdir()
    settings = {
        "security": {"auth": {"selectedType": "gemini-api-key"}},
        "general": {"maxAttempts": 1 + OWN_RETRIES},
    }
    (folder / "settings.json").write_text(json.dumps(settings), encoding="utf-8")


FAMILIES = {
    "claude": Family(
        _claude,
        ClaudeEvents,
        {
            "CLAUDE_CODE_MAX_RETRIES": str(OWN_RETRIES),
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_TELEMETRY": "1",
            "DISABLE_AUTOUPDATER": "1",
        },
    ),
    "codex": Family(_codex, CodexEvents),
    "gemini": Family(_gemini, GeminiEvents, {"GEMINI_CLI_TRUST_WORKSPACE": "true"}, _gemini_home),
}


class CliVerb:
    """Runs the agent's program once per attempt, in a process group and a home folder of its own."""

    def __init__(self, agent: Agent, context: WorkflowContext) -> None:
        does = agent.does
        assert isinstance(does, Cli)
        self._does = does
        self._family = FAMILIES.get(does.family)
        self._prompt = Template(does.prompt)
        self._program = Program(context, does.env, does.cwd)

    async def run(self, work: AttemptContext) -> Data | VerbResult:
        prompt = await render_text(self._prompt, work.scope)
        if not prompt.strip():
            raise StepError("setup", "the prompt is empty")
        if work.fault:
            prompt += f"\n\nA previous answer was invalid: {work.fault}."
        data = prompt.encode("utf-8", "replace")
        with tempfile.TemporaryDirectory(prefix="agentdeck-") as folder:
            return await self._run(work, data, Path(folder))

    async def _run(self, work: AttemptContext, data: bytes, home: Path) -> Data | VerbResult:
        family, does = self._family, self._does
        inherited = {key: value for key, value in os.environ.items() if key not in PERSONAL}
        given = family.environment if family is not None else {}
        env = await self._program.environment(work, {**inherited, "HOME": str(home), **given})
        args = list(does.program)
        if family is not None:
            args += family.arguments(does, env)
            family.home(home)
        log = OutputLog(work, self._program.keys.hide)
        events = CliLog(work, log, None if family is None else family.events())
        out, err = OutputStream(events, "out", LONGEST_EVENT), OutputStream(log, "err")
        try:
            return await self._program.run(
                work, args, env, data, out, err, lambda code: self._result(code, events, out, err)
            )
        finally:
            events.finish()

    def _result(self, code: int, events: CliLog, out: OutputStream, err: OutputStream) -> Data | VerbResult:
        """The result of a program that has ended. Good is only what ended well by its exit code and by its own
        last event: some exit with 0 when they are interrupted."""
        if self._family is None:
            if code:
                raise failure(code, out, err)
            return out.text().strip()
        end, name, hide = events.ended, self._does.family, self._program.keys.hide
        if end is None:
            error = failure(code, out, err)
            if code:
                raise error
            raise StepError("exit", f"{name} ended without a result", detail=error.fault.detail)
        usage = None if events.work.gateway else end.usage  # else its calls count it
        if not end.error and not code:
            return VerbResult(hide(end.text), usage)
        text = hide(end.error or f"exited with {code} after its result")
        written = err.tail()
        status = end.status or _status_in(text) or _status_in(written)
        detail = f"stderr:\n{written}" if written else ""
        failed = StepError(_kind(status), f"{name}: {' '.join(text.split())[:500]}", detail=detail[:FAILURE_TAIL])
        failed.usage = usage
        raise failed


class CliLog:
    """Writes what a coding agent does to the log of its step. Without a reader of events its lines are logged as
    they are."""

    def __init__(self, work: AttemptContext, log: OutputLog, reader: Reader | None) -> None:
        self.ended: CliEnd | None = None
        self.work = work
        self.hide = log.hide
        self.lines = 0
        self.dropped = 0
        self._log = log
        self._reader = reader
        self._text = TextLog(work.log, work.alive)

    # From the program's output ---------------------------------------------------------------------------

    def add(self, line: bytes, level: str) -> None:
        event = _event(line) if self._reader is not None else None
        if event is None:
            self._log.add(line, level)
        elif self._reader is not None and not self._reader(event, self):
            self._log.add(line[:MOST_EVENT], level)

    def finish(self) -> None:
        self._text.close()
        self._log.finish()

    # From the reader of events ---------------------------------------------------------------------------

    def text(self, piece: str) -> None:
        self._text(self.hide(piece))

    def call(self, tool: str, arguments: Data) -> None:
        shown = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
        self._line(f"{CALL}{tool} {shown}"[:MOST_ARGUMENTS])

    def answer(self, tool: str, text: str, wrong: bool) -> None:
        first = text.strip().partition("\n")[0][:MOST_RESULT]
        self._line(f"{ANSWER}{tool} {FAILED if wrong else ''}{first}", "warning" if wrong else "info")

    def note(self, text: str) -> None:
        self._line(text[:MOST_ARGUMENTS], "warning")

    def end(self, end: CliEnd) -> None:
        self.ended = end

    def _line(self, text: str, level: str = "info") -> None:
        self._text.close()
        self.work.log(self.hide(text), level)


def _event(line: bytes) -> Mapping[str, Data] | None:
    """The event of a line; None for a line that is none."""
    if not line.startswith(b"{"):
        return None
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) else None


def _status_in(text: str) -> int | None:
    """The last status of an HTTP answer that a text names."""
    found = _STATUS.findall(text)
    return int(found[-1]) if found else None


def _kind(status: int | None) -> str:
    """The kind of a failure, by the answer of the model's server."""
    match status:
        case 401 | 403:
            return "auth"
        case 429:
            return "rate_limit"
        case int() if status >= 500:
            return "server"
    return "exit"
