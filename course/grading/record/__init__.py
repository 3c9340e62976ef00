"""What is written down of each student, and what comes of it: tables, the gradebook, going on after a kill."""
