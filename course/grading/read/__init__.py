"""What a notebook says: cells, what their code defines, put into the instructor's notebook, held against the rules."""
