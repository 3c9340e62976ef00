"""What student code does: the process it runs in, from the grader's end and from the student's."""
