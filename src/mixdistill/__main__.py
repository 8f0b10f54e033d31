"""`python -m mixdistill`."""

from mixdistill.cli import main

main()
