"""The Python API: `downshift.load` and `downshift.train`, without HTTP."""
