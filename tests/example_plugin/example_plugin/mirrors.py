"""What the package brings."""

from dataclasses import dataclass

from cl_sr.benchmarks import ANIMEF, CELEBA, Stream
from cl_sr.strategies import Strategy, option

stream = Stream("anime-celeba", "anime first, then human faces", (ANIMEF, CELEBA))


@dataclass(frozen=True)
class MirrorOnly(Strategy):
    """Rehearses mirror images of what is learnt anyway."""

    count: int = option(1, "images of a batch that are replaced")

    def rehearsal(self, learner, memory, size):
        memory["batches"] = memory.get("batches", 0) + 1
        if self.count > 10:
            raise ValueError("too many mirrors")
        return learner.images.draw(self.count).mirrored()
