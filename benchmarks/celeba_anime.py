"""Human faces, then anime faces: the paper's adaptation to a near domain."""

from cl_sr.benchmarks.base import Stream
from cl_sr.data.domains import ANIMEF, CELEBA

stream = Stream("celeba-anime", "human faces, then anime faces", (CELEBA, ANIMEF))
