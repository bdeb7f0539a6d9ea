"""The functions of features.yaml."""

from typing import Any

from agentdeck import Context, Permanent


def weigh(order: dict[str, Any], factor: int, ctx: Context) -> int:
    ctx.log(f"weighing {order['id']}")
    return int(order["count"]) * factor


def flaky(ctx: Context) -> dict[str, int]:
    if ctx.attempt < 2:
        raise RuntimeError("not yet")
    return {"attempt": ctx.attempt}


def never() -> None:
    raise Permanent("no way")


def refuse() -> None:
    raise ValueError("refused for good")
