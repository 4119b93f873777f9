"""Training over a stream: the Avalanche template, its loop, order, moving average and state."""
