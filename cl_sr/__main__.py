"""`python -m cl_sr`: the same as `cl-sr`."""

from cl_sr.cli.main import main

main(prog_name="cl-sr")
