"""What must hold of the finished pages: links lead somewhere, nothing comes from the network, pictures have words."""

import html
import os
import re
from pathlib import Path
from urllib.parse import unquote

_TAG = re.compile(r"<([a-zA-Z][\w-]*)\b([^>]*)>")
_ATTRIBUTE = re.compile(r"""([\w:-]+)\s*=\s*(?:"([^"]*)"|'([^']*)')""")
_NOT_SHOWN = re.compile(r"<!--.*?-->|(<(script|style)\b[^>]*>).*?</\2>", re.DOTALL)
_ELSEWHERE = re.compile(r"([a-z][a-z0-9+.-]*:|//)", re.IGNORECASE)
_FETCHED = {"script", "link", "img", "iframe", "source", "video", "audio", "embed", "object"}  # as the page opens
_NOT_FETCHED = {"canonical", "index", "search", "next", "prev", "author", "license"}  # kinds of <link> that only point


def faults_of(site: Path) -> list[str]:
    """One sentence for each fault of the HTML files below a folder, beginning with the page's path."""
    pages = {path.relative_to(site).as_posix(): _Page(path) for path in sorted(site.rglob("*.html"))}
    faults = []
    for name, page in pages.items():
        if not page.has_heading:
            faults.append(f"{name}: has no first-level heading")
        if not page.has_language:
            faults.append(f"{name}: does not say in which language it is")
        faults += [f"{name}: {said}" for said in page.faults]
        faults += [f"{name}: {said}" for link in page.links for said in _leads_nowhere(link, name, pages, site)]
    return list(dict.fromkeys(faults))


def _leads_nowhere(link: str, page: str, pages: dict[str, "_Page"], site: Path) -> list[str]:
    path, _, fragment = link.partition("#")
    path = unquote(path.partition("?")[0])
    target = os.path.normpath(os.path.join(os.path.dirname(page), path)) if path else page
    if target.startswith("..") or not (site / target).is_file():
        return [f"the link to {link} leads nowhere"]
    if fragment and target in pages and unquote(fragment) not in pages[target].ids:
        return [f"the link to {link} leads to a page that has no such place"]
    return []


class _Page:
    """What one HTML file says of itself.

    Attributes:
        ids: places that links can lead to. links: to files of the site. faults: what is wrong with the page whatever the others are.
    """

    def __init__(self, path: Path):
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.faults: list[str] = []
        self.has_heading = self.has_language = False
        text = _NOT_SHOWN.sub(lambda found: found[1] or "", path.read_text(encoding="utf-8"))
        for tag, written in _TAG.findall(text):
            attributes = {name.lower(): html.unescape(a or b) for name, a, b in _ATTRIBUTE.findall(written)}
            self._see(tag.lower(), attributes)

    def _see(self, tag: str, attributes: dict[str, str]) -> None:
        if "id" in attributes:
            self.ids.add(attributes["id"])
        self.has_heading |= tag == "h1"
        self.has_language |= tag == "html" and bool(attributes.get("lang"))
        if tag == "img" and not attributes.get("alt", "").strip():
            self.faults.append(f"the picture {attributes.get('src', '')[:60]} has no words for who cannot see it")
        address = attributes.get("src") or attributes.get("href") or attributes.get("data") or ""
        if not address or address == "#":
            return
        if not _ELSEWHERE.match(address):
            self.links.append(address)
        elif tag in _FETCHED and not address.startswith("data:") and attributes.get("rel") not in _NOT_FETCHED:
            self.faults.append(f"{address} would be fetched from the network")
