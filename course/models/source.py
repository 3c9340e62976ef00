"""A model as one page of source that runs: the classes it is made of, in forward order, and the call that makes it."""

import ast
import inspect
import sys
import textwrap
from functools import cache

import torch
from torch import nn

from course.models.model import Model
from course.models.recording import recorded
from course.models.registry import create_model

WIDTH = 110


def source_of(name: str, **spec_overrides) -> str:
    """The page; see ``course.models.show``."""
    with torch.device("meta"), recorded() as calls:
        model = create_model(name, **spec_overrides)
    page = _Collected()
    for module in model.modules():
        if _is_ours(type(module)):
            page.add(type(module))
    for _, _, arguments, options in calls.values():
        for value in [*arguments, *options.values()]:
            if inspect.isclass(value) and _is_ours(value):
                page.add(value)  # given as an option: a norm, an activation
    expression = _written(model, calls)
    imports = sorted(page.imports | ({"from torch import nn"} if "nn." in expression else set()), key=_import_order)
    return "\n".join(imports) + "\n\n\n" + "\n\n\n".join(page.chunks) + f"\n\n\nmodel = {expression}\n"


def _is_ours(thing) -> bool:
    return getattr(thing, "__module__", "").startswith("course.models")


def _import_order(line: str) -> tuple:
    return (line.startswith("from"), line)


class _Collected:
    """Source texts, each once; what a text needs while it is being defined comes before it."""

    def __init__(self) -> None:
        self.chunks: list[str] = []
        self.imports: set[str] = set()
        self._seen: set[str] = set()

    def add(self, thing) -> None:
        """The source of a class or function of ours, with all it refers to."""
        if thing.__qualname__ in self._seen:
            return
        self._seen.add(thing.__qualname__)
        module = sys.modules[thing.__module__]
        text = textwrap.dedent(_text_of(thing))
        if Model in getattr(thing, "__bases__", ()):
            text = text.replace("(Model)", "(nn.Module)", 1)
            self.imports.add("from torch import nn")
        tree = ast.parse(text).body[0]
        for node in [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "resized"]:
            # How weights get to another image size is no part of the network.
            lines = text.split("\n")
            text = "\n".join([*lines[: node.lineno - 2], *lines[node.end_lineno :]])
            tree = ast.parse(text).body[0]
        now, later = _names(tree)
        for name in now:
            self._resolve(name, module)
        self.chunks.append(_with_short_docstrings(text, tree))
        for name in later:
            self._resolve(name, module)

    def _resolve(self, name: str, module) -> None:
        if name not in vars(module):
            return
        for node in _statements_of(module):
            if isinstance(node, ast.Import | ast.ImportFrom):
                for alias in node.names:
                    if (alias.asname or alias.name) == name:
                        self._imported(name, node, alias, module)
                        return
            elif isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in node.targets):
                if name not in self._seen:
                    self._seen.add(name)
                    for needed in _names(node)[0]:
                        if needed != name:
                            self._resolve(needed, module)
                    self.chunks.append(ast.unparse(node))
                return
        if _is_ours(vars(module)[name]):
            self.add(vars(module)[name])

    def _imported(self, name: str, node, alias: ast.alias, module) -> None:
        value = vars(module)[name]
        if isinstance(node, ast.ImportFrom) and node.module.startswith("course.models"):
            if inspect.isclass(value) or inspect.isfunction(value):
                self.add(value)
            else:  # a constant
                self._resolve(name, sys.modules[node.module])
            return
        renamed = f" as {alias.asname}" if alias.asname else ""
        where = f"from {node.module} " if isinstance(node, ast.ImportFrom) else ""
        self.imports.add(f"{where}import {alias.name}{renamed}")


@cache  # Python parses the whole file for each class
def _text_of(thing) -> str:
    return inspect.getsource(thing)


@cache
def _statements_of(module) -> list[ast.stmt]:
    return ast.parse(_text_of(module)).body


