"""Continual learning and domain adaptation of diffusion super-resolution.

The folders say what is where: `diffusion` the mathematics, `models` the networks, `data` and
`benchmarks` the image domains and the streams of them, `training` the Avalanche template and the
run, `strategies` what is exchanged against forgetting, `evaluation` and `reporting` what was
forgotten, `cli` the command line.
"""

__version__ = "0.1.0"
