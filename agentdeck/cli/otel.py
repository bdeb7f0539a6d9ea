"""`otel`: send what runs did to a receiver of OpenTelemetry."""

from __future__ import annotations

import click

from agentdeck.cli.error_output import say
from agentdeck.cli.options import db_option, json_option, run_argument
from agentdeck.cli.text_tables import out, print_document


@click.group()
def otel() -> None:
    """Send the spans of runs to a receiver of OpenTelemetry: Phoenix, Langfuse, Jaeger, a collector.

    Where OTEL_EXPORTER_OTLP_ENDPOINT is set, a run sends its spans while it executes. `export` fills in the runs
    that were not sent, or not completely. Needs the extra: pip install 'agentdeck[otel]'.

    \b
    Example:
      agentdeck otel export last
    """


@otel.command()
@run_argument
@db_option
@click.option("--content", is_flag=True, help="With prompts, inputs and outputs; secrets stay masked.")
@click.option("--again", is_flag=True, help="All spans, also those that the receiver has.")
@json_option("One JSON object: how many spans, of which events.")
def export(run: str, db: str | None, content: bool, again: bool, as_json: bool) -> None:
    """Send the spans of a recorded run, with their original times, by OTLP over HTTP.

    The receiver is that of OTEL_EXPORTER_OTLP_ENDPOINT, else http://localhost:4318. Spans that it has already are
    not sent again. Of a run that executes, the spans that have ended are sent.

    \b
    Examples:
      OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:6006 agentdeck otel export last
      agentdeck otel export last
      agentdeck otel export last --content --again

    Exit codes: 0 sent, 2 usage, 3 the receiver does not take the spans, or the store is unusable.
    """
    from agentdeck.operations.span_export import export_spans

    sent = export_spans(db, run, content=content, again=again)
    if as_json:
        from agentdeck.documents.command import SpansSent

        print_document(SpansSent.of(sent))
    elif sent.spans:
        events = f"events {sent.after + 1:,} to {sent.last:,}"
        out(f"{sent.run}: {sent.spans:,} spans sent to {sent.receiver} ({events})")
    else:
        out(f"{sent.run}: {sent.receiver} has all spans up to event {sent.last:,}; --again sends them again")
    if sent.running:
        say(f"{sent.run} is still running: export it again for what has not ended yet")
