"""One file per kind of evidence: each reads a study and adds to it. `table.py` lists them."""
