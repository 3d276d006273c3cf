"""`python -m ibray` is `ibray`."""

from ibray.cli import main

main()
