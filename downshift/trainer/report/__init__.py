"""What a finished run leaves behind: artifact, report page, plots, journal."""
