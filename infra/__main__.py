"""`python -m infra` is the command `differline`, for places where only the interpreter is known."""

from infra.cli import main

main()
