"""A service that runs a workflow: starts runs, streams their events, and answers what they ask.

uvicorn service:app
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Body, FastAPI, HTTPException
from fastapi.responses import JSONResponse, StreamingResponse

import agentdeck
from agentdeck import Question, Result, Run, RunStatus, TaskResult, Workflow

DB = os.environ.get("AGENTDECK_DB", "service.db")

order = Workflow("order", inputs={"text": "string"}, output="${ship}", defaults={"retry": 1})


@order.agent
def extract(text: str) -> dict[str, Any]:
    count, _, sku = text.split()
    return {"sku": sku, "count": int(count)}


order.add(
    "confirm",
    needs="extract",
    approve={
        "ask": "Ship ${extract.count} of ${extract.sku}?",
        "fields": {"note": {"type": "string", "default": ""}},
    },
)


@order.agent
def ship(extract: dict[str, Any], confirm: dict[str, Any]) -> dict[str, Any]:
    return {**extract, "shipped": confirm["approved"], "note": confirm["note"]}


#: The runs that this process executes. Others are in the store.
executing: dict[str, Run] = {}


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    yield
    for run in executing.values():
        await run.stop()  # each can be resumed


app = FastAPI(lifespan=lifespan)


@app.exception_handler(agentdeck.UsageError)
async def refuse(request: object, error: agentdeck.UsageError) -> JSONResponse:
    return JSONResponse({"detail": str(error)}, status_code=409)


async def found(run: str) -> Run:
    """The handle of a run: of this process, or of any other that uses the store."""
    if run in executing:
        return executing[run]
    async with agentdeck.open_store(DB) as store:
        try:
            return await store.run(run)
        except agentdeck.UsageError as error:
            raise HTTPException(404, str(error)) from None


@app.post("/runs", status_code=201)
async def start(orders: Annotated[list[str], Body()]) -> RunStatus:
    run = await order.start(tasks=[{"text": text} for text in orders], db=DB, wait=True)
    executing[run.id] = run
    return await run.status()


@app.get("/runs")
async def runs() -> list[RunStatus]:
    async with agentdeck.open_store(DB) as store:
        return await store.runs()


@app.get("/runs/{run}")
async def status(run: str) -> RunStatus:
    return await (await found(run)).status()


@app.get("/runs/{run}/events")
async def events(run: str, after: int = 0) -> StreamingResponse:
    """The events as they come, as server-sent events. `after` goes on where a reader stopped."""
    handle = await found(run)

    async def stream() -> AsyncIterator[str]:
        async for event in handle.events(after):
            yield f"id: {event.seq}\nevent: {event.kind}\ndata: {event.model_dump_json()}\n\n"

    return StreamingResponse(stream(), media_type="text/event-stream")


@app.get("/runs/{run}/tasks")
async def tasks(run: str) -> StreamingResponse:
    """Each task when it has ended, as lines of JSON."""
    handle = await found(run)

    async def stream() -> AsyncIterator[str]:
        async for task in handle.results():
            yield task.model_dump_json() + "\n"

    return StreamingResponse(stream(), media_type="application/x-ndjson")


@app.get("/runs/{run}/tasks/{task}")
async def task(run: str, task: str) -> TaskResult:
    async with agentdeck.open_store(DB) as store:
        return await store.task(run, task)


@app.get("/runs/{run}/result")
async def result(run: str) -> Result:
    """Waits for the end of the run."""
    return await (await found(run)).wait()


@app.get("/runs/{run}/questions")
async def questions(run: str) -> list[Question]:
    return await (await found(run)).questions()


@app.post("/runs/{run}/tasks/{task}/answer", status_code=204)
async def answer(
    run: str, task: str, step: Annotated[str, Body()], values: Annotated[dict[str, Any], Body()]
) -> None:
    """`values` has the fields of the question, and `approved`: false for a no."""
    await (await found(run)).answer(step, values, task=task)


@app.post("/runs/{run}/cancel", status_code=204)
async def cancel(run: str) -> None:
    await (await found(run)).cancel()


@app.post("/runs/{run}/retry")
async def retry(run: str) -> int:
    """Runs again what failed. Returns how many steps."""
    return await (await found(run)).retry_failed()
