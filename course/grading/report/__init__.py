"""The pages, and who resembles whom."""
