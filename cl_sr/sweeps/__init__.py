"""Many runs from one file: what is varied, what they share, and running them."""

from cl_sr.sweeps.grid import Member, Sweep, read_sweep

__all__ = ["Member", "Sweep", "read_sweep"]
