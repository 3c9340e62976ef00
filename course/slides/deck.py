"""Slides as one HTML file: scripts, styles, pictures and formulas are inside."""

import html
import importlib.util
from pathlib import Path

from pygments.formatters import HtmlFormatter

from course.authoring.repository import AuthoringError
from course.slides.split import Slide, inline, to_html

WIDTH, HEIGHT = 1280, 720  # pixels of a slide; reveal.js scales it to the screen
_STYLE = Path(__file__).with_name("slides.css")
# A formula is as large as the text around it, also on a slide that is not shown yet; nothing is fetched later.
_MATHJAX = """window.MathJax = {tex: {inlineMath: [['\\\\(', '\\\\)']], displayMath: [['$$', '$$']]},
  svg: {fontCache: 'local'}, options: {enableMenu: false}};"""
_START = f"""MathJax.startup.promise.then(() => Reveal.initialize({{width: {WIDTH}, height: {HEIGHT}, margin: 0, center: false,
  hash: true, slideNumber: 'c/t', transition: 'none', navigationMode: 'linear', controls: false, pdfSeparateFragments: false,
  plugins: [RevealNotes]}})).then(() => {{ document.documentElement.dataset.ready = 'yes'; }});"""


def deck_html(title: str, slides: list[Slide]) -> str:
    """The deck. Raises AuthoringError if a package that it takes from is missing."""
    reveal = _in_package("sphinx_revealjs", "_static/revealjs")
    styles = [_read(reveal / "dist" / "reset.css"), _read(reveal / "dist" / "reveal.css")]
    scripts = [_read(reveal / "dist" / "reveal.js"), _read(reveal / "plugin" / "notes" / "notes.js")]
    sections: list[list[str]] = []
    for slide in slides:
        if slide.level == 1 or not sections:
            sections.append([])
        sections[-1].append(_section(slide))
    stacks = "\n".join(f"<section>\n{chr(10).join(stack)}\n</section>" for stack in sections)
    body = f'<div class="reveal"><div class="slides">\n{stacks}\n</div></div>'
    return _page(title, body, [*styles, _read(_STYLE)], [*scripts, _MATHJAX, _mathjax(), _START])


def _section(slide: Slide) -> str:
    tag = "h1" if slide.kind == "title" else "h2"
    parts = [f"<{tag}>{inline(slide.heading)}</{tag}>", *slide.body]
    if slide.notes:
        parts.append(f'<aside class="notes">{to_html((chr(10) * 2).join(slide.notes))}</aside>')
    return f'<section class="{slide.kind}">\n' + "\n".join(parts) + "\n</section>"


def _page(title: str, body: str, styles: list[str], scripts: list[str]) -> str:
    code = HtmlFormatter(style="friendly").get_style_defs("pre.code")
    style = "".join(f"<style>{text}</style>\n" for text in [*styles, code])
    inside = [
        text.replace("</script", r"<\/script").replace("<!--", r"<\!--") for text in scripts
    ]  # strings in scripts
    script = "".join(f"<script>{text}</script>\n" for text in inside)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{html.escape(title)}</title>\n'
        f"{style}</head>\n<body>\n{body}\n{script}</body>\n</html>\n"
    )


def _mathjax() -> str:
    return _read(_in_package("mathjax", "static/mathjax") / "es5" / "tex-svg.js")


def _in_package(name: str, folder: str) -> Path:
    found = importlib.util.find_spec(name)
    if found is None:
        raise AuthoringError(f"the package {name}, which slides are made with, is missing: pip install -e '.[site]'")
    return Path(found.submodule_search_locations[0], folder)


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")
