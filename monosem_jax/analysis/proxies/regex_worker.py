"""A program of its own that matches one regular expression, so that one that never ends can be stopped.

Reads lines of JSON: first [pattern, seconds], then lists of texts. Writes for each list the spans of the matches in
each text, and is ended by the system when a list takes more than `seconds`, also where nobody waits for it any more.
Not imported: `regexes.py` starts it without the package.
"""

import json
import re
import signal
import sys


def main() -> None:
    source, seconds = json.loads(sys.stdin.readline())
    pattern = re.compile(source)
    alarm = getattr(signal, "alarm", int)  # not on Windows
    for line in sys.stdin:
        alarm(seconds)
        spans = [[m.span() for m in pattern.finditer(text) if m.end() > m.start()] for text in json.loads(line)]
        alarm(0)
        print(json.dumps(spans), flush=True)


if __name__ == "__main__":
    main()
