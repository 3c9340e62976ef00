"""Channel mixers: what acts on each position for itself. One idea a file."""
