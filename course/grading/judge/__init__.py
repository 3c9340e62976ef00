"""What was seen, in points and sentences."""
