"""Measured latency and accuracy of every compiled sub-net on this machine."""
