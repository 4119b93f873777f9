"""Networks, and reading and writing their weights."""

from cl_sr.models.checkpoint import load_sr3, save_sr3
from cl_sr.models.prior import Prior, load_prior, sr3_prior
from cl_sr.models.unet import SR3UNet

__all__ = ["Prior", "SR3UNet", "load_prior", "load_sr3", "save_sr3", "sr3_prior"]
