"""The settings of Sphinx for the site; `course.site.pages` copies this file to the folder of sources."""

project = "Vision transformers, from scratch"
author = "The authors of this course"
copyright = "The authors of this course; text CC BY 4.0, code MIT"
language = "en"

extensions = ["myst_nb"]
nb_execution_mode = "off"
nb_merge_streams = True
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
exclude_patterns = ["_static"]

html_theme = "sphinx_book_theme"
html_title = project
html_static_path = ["_static"]
html_favicon = "_static/favicon.svg"
html_css_files = ["style.css"]
html_copy_source = False  # the notebooks beside the pages are those of the repository
html_context = {"default_mode": "auto"}  # dark where the reader's machine is
html_theme_options = {
    "use_download_button": False,
    "use_fullscreen_button": False,
    "show_navbar_depth": 1,
    "show_toc_level": 2,
    "navbar_persistent": [],  # search stands in the sidebar
}

# Nothing is fetched: MathJax and its fonts lie in _static. Its menu would fetch more.
mathjax_path = "mathjax/tex-chtml.js"
mathjax3_config = {"options": {"enableMenu": False}}
