import html
import os
import re
import shutil
import subprocess

import matplotlib.image
import pytest

from monosem_jax.report.page import page, write_page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: none of its names is on the PATH")

FLAGS = [
    *("--headless", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars"),
]
# Widths are only known inside: a copy of the page without its policy reports them, from within a frame because a window
# is at least 500 pixels wide.
PROBE = """<script>
const width = window.innerWidth;
const wide = [...document.querySelectorAll("body *")].filter(
  e => e.getBoundingClientRect().right > width + 1 && !e.closest(".scroll > *"));
const shown = [...document.querySelectorAll(".card .tokens")].filter(e => e.innerText && e.offsetHeight > 10);
parent.document.body.dataset.probe = [width, document.documentElement.scrollWidth, wide.length, shown.length].join(" ");
</script></body>"""
FRAME = """<!DOCTYPE html><meta charset="utf-8">
<body><iframe style="width: {}px; height: 900px; border: 0" srcdoc="{}"></iframe>"""


def dumped(tmp_path, file, *more: str) -> str:
    """The page as the browser has it after loading."""
    flags = [*FLAGS, *(["--no-sandbox"] if os.geteuid() == 0 else []), f"--user-data-dir={tmp_path / 'profile'}"]
    command = [CHROMIUM, *flags, "--window-size=1500,900", "--dump-dom", *more, file.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


@pytest.mark.parametrize("width", [400, 1400])
def test_everything_fits_the_window_and_every_context_is_shown(tmp_path, many_records, width):
    text, removed = re.subn(r"<meta http-equiv[^>]*>", "", page(many_records))
    assert removed == 1
    file = tmp_path / "probe.html"
    inside = html.escape(text.replace("</body>", PROBE), quote=True)
    file.write_text(FRAME.format(width, inside), encoding="utf-8")
    probe = re.search(r'data-probe="([\d ]+)"', dumped(tmp_path, file)).group(1)
    inner, scroll, wide, shown = map(int, probe.split())
    assert inner == width and scroll <= inner and wide == 0
    assert shown == sum(len(f.examples) for f in many_records.features)


def test_the_page_opens_from_disk_and_paints(tmp_path, records):
    write_page(tmp_path / "index.html", records)
    text = dumped(tmp_path, tmp_path / "index.html", f"--screenshot={tmp_path / 'shot.png'}")
    assert "Feature 0" in text
    brightness = matplotlib.image.imread(tmp_path / "shot.png")[..., :3].mean(axis=-1)
    assert brightness.shape[1] == 1500
    assert 0.005 < (brightness < 0.4).mean() < 0.2  # ink on paper
