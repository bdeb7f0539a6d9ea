"""The gateway with real clients, as far as they are installed, against a local server. `make test-gateway`."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentdeck.engine.launch import Launch, Outcome, run
from agentdeck.workflow.loader import loads
from tests.agents.model_server import TEXT, ModelServer

pytestmark = [pytest.mark.live, pytest.mark.anyio]
ROOT = Path(__file__).parents[2]
#: Environments with the clients. That of CrewAI is its own, as it needs other versions.
SDKS, CREWAI = ROOT / ".venv/gateway/bin/python", ROOT / ".venv/crewai/bin/python"
DECK = """
agentdeck: 1
providers: { far: { type: TYPE, url: "URL" } }
models: { m: { provider: far, id: m, price: { in: 1, out: 1 } } }
tiers: { execution: m }
"""
OPENAI = """
from openai import AuthenticationError, OpenAI
client, ask = OpenAI(), [{"role": "user", "content": "What is it?"}]
print(client.chat.completions.create(model="gpt-5", messages=ask).choices[0].message.content)
text, usage = "", None
for chunk in client.chat.completions.create(
    model="gpt-5", messages=ask, stream=True, stream_options={"include_usage": True}
):
    text += (chunk.choices[0].delta.content or "") if chunk.choices else ""
    usage = chunk.usage or usage
print(text, usage.total_tokens)
schema = {"type": "object", "properties": {"city": {"type": "string"}}}
function = {"name": "weather", "parameters": schema}
tools = [{"type": "function", "function": function}]
called = client.chat.completions.create(model="gpt-5", messages=ask, tools=tools).choices[0].message
again = [*ask, called, {"role": "tool", "tool_call_id": called.tool_calls[0].id, "content": "rain"}]
print(called.tool_calls[0].function.arguments)
print(client.chat.completions.create(model="gpt-5", messages=again, tools=tools).choices[0].message.content)
with client.chat.completions.stream(model="gpt-5", messages=ask, tools=tools) as stream:
    print(stream.get_final_completion().choices[0].message.tool_calls[0].function.name)
answer = client.responses.create(model="gpt-5", input="What is it?")
print(answer.output_text, answer.usage.total_tokens)
with client.responses.stream(model="gpt-5", input="What is it?") as stream:
    print(stream.get_final_response().output_text)
plain = [{"type": "function", **function}]
with client.responses.stream(model="gpt-5", input="What is it?", tools=plain) as stream:
    print(stream.get_final_response().output[0].arguments)
print([model.id for model in client.models.list()])
try:
    OpenAI(api_key="other").models.list()
except AuthenticationError:
    print("refused")
"""
ANTHROPIC = """
from anthropic import Anthropic, AuthenticationError, BadRequestError
client, ask = Anthropic(), [{"role": "user", "content": "What is it?"}]
given = {"model": "claude-x", "max_tokens": 100}
print(client.messages.create(**given, messages=ask).content[0].text)
with client.messages.stream(**given, messages=ask) as stream:
    print("".join(stream.text_stream), stream.get_final_message().usage.output_tokens)
tools = [{"name": "weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}]
with client.messages.stream(**given, messages=ask, tools=tools) as stream:
    made = stream.get_final_message()
print(made.stop_reason, made.content[0].input)
result = {"type": "tool_result", "tool_use_id": made.content[0].id, "content": "rain"}
again = [*ask, {"role": "assistant", "content": made.content}, {"role": "user", "content": [result]}]
print(client.messages.create(**given, messages=again, tools=tools).content[0].text)
image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "eA=="}}
try:
    client.messages.create(**given, messages=[{"role": "user", "content": [image]}])
except BadRequestError as error:
    print("refused", error.body["error"]["message"].partition(" is")[0])
try:
    Anthropic(api_key="other").messages.create(**given, messages=ask)
except AuthenticationError:
    print("refused")
"""
LANGCHAIN = """
from langchain_openai import ChatOpenAI
model = ChatOpenAI(model="gpt-5")
print(model.invoke("What is it?").content)
print("".join(chunk.text for chunk in model.stream("What is it?")))
def weather(city: str) -> str:
    "The weather."
answer = model.bind_tools([weather]).invoke("What is it?")
print(answer.tool_calls[0]["args"], answer.usage_metadata["total_tokens"])
print(ChatOpenAI(model="gpt-5", use_responses_api=True).invoke("What is it?").text)
"""
CREW = """
from crewai import LLM
print(LLM(model="openai/gpt-4o").call("What is it?"))
"""
CITY = '{"city": "Bonn"}'
CLIENTS = {
    "openai": (
        SDKS,
        OPENAI,
        [TEXT, f"{TEXT} 37", CITY, TEXT, "weather", f"{TEXT} 37", TEXT, CITY, "['m', 'execution']", "refused"],
    ),
    "anthropic": (
        SDKS,
        ANTHROPIC,
        [TEXT, f"{TEXT} 7", "tool_use {'city': 'Bonn'}", TEXT, "refused messages[0].content[0]", "refused"],
    ),
    "langchain": (SDKS, LANGCHAIN, [TEXT, TEXT, "{'city': 'Bonn'} 37", TEXT]),
    "crewai": (CREWAI, CREW, [TEXT]),
}


@pytest.fixture(autouse=True)
def direct(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine reaches the server without a proxy of this machine."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def server() -> Iterator[ModelServer]:
    made = ModelServer()
    yield made
    made.close()


async def played(folder: Path, server: ModelServer, agent: str, provider: str = "openai") -> Outcome:
    url = f"{server.url}/v1" if provider == "openai" else server.url
    (folder / "deck.yaml").write_text(DECK.replace("TYPE", provider).replace("URL", url))
    definition = loads(f"agentdeck: 1\nname: w\nagents:\n  ask: {agent}\n").definition
    return await run(Launch(definition, folder, workers=1))


@pytest.mark.parametrize("name", CLIENTS)
async def test_a_client_in_python(tmp_path: Path, server: ModelServer, name: str) -> None:
    python, script, expected = CLIENTS[name]
    if not python.exists():
        pytest.skip(f"{python} is not there")
    (tmp_path / "client.py").write_text(script)
    agent = f"{{ command: ['{python}', client.py], gateway: true, timeout: 3m, retry: 1 }}"
    outcome = await played(tmp_path, server, agent)
    assert outcome.state == "done", outcome.view.failed
    assert str(outcome.view.output).splitlines()[: len(expected)] == expected
    called = outcome.view.agents["ask/execution"]
    assert called.steps["done"] == len(server.paths)
    assert outcome.view.usd == pytest.approx(37e-6 * len(server.paths))


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
@pytest.mark.parametrize("name", ["claude", "codex"])
async def test_a_coding_agent_answered_by_either_api(
    tmp_path: Path, server: ModelServer, name: str, provider: str
) -> None:
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    allow = ", allow: ['Bash(echo:*)']" if name == "claude" else ""
    agent = f"{{ cli: {{ program: {name}, prompt: 'What is it?'{allow} }}, gateway: true, retry: 1 }}"
    outcome = await played(tmp_path, server, agent, provider)
    assert outcome.view.output == TEXT
    called = outcome.view.agents["ask/execution"]
    assert called.steps["done"] == len(server.paths) == 2, "a call of a tool, and the answer"
    assert outcome.view.agents["ask"].usd is None, "what the calls cost is counted once"
