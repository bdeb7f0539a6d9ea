"""`watch`: a run of another process, live."""

from __future__ import annotations

import click

from agentdeck.cli.options import db_option, json_option, run_argument

LOOK = 0.1


@click.command()
@run_argument
@db_option
@json_option("JSON lines, one per event.")
def watch(run: str, db: str | None, as_json: bool) -> int:
    """Follow a run live until it ends: all events from its first one. Ctrl-C stops watching, not the run.

    \b
    Examples:
      agentdeck watch last
      agentdeck watch last --json

    Exit codes: 0 it ended done, 1 failed or cancelled, 130 it was interrupted.
    """
    import sys
    import time

    from agentdeck.cli.error_output import DONE, FAILED, INTERRUPTED, say
    from agentdeck.cli.events import line
    from agentdeck.cli.text_tables import dump, out
    from agentdeck.operations.recorded_run import open_store

    with open_store(db) as reader:
        row = reader.run(run)
        after, version = 0, -2
        while True:
            row = reader.run(row.run)  # before its events: whatever ended is then told whole
            now = reader.version()
            if now != version:
                for event in reader.raw_events(row.run, after):
                    after = event["seq"]
                    if as_json:
                        dump(event)
                    else:
                        out(line(event))
                sys.stdout.flush()
                version = now
            if row.state not in ("running", "paused"):
                break
            time.sleep(LOOK)
    if row.state == "interrupted":
        say(f"{row.run} is interrupted; go on with: agentdeck resume {row.run}")
        return INTERRUPTED
    return DONE if row.state == "done" else FAILED
