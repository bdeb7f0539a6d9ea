"""Workflows from definitions of other frameworks: one module per source, one model of what was found, one writer.

Nothing here executes what it reads, except `langgraph_object`, which is asked for with `--run-code`.
"""
