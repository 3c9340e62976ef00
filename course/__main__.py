"""``python -m course`` is the command `course`."""

import sys

from course.cli import main

sys.exit(main())
