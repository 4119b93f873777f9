"""Runs: checked, loaded, executed, written into a folder, and read from it again."""
