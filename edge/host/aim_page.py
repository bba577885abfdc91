"""The page on which a camera is aimed: one picture a camera, as wide as the telephone, all of it in one answer."""

from __future__ import annotations

import html
from collections.abc import Sequence
from urllib.parse import quote


def page(cameras: Sequence[str], seconds: float, nonce: str) -> str:
    """Return the page.

    Args:
        cameras: their names; their pictures lie beside the page, `NAME.jpg`: each answer is the next one.
        seconds: until the page closes.
        nonce: what the Content-Security-Policy lets its own script and style pass by.
    """
    figures = "".join(
        f'<figure><img alt="" data-name="{html.escape(quote(name, safe=""), quote=True)}">'
        f"<figcaption>{html.escape(name)}: <span>waiting for a picture</span></figcaption></figure>"
        for name in cameras
    )
    return (
        PAGE.replace("{nonce}", nonce).replace("{seconds}", str(max(0, round(seconds)))).replace("{figures}", figures)
    )


PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Aim the camera</title>
<style nonce="{nonce}">
  body { margin: 0; background: #15181c; color: #e8eaed; font: 16px/1.4 system-ui, sans-serif }
  header { padding: .7rem 1rem; display: flex; justify-content: space-between; gap: 1rem }
  header b { font-weight: 600 }
  main { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 30rem), 1fr)) }
  figure { margin: 0 }
  img { display: block; width: 100%; min-height: 12rem; max-height: 85vh; object-fit: contain; background: #000 }
  figcaption { padding: .4rem 1rem; color: #9aa0a6 }
</style>
<header><b>Aim the camera</b><span id="left" aria-live="off"></span></header>
<main>{figures}</main>
<script nonce="{nonce}">
  "use strict";
  const ends = performance.now() + {seconds} * 1000;
  const left = document.getElementById("left");
  let closed = false;
  const tick = () => {
    const s = Math.max(0, Math.round((ends - performance.now()) / 1000));
    closed = closed || s === 0;
    left.textContent = closed ? "closed" : `closes in ${Math.floor(s / 60)}:${String(s % 60).padStart(2, "0")}`;
    if (!closed) setTimeout(tick, 1000);
  };
  tick();
  const pause = (ms) => new Promise((done) => setTimeout(done, ms));
  const watch = async (figure) => {
    const image = figure.querySelector("img"), says = figure.querySelector("span");
    let failed = 0;
    while (!closed) {
      if (document.hidden) { await pause(500); continue; }
      try {
        const answer = await fetch(`${image.dataset.name}.jpg`, { cache: "no-store" });
        if (answer.status === 410) { closed = true; break; }
        if (answer.status === 204) { says.textContent = "no picture comes"; continue; }
        if (!answer.ok) throw new Error(answer.status);
        const url = URL.createObjectURL(await answer.blob());
        image.onload = () => URL.revokeObjectURL(url);
        image.src = url;
        says.textContent = answer.headers.get("X-Says");
        failed = 0;
      } catch (error) {
        failed += 1;
        if (failed > 3) { closed = true; break; }
        await pause(1000);
      }
    }
    left.textContent = "closed";
    image.removeAttribute("src");
    says.textContent = "closed: start edge run --aim again to go on";
  };
  document.querySelectorAll("figure").forEach(watch);
</script>
</html>
"""
