"""`python -m jaxbandit` is `jaxbandit`."""

from jaxbandit.cli.main import main

main()
