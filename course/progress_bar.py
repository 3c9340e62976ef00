"""A progress bar that leaves nothing behind: in a terminal tqdm's own, in a notebook a line updated in place.

tqdm's notebook widget is not used: what it leaves in a saved notebook is a dead widget that no page can show.
"""

from tqdm import tqdm


class CellOutput:
    """One output of a notebook cell, which is shown anew again and again; tqdm can write its bar to it."""

    encoding = "utf-8"  # tells tqdm that it may draw with block characters

    def __init__(self) -> None:
        self.handle = None

    def show(self, bundle: dict) -> None:
        """Show a MIME bundle, instead of what was there."""
        from IPython.display import display

        if self.handle is None:
            self.handle = display(bundle, raw=True, display_id=True)
        else:
            self.handle.update(bundle, raw=True)

    def write(self, text: str) -> None:
        line = text.strip("\r\n ")
        if line:
            self.show({"text/plain": line})

    def flush(self) -> None:
        pass


def progress_bar(total: int, output: CellOutput | None, **options) -> tqdm:
    """A tqdm bar to ``update``; shown only if the work takes more than a second, and gone when it is done.

    Args:
        total: the number of steps (or bytes).
        output: where to write it in a notebook, and to leave there is the caller's choice; None: stderr.
        options: passed on to tqdm.
    """
    if output:
        options |= {"file": output, "ncols": 90}
    return tqdm(total=total, leave=False, delay=1.0, **options)
