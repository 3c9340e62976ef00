"""The course as a static site: ``make site``, or ``course site``. Only reading: no notebook is executed.

The walk, from the repository to the pages:

1. `pages.py`: which files become pages, and what is changed on the way (links to files that have no page, the line
   that opens a notebook elsewhere). They are written to a folder of their own, so nothing else can reach the site.
   `answers.py`: the page with all answers, on the instructors' site alone.
2. `model_pages.py`: a page for each model, and the map of all of them.
3. `conf.py`: the settings of Sphinx, which makes HTML of that folder; `style.css`: what the theme lacks.
4. `build.py`: calls these in order, and puts the result in place when all of it is sound.
5. `look.py`: what must hold of the finished pages: every link leads somewhere, nothing is fetched from the network,
   every picture has words.
"""

from course.site.build import build_site, site_command

__all__ = ["build_site", "site_command"]
