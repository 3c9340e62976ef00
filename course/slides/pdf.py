"""A page as a PDF, by the browser of this machine."""

import shutil
import subprocess
import tempfile
from pathlib import Path

from course.authoring.repository import AuthoringError

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
LONGEST = 300  # seconds that a browser may take for one file


def find_browser() -> str:
    """Raises AuthoringError, saying what else to do, if there is none."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        raise AuthoringError(
            f"a PDF is printed by a browser, and none of {', '.join(BROWSERS)} is on this machine: install one, or open "
            "the deck in your own browser with ?print-pdf behind its address and print it to a file"
        )
    return found


def print_pdf(browser: str, page: Path, out: Path, query: str = "") -> None:
    """Print an HTML file to `out`; `query` stands behind its address. Raises AuthoringError if that fails."""
    with tempfile.TemporaryDirectory() as profile:
        command = [browser, "--headless=new", "--disable-gpu", "--no-sandbox", f"--user-data-dir={profile}"]
        command += ["--no-pdf-header-footer", "--virtual-time-budget=60000", f"--print-to-pdf={out}"]
        try:
            run = subprocess.run(
                [*command, page.resolve().as_uri() + query], capture_output=True, text=True, timeout=LONGEST
            )
        except subprocess.TimeoutExpired:
            raise AuthoringError(f"{page}: the browser did not print it within {LONGEST} seconds") from None
    if not out.is_file():
        raise AuthoringError(
            f"{page}: the browser printed no PDF: {(run.stderr.strip().splitlines() or ['no word why'])[-1]}"
        )
