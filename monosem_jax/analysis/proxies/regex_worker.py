"""A program of its own that matches one regular expression, so that one that never ends can be stopped.

Reads lines of JSON: first the pattern, then lists of texts. Writes for each list the spans of the matches in each text.
Not imported: `regexes.py` starts it without the package.
"""

import json
import re
import sys


def main() -> None:
    pattern = re.compile(json.loads(sys.stdin.readline()))
    for line in sys.stdin:
        spans = [[m.span() for m in pattern.finditer(text) if m.end() > m.start()] for text in json.loads(line)]
        print(json.dumps(spans), flush=True)


if __name__ == "__main__":
    main()
