"""`python -m downshift`: the command line."""

from downshift.cli.main import app

app(prog_name="downshift")
