"""Natural images alone: the paper's SR3 from scratch, with nothing to adapt to."""

from cl_sr.benchmarks.base import Stream
from cl_sr.data.domains import IMAGENET

stream = Stream("imagenet", "natural images alone", (IMAGENET,))
