"""One training: what `train` and `tune` carry out for a cell."""