def _names(tree: ast.AST) -> tuple[list[str], list[str]]:
    """The names a definition needs when it is executed (bases, defaults, annotations), and those inside functions."""
    now, later = [], []

    def visit(node: ast.AST, into: list[str]) -> None:
        if isinstance(node, ast.FunctionDef):
            for outside in [node.args, *node.decorator_list, *([node.returns] if node.returns else [])]:
                visit(outside, into)
            for statement in node.body:
                visit(statement, later)
        elif isinstance(node, ast.Name):
            into.append(node.id)
        else:
            for child in ast.iter_child_nodes(node):
                visit(child, into)

    visit(tree, now)
    return list(dict.fromkeys(now)), list(dict.fromkeys(later))


def _with_short_docstrings(text: str, tree: ast.AST) -> str:
    """The source with every docstring cut to its first line."""
    lines = text.rstrip().split("\n")
    for node in reversed([n for n in ast.walk(tree) if isinstance(n, ast.ClassDef | ast.FunctionDef)]):
        docstring = ast.get_docstring(node)
        if docstring:
            place = node.body[0]
            first = docstring.split("\n")[0]
            quoted = f'r"""{first}"""' if "\\" in first else f'"""{first}"""'
            lines[place.lineno - 1 : place.end_lineno] = [" " * place.col_offset + quoted]
    return "\n".join(lines)


def _written(value, calls: dict, indent: int = 0) -> str:
    """The expression that makes a value again, broken over lines where it is long."""
    if isinstance(value, nn.Module):
        _, cls, arguments, options = calls[id(value)]
        name = cls.__name__ if _is_ours(cls) else f"nn.{cls.__name__}"
        options = _without_defaults(cls, len(arguments), options)
        entries = [("", a) for a in arguments] + [(f"{k}=", v) for k, v in options.items()]
        return _call(f"{name}(", entries, ")", calls, indent)
    if isinstance(value, list) and value and isinstance(value[0], nn.Module):
        return _list(value, calls, indent)
    if isinstance(value, list | tuple) and value:
        inner = ", ".join(_written(v, calls, indent) for v in value)
        return f"[{inner}]" if isinstance(value, list) else f"({inner}{',' if len(value) == 1 else ''})"
    if inspect.isclass(value) or inspect.isfunction(value):
        return value.__name__ if _is_ours(value) else f"nn.{value.__name__}"
    return repr(value)


def _without_defaults(cls: type, positional: int, options: dict) -> dict:
    parameters = inspect.signature(cls).parameters
    return {
        k: v
        for k, v in options.items()
        if k not in parameters or isinstance(v, nn.Module) or not _same(v, parameters[k].default)
    }


def _same(value, default) -> bool:
    return type(value) is type(default) and value == default


def _call(opening: str, entries: list[tuple[str, object]], closing: str, calls: dict, indent: int) -> str:
    on_one_line = opening + ", ".join(key + _written(v, calls, indent) for key, v in entries) + closing
    if "\n" not in on_one_line and indent + len(on_one_line) <= WIDTH:
        return on_one_line
    inner = "".join(" " * (indent + 4) + key + _written(v, calls, indent + 4) + ",\n" for key, v in entries)
    return f"{opening}\n{inner}{' ' * indent}{closing}"


def _list(modules: list[nn.Module], calls: dict, indent: int) -> str:
    """Equal neighbours become a comprehension; so does a pattern that repeats."""
    flat = [_written(m, calls, 0) for m in modules]
    period = next(
        (p for p in (1, 2) if len(flat) > p and len(flat) % p == 0 and flat == flat[:p] * (len(flat) // p)), None
    )
    if period == 1:
        return f"[{_written(modules[0], calls, indent)} for _ in range({len(flat)})]"
    if period == 2:
        pad = " " * (indent + 8)
        inner = "".join(f"{pad}{_written(m, calls, indent + 8)},\n" for m in modules[:2])
        pad = " " * (indent + 4)
        opening = f"[\n{pad}block for _ in range({len(flat) // 2}) for block in (\n"
        return f"{opening}{inner}{pad})\n{' ' * indent}]"
    runs: list[list] = []  # [module, how many]
    for module, text in zip(modules, flat):
        if runs and text == runs[-1][2]:
            runs[-1][1] += 1
        else:
            runs.append([module, 1, text])
    inner = ""
    for module, count, _ in runs:
        entry = _written(module, calls, indent + 4)
        inner += " " * (indent + 4) + (f"*[{entry} for _ in range({count})]" if count > 1 else entry) + ",\n"
    return f"[\n{inner}{' ' * indent}]"
