"""The browser of features: static files that open from disk.

`site.py` writes them from records; `front/` holds the sources of the page (TypeScript), `built/` what `npm run build`
makes of them there.
"""
