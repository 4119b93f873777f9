"""Networks, and reading and writing their weights."""

from cl_sr.models.checkpoint import load_sr3, save_sr3
from cl_sr.models.unet import SR3UNet

__all__ = ["SR3UNet", "load_sr3", "save_sr3"]
