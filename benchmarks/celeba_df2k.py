"""Human faces, then natural images: the paper's adaptation to a far domain."""

from cl_sr.benchmarks.base import Stream
from cl_sr.data.domains import CELEBA, DF2K_OST

stream = Stream("celeba-df2k", "human faces, then natural images", (CELEBA, DF2K_OST))
