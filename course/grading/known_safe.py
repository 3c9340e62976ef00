"""The only way from what a student's process says to a page: read, and written anew from parts that are known here.

That process has seen the hidden inputs, and every text that it sends is the student's to choose: a number can be spelt
in digits, in words, in a name, in an order. So no text is filtered. What is recognised is written again: the kind of
note, the type of an error from a list, the student's own line from the notebook that was handed in, Python's and
torch's sentences from `SENTENCES`. What these leave open is filled in only with what is known without the process:
names that stand in the student's text where they must, and numbers that are sizes of that very call. The rest is
dropped, and a sentence says so.

What is left is a choice between texts that are all known beforehand. `docs/not_promised.md` says how wide it is.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache

from torch import Tensor

from course.checks.calls import FORBIDDEN, PLAIN, Call, Observation, Probe
from course.checks.compare import Expected
from course.checks.from_scratch import MACHINERY, Use, covered
from course.checks.observe import HANGING
from course.checks.operators import all_operators, worker_of

MOST_LINES = 500  # of a cell of which a line is named
MOST_SIZES = 40  # that a message about a call may name
MOST_LITERALS = 10  # whole numbers of the student's own cell that count as sizes, too
MOST_NUMBERS = 6  # that are shown of one message
MOST_PARAMETERS = 4  # of the student's own that are named
LONGEST_MESSAGE = 700  # characters of an error that are read
LONGEST_LINE = 150  # characters of a line that is shown

HIDDEN = "its message is not shown, because it could carry hidden numbers; the check in your notebook shows it"

ERRORS = frozenset(
    [
        "ArithmeticError",
        "AssertionError",
        "AttributeError",
        "BufferError",
        "ConnectionError",
        "EOFError",
        "EnvironmentError",
        "Exception",
        "FileExistsError",
        "FileNotFoundError",
        "FloatingPointError",
        "ImportError",
        "IndentationError",
        "IndexError",
        "InterruptedError",
        "IsADirectoryError",
        "KeyError",
        "KeyboardInterrupt",
        "LookupError",
        "MemoryError",
        "ModuleNotFoundError",
        "NameError",
        "NotADirectoryError",
        "NotImplementedError",
        "OSError",
        "OverflowError",
        "PermissionError",
        "RecursionError",
        "ReferenceError",
        "RuntimeError",
        "StopIteration",
        "SyntaxError",
        "SystemError",
        "SystemExit",
        "TabError",
        "TimeoutError",
        "TypeError",
        "UnboundLocalError",
        "UnicodeDecodeError",
        "UnicodeEncodeError",
        "UnicodeError",
        "ValueError",
        "ZeroDivisionError",
        "EinopsError",
        "OutOfMemoryError",
        "LinAlgError",
        "AxisError",
        "BrokenPipeError",
        "BlockingIOError",
    ]
)
OF_YOUR_OWN = "an exception of your own"

# Classes of Python, NumPy and torch that a sentence may name.
TYPES = frozenset(
    [
        "int",
        "float",
        "complex",
        "bool",
        "str",
        "bytes",
        "list",
        "tuple",
        "dict",
        "set",
        "frozenset",
        "range",
        "slice",
        "function",
        "method",
        "type",
        "module",
        "generator",
        "NoneType",
        "ellipsis",
        "object",
        "map",
        "zip",
        "filter",
        "enumerate",
        "reversed",
        "property",
        "builtin_function_or_method",
        "method_descriptor",
        "dict_keys",
        "dict_values",
        "dict_items",
        "list_iterator",
        "torch.Size",
        "torch.dtype",
        "torch.device",
        "Tensor",
        "Parameter",
        "Size",
        "dtype",
        "device",
        "ndarray",
        "float32",
        "float64",
        "int64",
        "float16",
        "Generator",
        "Fraction",
        "Decimal",
        "partial",
        "Module",
        "ModuleList",
        "ModuleDict",
        "ParameterList",
        "Sequential",
        "Linear",
        "Conv1d",
        "Conv2d",
        "Conv3d",
        "LayerNorm",
        "BatchNorm2d",
        "GroupNorm",
        "Embedding",
        "Dropout",
        "GELU",
        "ReLU",
        "SiLU",
        "Sigmoid",
        "Softmax",
        "Tanh",
        "Identity",
        "Flatten",
        "AvgPool2d",
        "MaxPool2d",
        "AdaptiveAvgPool2d",
        "Unfold",
        "AdamW",
        "Adam",
        "SGD",
        "FakeTensor",
    ]
)
KINDS_OF_NUMBERS = frozenset(
    [
        "Float",
        "Double",
        "Half",
        "BFloat16",
        "Long",
        "Int",
        "Short",
        "Byte",
        "Char",
        "Bool",
        "ComplexFloat",
        "float",
        "double",
        "int",
        "long",
        "bool",
        "half",
        "torch.bool",
        "torch.uint8",
        "torch.uint16",
        "torch.uint32",
        "torch.uint64",
        "torch.int8",
        "torch.int16",
        "torch.int32",
        "torch.int64",
        "torch.float16",
        "torch.bfloat16",
        "torch.float32",
        "torch.float64",
        "torch.complex32",
        "torch.complex64",
        "torch.complex128",
        "torch.float8_e4m3fn",
        "torch.float8_e5m2",
        "torch.qint8",
        "torch.quint8",
        "torch.qint32",
    ]
)
LAYOUTS = frozenset(
    f"torch.{layout}" for layout in ["sparse_coo", "sparse_csr", "sparse_csc", "sparse_bsr", "sparse_bsc", "jagged"]
)
PARTS_OF_LAYERS = frozenset(["weight", "bias", "in_proj_weight", "in_proj_bias", "out_proj"])

# What may stand in the holes of `SENTENCES`, before it is checked.
_HOLES = {
    "n": r"-?\d{1,9}",
    "shape": r"[\[({]?-?\d{1,9}(?:, ?-?\d{1,9}){0,7},?[\])}]?|\[\]|\(\)",
    "name": r"[A-Za-z_][A-Za-z0-9_]{0,60}",  # in the line that is shown
    "callee": r"[A-Za-z_][A-Za-z0-9_.<>]{0,120}",
    "names": r"'[A-Za-z_]\w{0,60}'(?:(?:, and |, | and )'[A-Za-z_]\w{0,60}'){0,9}",
    "module": r"[A-Za-z_][\w.]{0,120}",
    "type": r"[A-Za-z_][\w.]{0,60}",
    "kind": r"(?:long |short |unsigned )?[A-Za-z_.0-9]{1,30}",
    "sign": r"[-+*/%@&|^<>=]{1,3}|\*\* or pow\(\)|//|divmod\(\)",
    "quoted": r"[^\"\n]{1,120}",  # the same text stands in the student's cell
    "reduction": r"(?:rearrange|repeat|mean|max|min|sum|prod|any|all)-reduction|repeat",
    "info": r"\{[^{}]{0,120}\}",  # lengths of axes, by name
    "line": r"\d{1,4}",
    "any": r"(?s:.*)",  # never shown
}

# The text as Python, torch and einops write it; <hole>s are checked, and what stands for <any> is dropped.
SENTENCES = [
    # shapes
    "mat1 and mat2 shapes cannot be multiplied (<n>x<n> and <n>x<n>)",
    "The size of tensor a (<n>) must match the size of tensor b (<n>) at non-singleton dimension <n>",
    "shape '<shape>' is invalid for input of size <n>",
    "Sizes of tensors must match except in dimension <n>. Expected size <n> but got size <n> for tensor number <n> in the list.",
    "Tensors must have same number of dimensions: got <n> and <n>",
    "stack expects each tensor to be equal size, but got <shape> at entry <n> and <shape> at entry <n>",
    "Expected size for first two dimensions of batch2 tensor to be: <shape> but got: <shape>.",
    "batch1 must be a 3D tensor",
    "batch2 must be a 3D tensor",
    "size mismatch, got input (<n>), mat (<n>x<n>), vec (<n>)",
    "inconsistent tensor size, expected tensor <shape> and src <shape> to have the same number of elements, but got <n> and <n> elements respectively",
    "Dimension out of range (expected to be in range of [<n>, <n>], but got <n>)",
    "Dimension specified as <n> but tensor has no dimensions",
    "index <n> is out of bounds for dimension <n> with size <n>",
    "index out of range in self",
    "too many indices for tensor of dimension <n>",
    "invalid index of a 0-dim tensor. Use `tensor.item()` in Python or `tensor.item<T>()` in C++ to convert a 0-dim tensor to a number",
    "iteration over a 0-d tensor",
    "len() of a 0-d tensor",
    "The expanded size of the tensor (<n>) must match the existing size (<n>) at non-singleton dimension <n>.  Target sizes: <shape>.  Tensor sizes: <shape>",
    "expand(<any>): the number of sizes provided (<n>) must be greater or equal to the number of dimensions in the tensor (<n>)",
    "permute(sparse_coo): number of dimensions in the tensor input does not match the length of the desired ordering of dimensions i.e. input.dim() = <n> is not equal to len(dims) = <n>",
    "view size is not compatible with input tensor's size and stride (at least one dimension spans across two contiguous subspaces). Use .reshape(...) instead.",
    "Given normalized_shape=<shape>, expected input with shape [*, <n>], but got input of size<shape>",
    "Given groups=<n>, weight of size <shape>, expected input<shape> to have <n> channels, but got <n> channels instead",
    "Expected <n>D (unbatched) or <n>D (batched) input to <callee>, but got input of size: <shape>",
    "Calculated padded input size per channel: (<n> x <n>). Kernel size: (<n> x <n>). Kernel size can't be greater than actual input size",
    "The shape of the mask <shape> at index <n> does not match the shape of the indexed tensor <shape> at index <n>",
    "shape mismatch: value tensor of shape <shape> cannot be broadcast to indexing result of shape <shape>",
    "shape mismatch: indexing tensors could not be broadcast together with shapes <shape>, <shape>",
    "Expected input batch_size (<n>) to match target batch_size (<n>).",
    "split_with_sizes expects split_sizes to sum exactly to <n> (input tensor's size at dimension <n>), but got split_sizes=<shape>",
    "unflatten: Provided sizes <shape> don't multiply up to the size of dim <n> (<n>) in the input tensor",
    "Number of dimensions of repeat dims can not be smaller than number of dimensions of tensor",
    "Padding length must be divisible by 2",
    "running_mean should contain <n> elements not <n>",
    "num_channels (<n>) must be divisible by num_groups (<n>)",
    "Expected number of channels in input to be divisible by num_groups, but got input of shape <shape> and num_groups=<n>",
    "embed_dim must be divisible by num_heads",
    "zeros: Dimension size must be non-negative.",
    "Index tensor must have the same number of dimensions as input tensor",
    "cannot reshape tensor of 0 elements into shape <shape> because the unspecified dimension size -1 can be any value and is ambiguous",
    "expected sequence of length <n> at dim <n> (got <n>)",
    "einsum(): subscript <any> has size <n> for operand <n> which does not broadcast with previously seen size <n>",
    "einsum(): the number of subscripts in the equation (<n>) does not match the number of dimensions (<n>) for operand <n> and no ellipsis was given",
    "einsum(): fewer operands were provided than specified in the equation",
    *(
        f'Error while processing <reduction> pattern "<quoted>". Input tensor shape: torch.Size(<shape>). Additional info: <info>. {why}'
        for why in (
            "Shape mismatch, can't divide axis of length <n> in chunks of <n>",
            "Shape mismatch, <n> != <n>",
            "Wrong shape: expected <n> dims. Received <n>-dim tensor.",
            "Identifiers only on one side of expression (should be on both): <any>",
            "<any>",
        )
    ),
    'Error while processing <reduction> pattern "<quoted>".<any>',
    # kinds of numbers, gradients
    "expected m1 and m2 to have the same dtype, but got: <kind> != <kind>",
    "mat1 and mat2 must have the same dtype, but got <kind> and <kind>",
    "expected scalar type <kind> but found <kind>",
    "result type <kind> can't be cast to the desired output type <kind>",
    "<callee>(): could not infer output dtype. Input dtype must be either a floating point or complex dtype. Got: <kind>",
    "\"<any>\" not implemented for '<kind>'",
    "tensors used as indices must be long, int, byte or bool tensors",
    "Subtraction, the `-` operator, with a bool tensor is not supported. If you are trying to invert a mask, use the `~` or `logical_not()` operator instead.",
    "Subtraction, the `-` operator, with two bool tensors is not supported. Use the `^` or `logical_xor()` operator instead.",
    "Negation, the `-` operator, on a bool tensor is not supported. If you are trying to invert a mask, use the `~` or `logical_not()` operator instead.",
    "a leaf Variable that requires grad is being used in an in-place operation.",
    "a view of a leaf Variable that requires grad is being used in an in-place operation.",
    "one of the variables needed for gradient computation has been modified by an inplace operation<any>",
    "Trying to backward through the graph a second time<any>",
    "element <n> of tensors does not require grad and does not have a grad_fn",
    "grad can be implicitly created only for scalar outputs",
    "Only Tensors of floating point and complex dtype can require gradients",
    "Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.",
    "Boolean value of Tensor with more than one value is ambiguous",
    "Boolean value of Tensor with no values is ambiguous",
    "only one element tensors can be converted to Python scalars",
    "only integer tensors of a single element can be converted to an index",
    "a Tensor with <n> elements cannot be converted to Scalar",
    "Output 0 of <any> is a view and is being modified inplace.<any>",
    # modules
    'Module [<type>] is missing the required "forward" function',
    "cannot assign module before Module.__init__() call",
    "cannot assign parameters before Module.__init__() call",
    "cannot assign '<any>' as parameter '<name>' (torch.nn.Parameter or None expected)",
    "cannot assign '<any>' as child module '<name>' (torch.nn.Module or None expected)",
    "'<type>' object has no attribute '<name>'",
    # Python
    "name '<name>' is not defined",
    "cannot access local variable '<name>' where it is not associated with a value",
    "cannot access free variable '<name>' where it is not associated with a value in enclosing scope",
    "module '<module>' has no attribute '<name>'",
    "type object '<type>' has no attribute '<name>'",
    "No module named '<module>'",
    "cannot import name '<name>' from '<module>'<any>",
    "<callee>() missing <n> required positional argument: <names>",
    "<callee>() missing <n> required positional arguments: <names>",
    "<callee>() missing <n> required keyword-only argument: <names>",
    '<callee>() missing <n> required positional arguments: "<any>"',
    "<callee>() takes <n> positional argument but <n> were given",
    "<callee>() takes <n> positional argument but <n> was given",
    "<callee>() takes <n> positional arguments but <n> were given",
    "<callee>() takes <n> positional arguments but <n> was given",
    "<callee>() takes from <n> to <n> positional arguments but <n> were given",
    "<callee>() got an unexpected keyword argument '<name>'",
    "<callee>() got multiple values for argument '<name>'",
    "<callee>() received an invalid combination of arguments<any>",
    "<callee>(): argument '<any>' (position <n>) must be <any>, not <type>",
    "'<type>' object is not callable",
    "'<type>' object is not subscriptable",
    "'<type>' object is not iterable",
    "'<type>' object does not support item assignment",
    "'<type>' object cannot be interpreted as an integer",
    "cannot unpack non-iterable <type> object",
    "unsupported operand type(s) for <sign>: '<type>' and '<type>'",
    "bad operand type for unary <sign>: '<type>'",
    "'<sign>' not supported between instances of '<type>' and '<type>'",
    "object of type '<type>' has no len()",
    "unhashable type: '<type>'",
    'can only concatenate str (not "<type>") to str',
    'can only concatenate list (not "<type>") to list',
    'can only concatenate tuple (not "<type>") to tuple',
    "can't multiply sequence by non-int of type '<type>'",
    "list indices must be integers or slices, not <type>",
    "tuple indices must be integers or slices, not <type>",
    "string indices must be integers, not '<type>'",
    "slice indices must be integers or None or have an __index__ method",
    "list index out of range",
    "list assignment index out of range",
    "tuple index out of range",
    "string index out of range",
    "pop from empty list",
    "not enough values to unpack (expected <n>, got <n>)",
    "too many values to unpack (expected <n>)",
    "division by zero",
    "float division by zero",
    "integer division or modulo by zero",
    "integer modulo by zero",
    "math domain error",
    "maximum recursion depth exceeded<any>",
    "range() arg 3 must not be zero",
    "invalid literal for int() with base 10: <any>",
    "could not convert string to float: <any>",
    "'<name>'",  # KeyError
    "your code asked Python to quit",
    "EOF when reading a line",
    "[Errno 2] No such file or directory: '<quoted>'",
    "object <type> can't be used in 'await' expression",
    "nonlocal declaration not allowed at module level",
    "can't start new thread",
    "<any>DefaultCPUAllocator: can't allocate memory<any>",
    "<name> hung or crashed before and was left out",
    # no Python
    "invalid syntax",
    "invalid syntax. Perhaps you forgot a comma?",
    "invalid syntax. Maybe you meant '==' or ':=' instead of '='?",
    "invalid character <any>",
    "invalid decimal literal",
    "invalid non-printable character <any>",
    "cannot assign to <any> here. Maybe you meant '==' instead of '='?",
    "cannot assign to <any>",
    "expected ':'",
    "expected '('",
    "expected 'except' or 'finally' block",
    "expected an indented block after <any> on line <line>",
    "unexpected indent",
    "unindent does not match any outer indentation level",
    "inconsistent use of tabs and spaces in indentation",
    "unexpected EOF while parsing",
    "unexpected character after line continuation character",
    "unterminated string literal (detected at line <line>)",
    "unterminated triple-quoted string literal (detected at line <line>)",
    "f-string: <any>",
    "'return' outside function",
    "'break' outside loop",
    "'continue' not properly in loop",
    "'yield' outside function",
    "positional argument follows keyword argument",
    "non-default argument follows default argument",
    "Missing parentheses in call to 'print'. Did you mean print(...)?",
    "Generator expression must be parenthesized",
    *(f"'{bracket}' was never closed" for bracket in "([{"),
    *(f"unmatched '{bracket}'" for bracket in ")]}"),
    *(f"closing parenthesis '{b}' does not match opening parenthesis '{a}'<any>" for b in ")]}" for a in "([{"),
]


@dataclass(frozen=True)
class Asked:
    """One call, as it is known here.

    Args:
        target: the name that the student defines.
        arguments: the names of what it receives.
        parameters: their shapes by name, for a module, in all layouts.
        results: how many tensors the right answer returns; 0 for one that is not in a tuple.
        gradients: the names that gradients are asked for.
        after: the modules that are asked once more when the call is through.
        sizes: what a message about shapes may name.
        start: the parameters whose first values are looked at.
    """

    target: str = ""
    arguments: tuple[str, ...] = ()
    parameters: dict[str, tuple[int, ...]] = field(default_factory=dict)
    results: int = 0
    gradients: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    sizes: frozenset[int] = frozenset()
    start: tuple[str, ...] = ()


@dataclass(frozen=True)
class Known:
    """What is known here of one exercise and of what one student handed in for it.

    Args:
        calls: what is asked.
        exercises: names that an exercise may be called by (``"hw1.attention_scores"``).
        forbidden: full names that the exercise forbids.
        cell: the student's cell for it, as it is run.
        cells: all cells that are run, and the student's own modules.
        files: of these modules, file and text.
        memory: bytes that a submission may use.
    """

    calls: tuple[Asked, ...] = ()
    exercises: frozenset[str] = frozenset()
    forbidden: tuple[str, ...] = ()
    cell: str = ""
    cells: tuple[str, ...] = ()
    files: tuple[tuple[str, str], ...] = ()
    memory: int = 0

    def about(self, cell: str, cells: Iterable[str], memory: int, files: Iterable[tuple[str, str]] = ()) -> "Known":
        """The same, of one student."""
        files = tuple(files)
        return replace(self, cell=cell, cells=(*cells, *(text for _, text in files)), memory=memory, files=files)


# -- what is known of an exercise


def known_of(
    expected: Expected,
    calls: Iterable[Call] = (),
    exercises: Iterable[str] = (),
    forbidden: Iterable[str] = (),
) -> Known:
    """What an exam knows of one of its exercises. Without `calls`, as much as the right answer tells."""
    calls = list(calls) or [None] * expected.calls
    asked = tuple(_asked(i, call, expected.answer) for i, call in enumerate(calls))
    return Known(asked, frozenset(exercises), tuple(forbidden))


def _asked(i: int, call: Call | None, answer: Observation) -> Asked:
    shown = {key.split(".", 1)[1]: tensor for key, tensor in answer.tensors.items() if key.startswith(f"{i}.")}
    results = sum(key.startswith("out.") for key in shown)
    gradients = tuple(key.removeprefix("grad.") for key in shown if key.startswith("grad."))
    after = tuple(key.removeprefix("after.") for key in shown if key.startswith("after."))
    if call is None:
        return Asked(results=results, gradients=gradients, after=after, sizes=_sizes(shown.values(), []))
    values = [*call.arguments.values(), *(call.init or {}).values(), *call.parameters.values()]
    tensors = [value for value in values if isinstance(value, Tensor)]
    for value in values:
        if isinstance(value, Probe):
            tensors += value.tensors.values()
    plain = [value for value in values if type(value) is int]
    asked_later = [name for name, v in call.arguments.items() if isinstance(v, Probe) and v.ask is not None]
    return Asked(
        call.target,
        tuple(call.arguments),
        {name: shape for layout in reversed(call.shapes()) for name, shape in layout.items()},
        results,
        tuple(dict.fromkeys((*gradients, *call.gradients, *call.parameters))),
        tuple(dict.fromkeys((*after, *asked_later))),
        _sizes([*tensors, *shown.values()], plain),
        call.start,
    )


def _sizes(tensors: Iterable[Tensor], plain: Iterable[int]) -> frozenset[int]:
    """Axes, then axes flattened together, then what a head or a patch makes of them; the first `MOST_SIZES`."""
    shapes = [tuple(tensor.shape) for tensor in tensors]
    single = [*(size for shape in shapes for size in shape), *(value for value in plain if 0 < value < 10**6)]
    found = dict.fromkeys([0, 1, *single])
    for shape in shapes:
        for first in range(len(shape)):
            product = shape[first]
            for size in shape[first + 1 :]:
                product *= size
                found[product] = None
    singles = sorted(set(single))[:12]
    for a in singles:
        for b in singles:
            found[a * b] = None
            if b and not a % b:
                found[a // b] = None
    return frozenset([size for size in found if 0 <= size < 10**9][:MOST_SIZES])


# -- an observation


def observation(seen: Observation, known: Known) -> Observation:
    """The same observation with names and notes of ours. Tensors stay as they are: they are compared, not shown."""
    made = Observation()
    for i, asked in enumerate(known.calls):
        prefix = f"{i}."
        for key, tensor in seen.tensors.items():
            if key.startswith(prefix):
                made.tensors[prefix + _key(key[len(prefix) :], asked)] = tensor
        for key, note in seen.notes.items():
            if key.startswith(prefix) and key != FORBIDDEN:
                kind = key[len(prefix) :]
                write = _NOTES.get(kind)
                # One of no kind that there is makes the call wrong, as it did.
                made.notes[prefix + (kind if write else "error")] = (write or _unknown)(note, asked, known)
    if FORBIDDEN in seen.notes:
        made.notes[FORBIDDEN] = _refused(seen.notes[FORBIDDEN], known)
    return made


def _key(key: str, asked: Asked) -> str:
    kind, _, name = key.partition(".")
    if kind in ("after", "start") and not asked.target:  # where no call is known; no sentence says its name
        return key
    if key == "out" or (kind == "grad" and name in asked.gradients) or (kind == "after" and name in asked.after):
        return key
    if kind == "start" and name in asked.start:
        return key
    if kind == "out" and name.isascii() and name.isdigit() and name == str(int(name[:4])) and int(name) < asked.results:
        return key
    return f"out.{asked.results}"  # whatever there is too much


def _error(note: str, asked: Asked, known: Known) -> str:
    found = re.fullmatch(r"(.*?)(?: \(line (\d{1,20}) of (your cell|[\w./]{1,100}\.py)(?:: (.*))?\))?", note, re.DOTALL)
    texts = [text for file, text in known.files if file == found[3]] if found[3] != "your cell" else None
    line = _own_line(int(found[2] or 0), found[4] or "", (known.cell, *known.cells) if texts is None else texts)
    said = error(found[1], known, sizes=asked.sizes, line=line[1] if line else None)
    if not line:
        return said
    number, text = line
    return f"{said} (line {number} of {found[3]}{': ' + text[:LONGEST_LINE] if text else ''})"


def _own_line(number: int, claimed: str, texts: Iterable[str]) -> tuple[int, str] | None:
    """(number, text) of a line that was handed in, in the first of some texts that has it."""
    claimed = claimed.removesuffix(" …")
    for cell in texts:
        lines = cell.split("\n")
        if 0 < number <= len(lines) <= MOST_LINES:
            text = lines[number - 1].strip()
            if text == claimed or (claimed and text.startswith(claimed)):
                return number, text
    return None


def _undefined(note: str, asked: Asked, known: Known) -> str:
    return asked.target or "What is asked for"


def _unwritten(note: str, asked: Asked, known: Known) -> str:
    return note if note in known.exercises else "An exercise"


def _changed(note: str, asked: Asked, known: Known) -> str:
    return note if note in asked.arguments else "…"


def _plain(note: str, asked: Asked, known: Known) -> str:
    return note if note == "an array" else "a list"


def _no_gradient(note: str, asked: Asked, known: Known) -> str:
    return "the result is cut off from the inputs"


def _unknown(note: str, asked: Asked, known: Known) -> str:
    return f"{OF_YOUR_OWN}: {HIDDEN}"


def _type(note: str, asked: Asked, known: Known) -> str:
    if note in ("nothing", HANGING):
        return note
    if asked.target and note.startswith(f"{asked.target} is not an nn.Module"):
        return f"{asked.target} is not an nn.Module: write `class {asked.target}(nn.Module)`"
    if note.startswith(("a tuple of ", "a list of ")):
        return f"a {note[2:].partition(' ')[0]} of far too many results"
    if note.startswith("a tensor of shape "):
        return "a tensor with too many axes, or too long ones"
    if (kind := note.removeprefix("a tensor of dtype ")) in KINDS_OF_NUMBERS:
        return f"a tensor of dtype {kind}"
    if (kind := note.removeprefix("a ").removesuffix(" tensor")) in LAYOUTS:
        return f"a {kind} tensor"
    name = note.removeprefix("a ")
    is_known = name in TYPES or name in _classes((known.cell, *known.cells))
    return f"a {name}" if is_known else "an object of another kind"


def _parameters(note: str, asked: Asked, known: Known) -> str:
    missing, _, there = note.partition("; yours has ")
    named = set(re.findall(r"([\w.]{1,100}) \(", missing))
    entries = re.findall(r"([\w.]{1,100}) \(([\d, ]{0,60})\)", there)
    found = {name: tuple(int(size) for size in re.findall(r"\d{1,9}", shape)) for name, shape in entries}
    known_names = asked.parameters.items()
    expected = [f"{name} {shape}" for name, shape in known_names if name in named and found.get(name) != shape]
    words = _words((known.cell, *known.cells)) | PARTS_OF_LAYERS
    own = []
    for name, shape in sorted(found.items()):
        if asked.parameters.get(name) == shape:
            continue
        parts = name.split(".")
        fits = name in asked.parameters or all(part in words or re.fullmatch(r"\d", part) for part in parts)
        sizes = tuple(size if size in asked.sizes | _literals(known.cell) else "…" for size in shape[:5])
        shape_text = ", ".join(map(str, sizes)) + ("," if len(sizes) == 1 else "")
        own.append(f"{name if fits else '…'} ({shape_text})")
    more = ", …" if len(own) > MOST_PARAMETERS else ""
    yours = ", ".join(own[:MOST_PARAMETERS]) or "none"
    left_out = ", …" if re.search(r" and \d{1,4} more$", missing) else ""
    return f"expected {', '.join(expected) or 'no others'}{left_out}; yours has {yours}{more}"


_NOTES: dict[str, Callable[[str, Asked, Known], str]] = {
    "error": _error,
    "undefined": _undefined,
    "unwritten": _unwritten,
    "changed": _changed,
    "no_gradient": _no_gradient,
    PLAIN: _plain,
    "type": _type,
    "parameters": _parameters,
}

UNSEALED = (
    "While your code ran, the watch over what it uses was switched off or changed. No answer needs that: leave the "
    "course's own modules and torch's tables of operators alone."
)

_REFUSED = re.compile(
    r"(?:Line (\d{1,5}) of your cell|Your code)(?: \(inside (\w{1,60})\))? uses (torch's operator )?([\w.:]{1,120}), "
    "which (?:does this exercise|checks your work).*"
)


def _refused(note: str, known: Known) -> str:
    """The sentence of `course.checks.from_scratch` about what was refused at run time, or that the guards were gone."""
    if note == UNSEALED:
        return note
    found = _REFUSED.fullmatch(note)
    written, name = ("what is forbidden", "") if found is None else _named(found[3] or "", found[4], known)
    number = int(found[1]) if found and found[1] else 0
    longest = max((len(cell.split("\n")) for cell in (known.cell, *known.cells)), default=0)
    inside = found[2] if found and found[2] in _classes((known.cell, *known.cells)) else ""
    return Use(written, number if number <= min(longest, MOST_LINES) else 0, inside or "", name).sentence


def _named(operator: str, written: str, known: Known) -> tuple[str, str]:
    """What may be said to have been used, and its full name."""
    full = re.sub(r"\Ann\.", "torch.nn.", re.sub(r"\AF\.", "torch.nn.functional.", written))
    if operator:
        known_to_torch = any(re.split("::|\\.", name)[1] == written for name in all_operators())
        does = worker_of(written, known.forbidden) if known_to_torch else None
        return (f"{operator}{written}", does) if does else ("what is forbidden", "")
    if full in known.forbidden or (covered(full, (*known.forbidden, *MACHINERY)) and written in known.cell):
        return written, full
    return ("the course's own modules", MACHINERY[0]) if covered(full, MACHINERY) else ("what is forbidden", "")


# -- an error


def error(text: str, known: Known, sizes: frozenset[int] = frozenset(), line: str | None = None) -> str:
    """``"NameError: name 'x' is not defined"``, written anew.

    Args:
        text: what the process says.
        sizes: that its numbers may be, beside numbers that stand in the student's cell.
        line: the student's line in which it was raised; names must stand there. None: in the student's cell.
    """
    kind, _, said = text.partition(":")
    said = " ".join(said[:LONGEST_MESSAGE].split()).removesuffix(" …")
    if kind in ("Forbidden", "ForbiddenImport"):
        return f"{kind}: {_refused(said, known)}"
    if kind not in ERRORS:
        return f"{OF_YOUR_OWN}: {HIDDEN}" if said else OF_YOUR_OWN
    if not said:
        return f"{kind}:" if ":" in text else kind
    if kind == "SystemExit" and said in ("0", "1", "None"):
        return kind if said == "None" else f"{kind}: {said}"
    allowed = f"it asked for more memory than the {known.memory / 2**20:.0f} MB allowed"
    if kind == "MemoryError" and said == allowed:
        return f"{kind}: {allowed}"
    for sentence, expression, holes in _sentences():
        found = expression.fullmatch(said)
        if found:
            values = list(_filled(holes, found.groups(), sizes | _literals(known.cell), line, known))
            parts = re.split(r"<[a-z]+>", sentence)
            made = "".join(part + value for part, value in zip(parts, [*values, ""]))
            return f"{kind}: {' '.join(made.split())}"
    return f"{kind}: {HIDDEN}"


@cache
def _sentences() -> list[tuple[str, re.Pattern, list[str]]]:
    made = []
    for sentence in SENTENCES:
        sentence = " ".join(sentence.split())
        holes = re.findall(r"<([a-z]+)>", sentence)
        parts = re.split(r"<[a-z]+>", sentence)
        expression = "".join(re.escape(part) + f"({_HOLES[hole]})" for part, hole in zip(parts, holes))
        made.append((sentence, re.compile(expression + re.escape(parts[-1]), re.ASCII), holes))
    return made


def _filled(
    holes: list[str], values: tuple[str, ...], numbers: frozenset[int], line: str | None, known: Known
) -> Iterator[str]:
    left = MOST_NUMBERS

    def number(found: re.Match) -> str:
        nonlocal left
        value = int(found[0])
        # Axes are counted from both ends.
        fits = value in numbers or -8 <= value <= 8
        left -= 1
        return str(value) if fits and left >= 0 else "…"

    here = _words((line,)) if line is not None else _words((known.cell, *known.cells))
    for hole, value in zip(holes, values):
        if hole in ("n", "shape"):
            yield re.sub(r"-?\d+", number, value)
        elif hole == "line":
            yield value if int(value) <= min(len(known.cell.split("\n")), MOST_LINES) else "…"
        elif hole == "name":
            yield value if value in here else "…"
        elif hole == "callee":
            last = value.rpartition(".")[2]
            own = _classes((known.cell, *known.cells)) | {"__init__", "forward", "<lambda>"}
            fits = set(value.split(".")) <= here | own
            yield value if fits else last if last in here else "…"
        elif hole == "names":
            given = set(re.findall(r"\w+", value)) - {"and"}
            yield value if _in_one_head(given, known) else "…"
        elif hole == "module":
            yield value if set(value.split(".")) <= here or value in known.cell else "…"
        elif hole == "type":
            yield value if value in TYPES or value in _classes((known.cell, *known.cells)) else "…"
        elif hole == "kind":
            yield value if set(value.split()) <= KINDS_OF_NUMBERS else "…"
        elif hole in ("sign", "reduction"):
            yield value
        elif hole == "info":
            axes = re.findall(r"'(\w{1,30})': (-?\d{1,9})(?=[,}])", value, re.ASCII)
            pairs = [f"'{name}': {re.sub(r'-?[0-9]+', number, size)}" for name, size in axes if name in here]
            yield "{" + ", ".join(pairs) + "}"
        elif hole == "quoted":
            yield value if value in " ".join(known.cell.split()) else "…"
        else:
            yield "…"


def _in_one_head(names: set[str], known: Known) -> bool:
    """Are these the parameters of one function of the student's?"""
    texts = (known.cell, *known.cells)
    heads = (head for text in texts for head in re.findall(r"\bdef\b[^:]{0,200}", text))
    return any(names <= set(re.findall(r"\w+", head)) for head in heads)


@lru_cache(maxsize=64)
def _words(texts: tuple[str, ...]) -> frozenset[str]:
    return frozenset().union(*(re.findall(r"[A-Za-z_]\w{0,60}", text, re.ASCII) for text in texts))


@lru_cache(maxsize=64)
def _classes(texts: tuple[str, ...]) -> frozenset[str]:
    """Functions and classes that are defined there."""
    names = re.compile(r"\b(?:def|class)[ \t]+([A-Za-z_]\w{0,60})", re.ASCII)
    return frozenset().union(*map(names.findall, texts))


@lru_cache(maxsize=64)
def _literals(text: str) -> frozenset[int]:
    found = dict.fromkeys(int(number) for number in re.findall(r"(?<![\w.])\d{1,6}(?![\w.])", text))
    return frozenset(list(found)[:MOST_LITERALS])
