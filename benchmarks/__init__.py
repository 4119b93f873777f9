"""Streams of image domains: benchmarks in Avalanche's sense. One file each, beside `base`."""

from cl_sr.benchmarks.base import Stream, find_stream, shipped_streams
from cl_sr.data.domains import ANIMEF, CELEBA, DF2K_OST, Domain

__all__ = ["ANIMEF", "CELEBA", "DF2K_OST", "Domain", "Stream", "find_stream", "shipped_streams"]
