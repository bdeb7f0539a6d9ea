"""Providers of LLM answers behind one seam, and what their answers cost."""
