"""Serving in virtual time: the real queue, admission and policies against traces of arrivals."""
