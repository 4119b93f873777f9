"""Human faces, anime faces, natural images: both of the paper's adaptations in turn."""

from cl_sr.benchmarks.base import Stream
from cl_sr.data.domains import ANIMEF, CELEBA, DF2K_OST

stream = Stream(
    "celeba-anime-df2k",
    "human faces, then anime faces, then natural images",
    (CELEBA, ANIMEF, DF2K_OST),
)
