"""Continual learning and domain adaptation of diffusion super-resolution.

    run = cl_sr.run("demo", stream="celeba-anime", strategy="router", out="runs/a")
    run.matrix                                   # what was learnt and forgotten
    images = cl_sr.load("runs/a")(lr)            # super-resolve with what was trained

The folders say what is where: `diffusion` the mathematics, `degradations` how low-resolution
images come about, `models` the networks, `data` and `benchmarks` the image domains and their
streams, `strategies` what is exchanged against forgetting, `inference` images from a trained model,
`training` the Avalanche template, `runs` a run and its folder, `sweeps` many of them, `evaluation`
and `reporting` what was forgotten, `cli` the command line.
"""

import lazy_loader

__version__ = "0.1.0"

# `import cl_sr` is quick; the names are in __init__.pyi.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
