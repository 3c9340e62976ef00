"""A deck of slides of each lecture: ``course slides``, from the built notebooks. Only reading: no notebook is executed.

The walk, from a notebook to a file that needs no network:

1. `split.py`: a notebook becomes slides, one idea each. What a slide has no room for goes into the speaker's notes.
2. `deck.py`: slides become one HTML file, with reveal.js and MathJax inside; both lie in installed packages.
3. `command.py`: which lectures, and where the files go.

Code is shown where the source marks its cell, ``# %% tags=["slide-code"]``; all other code stays in the notebook.
"""

from course.slides.command import slides_command

__all__ = ["slides_command"]
