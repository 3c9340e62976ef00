"""A student's code without what is theirs in it: comments, docstrings, the way it was laid out."""

import ast

from course.grading.read import reader
from course.grading.read.python_source import plain_python


def bare(source: str) -> str:
    """The code of a cell, its definitions and all else, laid out anew; "" where it is no Python or takes too much."""
    try:
        return reader.ask("bare", plain_python(source).encode("utf-8", "replace")) or ""
    except reader.TooMuch:
        return ""


def described(data: bytes) -> str | None:
    """What `bare` asks for, in a process with limits."""
    try:
        tree = ast.parse(data.decode("utf-8", "replace"))
        without_docstrings(tree)
        return ast.unparse(tree)
    except (SyntaxError, ValueError, RecursionError):
        return None


def without_docstrings(tree: ast.AST) -> None:
    """Takes out, everywhere in `tree`, what is only a text and does nothing."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            kept = [part for part in body if not _is_text(part)]
            node.body = kept or ([] if isinstance(node, ast.Module) else [ast.Pass()])


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
