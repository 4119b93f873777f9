"""The Avalanche template that trains SR3 over a stream, and the run around it."""
