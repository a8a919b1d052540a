"""Engines: what compiles a sub-net for this machine and runs it."""
