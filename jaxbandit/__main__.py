"""`python -m jaxbandit` is `jaxbandit`."""

from jaxbandit.cli import main

main()
