"""`python -m etl.cli` is `tallyback`."""

from etl.cli import main

main()
