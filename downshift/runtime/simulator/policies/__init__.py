"""Policies of other systems, which the simulator compares with ours: one file each."""
