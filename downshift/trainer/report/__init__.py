"""Output of a finished run: artifact, report page, plots, journal."""
