"""Whose work lies where: each student's notebook found in a folder or zip."""
