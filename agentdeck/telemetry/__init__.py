"""Telemetry: spans of runs for OpenTelemetry receivers, and metrics for Prometheus, both folded from the log."""
