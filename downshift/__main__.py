"""`python -m downshift`: the command line."""

from downshift.cli.entry import main

main()
