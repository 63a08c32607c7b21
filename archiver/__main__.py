"""`python -m archiver` is `archive`."""

from archiver.cli import main

main()
