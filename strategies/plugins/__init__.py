"""Plugins of Avalanche that strategies bring. Imported by them when a run begins."""
