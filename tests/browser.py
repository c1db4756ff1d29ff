"""Checks a page as a reader's browser shows it."""

import os
import shutil
from pathlib import Path
from typing import Any

WIDTHS = (1280, 400)
SCHEMES = ("light", "dark")

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

# Each check returns its problems in words; no problem returns nothing.
_CHECKS = """
() => {
  const problems = [];
  const width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth > width)
    problems.push(`the page is ${document.documentElement.scrollWidth} wide`);
  const name = e => `${e.tagName} ${JSON.stringify((e.textContent || "").trim().slice(0, 40))}`;
  const isSeen = e => e.checkVisibility() && e.getBoundingClientRect().width > 1;

  for (const image of document.images)
    if (!image.complete || image.naturalWidth === 0) problems.push(`missing picture ${image.src}`);
  for (const svg of document.querySelectorAll("svg")) {
    const frame = svg.getBoundingClientRect();
    if (frame.width < 100 || frame.height < 50) problems.push(`an invisible drawing`);
    if (!svg.getAttribute("aria-label")) problems.push("a drawing without a description");
    for (const text of svg.querySelectorAll("text")) {
      const box = text.getBoundingClientRect();
      if (box.left < frame.left - 1 || box.right > frame.right + 1 ||
          box.top < frame.top - 1 || box.bottom > frame.bottom + 1)
        problems.push(`cut off in a drawing: ${name(text)}`);
      if (box.height < 9) problems.push(`too small to read: ${name(text)}`);
    }
  }
  for (const table of document.querySelectorAll("table")) {
    if (!table.caption || !table.tHead) problems.push("a table without caption or header");
    for (const row of table.tBodies[0].rows)
      if (row.cells[0].getAttribute("scope") !== "row") problems.push("a row without a header");
  }

  const channel = v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const luminance = c => {
    const [r, g, b] = c.match(/[\\d.]+/g).map(Number).map(channel);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = luminance(getComputedStyle(document.body).backgroundColor);
  const contrast = c => {
    const [low, high] = [luminance(c), ground].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  for (const e of document.body.querySelectorAll("*")) {
    const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    if (!own || !isSeen(e) || e.classList.contains("hidden")) continue;
    const style = getComputedStyle(e);
    const ratio = contrast(e.closest("svg") ? style.fill : style.color);
    if (ratio < 4.5) problems.push(`contrast ${ratio.toFixed(2)}: ${name(e)}`);
    if (e.closest("svg") || e.closest(".scroll")) continue;
    const box = e.getBoundingClientRect();
    if (box.left < 0 || box.right > width + 1) problems.push(`beyond the page: ${name(e)}`);
    if (style.display !== "inline" && e.scrollWidth > e.clientWidth + 1)
      problems.push(`cut off: ${name(e)}`);
  }
  return problems;
}
"""


def executable(own: str) -> str | None:
    """The system's Chromium, or the one that playwright installed; None if there is neither.

    Args:
        own: path at which playwright looks.
    """
    named = os.environ.get("CHROMIUM")
    found = named or next((path for name in _NAMES if (path := shutil.which(name))), None)
    return found or (own if Path(own).is_file() else None)


def problems(browser: Any, path: Path, *, width: int, scheme: str) -> list[str]:
    """All problems of a page at a width and in a colour scheme."""
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce"
    )
    found: list[str] = []
    page = context.new_page()
    page.on("console", lambda message: found.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: found.append(f"error: {error}"))
    page.on("requestfailed", lambda request: found.append(f"failed: {request.url}"))
    page.on(
        "request",
        lambda request: (
            None
            if request.url.startswith(("file:", "data:"))
            else found.append(f"asked for {request.url}")
        ),
    )
    page.goto(path.resolve().as_uri())
    found += page.evaluate(_CHECKS)
    # Folded parts must fit as well.
    page.evaluate("document.querySelectorAll('details').forEach(e => e.open = true)")
    found += page.evaluate(_CHECKS)
    context.close()
    return sorted(set(found))
