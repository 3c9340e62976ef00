"""Token mixers: what lets positions see each other. One idea a file."""
