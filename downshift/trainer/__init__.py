"""Alternating sparse training: one run, one file, several sub-nets."""
