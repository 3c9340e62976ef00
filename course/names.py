"""One way of saying that a name is not known: the nearest one, and all of them."""

from collections.abc import Iterable
from difflib import get_close_matches


def one_of(name: str, known: Iterable[str], problem: str) -> str:
    """Return `name` if it is among the known ones.

    Raises:
        ValueError: ``<problem> 'name': did you mean 'nearest'? There are: ...``
    """
    known = list(known)
    if name in known:
        return name
    near = get_close_matches(str(name).lower(), known, n=1)
    guess = f": did you mean {near[0]!r}?" if near else "."
    raise ValueError(f"{problem} {name!r}{guess} There are: {', '.join(known)}")
