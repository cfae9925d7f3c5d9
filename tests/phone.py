"""A page on a phone: what of it cannot be reached."""

import os
from pathlib import Path

from playwright.sync_api import sync_playwright

WIDTH = 390
# Of every table the right edge of its widest row: on the screen, or in a frame of its own that scrolls to it.
_OUT_OF_REACH = """() => [...document.querySelectorAll("td, th, img, svg, dd, pre")].filter((cell) => {
    const right = cell.getBoundingClientRect().right;
    if (!right || right <= innerWidth + 1) return false;
    const frame = cell.closest(".scroll");
    return !frame || frame.getBoundingClientRect().right > innerWidth + 1 || frame.scrollWidth <= frame.clientWidth;
}).map((cell) => cell.outerHTML.slice(0, 80))"""


def out_of_reach(page: Path, browser: Path) -> list[str]:
    """Parts of an HTML file that a screen of 390 pixels does not show, and the width of the page where it is wider."""
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        opened = playwright.chromium.launch(executable_path=browser, args=arguments)
        shown = opened.new_page(viewport={"width": WIDTH, "height": 844}, is_mobile=True, device_scale_factor=1)
        shown.goto(page.as_uri())
        # Tables that are folded away are read as well.
        shown.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true })")
        found: list[str] = shown.evaluate(_OUT_OF_REACH)
        width: int = shown.evaluate("document.documentElement.scrollWidth")
        opened.close()
    return found + ([f"{width} pixels wide"] if width > WIDTH else [])
