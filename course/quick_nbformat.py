"""Imported for its effect, before nbformat: loading that takes a tenth of the time.

nbformat loads jsonschema, which loads rfc3987-syntax (1.1.0) if it is there, which builds a grammar for international
web addresses while it is imported: one to two seconds of every process. No notebook's schema asks for such addresses.
With this entry, jsonschema (4.26) finds no such package and does without it.
"""

import sys

sys.modules.setdefault("rfc3987_syntax", None)
