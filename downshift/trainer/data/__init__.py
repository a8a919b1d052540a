"""Data sets and batches: in memory by name, or folders of image files."""
