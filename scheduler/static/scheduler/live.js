// Updates parts of a page. Without JavaScript the page stays as it was loaded.
//
//   <div id="run" data-live="/address/" data-live-seconds="2" data-live-mark="...">...</div>
//
// The script requests the address every `data-live-seconds` (default 2) in the page's session, and
// the answer becomes the content of the element. The script changes only nodes that differ: focus,
// selection, scroll position and open <details> stay. Answers:
//   200  HTML: the new content. The header X-Live-Mark identifies this state. The next request sends
//        it back, so that the server can answer 204 without rendering. `data-live-mark` is the mark
//        of the content that the page was loaded with.
//   204  nothing has changed.
//   either with X-Live: done   this is the last answer; the script stops.
// With `data-live-parts` the element keeps its content, and each element with an id in the answer
// updates the element with the same id anywhere on the page (cells of a list, for example).
//
// Attributes inside the element:
//   data-live-follow           a box that scrolls to its end as long as the reader is at its end
//   data-live-lost (hidden)    shown while the server does not answer, or after the session ends
//   data-elapsed="12.5" data-units="%s s|%s min|%s h|%s d"   a number of seconds that counts up
"use strict";

(() => {
  const SLOWEST_SECONDS = 60;
  const FINAL_REFUSALS = new Set([401, 403, 404, 410]);

  // --- make `old` like `fresh`, touching only what differs ------------------------------------------

  const keyOf = (node) => (node.nodeType === Node.ELEMENT_NODE && node.id) || "";

  const fits = (old, fresh) =>
    old.nodeType === fresh.nodeType && old.nodeName === fresh.nodeName && keyOf(old) === keyOf(fresh);

  const isSpace = (node) => node.nodeType === Node.TEXT_NODE && !node.nodeValue.trim();

  function morph(old, fresh) {
    if (old.nodeType !== Node.ELEMENT_NODE) {
      if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
      return;
    }
    if (old.isEqualNode(fresh)) return;
    morphAttributes(old, fresh);
    // Never overwrite what a person types or chooses.
    if (old.matches("input, select, textarea")) return;
    morphChildren(old, fresh);
  }

  function morphAttributes(old, fresh) {
    // The reader opens and closes a <details>; the server can only replace it, with a new id.
    const isTheirs = (name) => name === "open" && old.nodeName === "DETAILS";
    for (const { name } of [...old.attributes]) {
      if (!fresh.hasAttribute(name) && !isTheirs(name)) old.removeAttribute(name);
    }
    for (const { name, value } of [...fresh.attributes]) {
      if (old.getAttribute(name) !== value && !isTheirs(name)) old.setAttribute(name, value);
    }
  }

  function morphChildren(old, fresh) {
    const wanted = new Set([...fresh.childNodes].map(keyOf).filter(Boolean));
    const known = new Map();
    for (const node of [...old.childNodes]) {
      const key = keyOf(node);
      if (!key) continue;
      if (wanted.has(key)) known.set(key, node);
      else node.remove();
    }
    let place = old.firstChild;
    for (const next of [...fresh.childNodes]) {
      // Remove white space that no longer fits, so that the elements after it keep their nodes.
      while (place && isSpace(place) && !fits(place, next)) {
        const space = place;
        place = place.nextSibling;
        space.remove();
      }
      const same = known.get(keyOf(next));
      if (same && fits(same, next)) {
        if (same === place) place = place.nextSibling;
        else old.insertBefore(same, place);
        morph(same, next);
      } else if (place && !keyOf(place) && fits(place, next)) {
        const here = place;
        place = place.nextSibling;
        morph(here, next);
      } else {
        old.insertBefore(document.importNode(next, true), place);
      }
    }
    while (place) {
      const left = place;
      place = place.nextSibling;
      left.remove();
    }
  }

  function update(root, html) {
    const template = document.createElement("template");
    template.innerHTML = html;
    const answer = template.content;
    const following = [...root.querySelectorAll("[data-live-follow]")].filter(
      (box) => box.scrollHeight - box.scrollTop - box.clientHeight < 24,
    );
    if (root.hasAttribute("data-live-parts")) {
      for (const part of answer.querySelectorAll("[id]")) {
        const target = document.getElementById(part.id);
        if (target && target.nodeName === part.nodeName) morph(target, part);
      }
    } else {
      // The answer is either the content or the whole element.
      morphChildren(root, answer.querySelector(`#${CSS.escape(root.id)}`) || answer);
    }
    for (const box of following) box.scrollTop = box.scrollHeight;
    tick();
  }

  // --- polling --------------------------------------------------------------------------------------

  function live(root) {
    const seconds = Number(root.dataset.liveSeconds) || 2;
    let mark = root.dataset.liveMark || "";
    let failures = 0;
    let timer = null;
    let asking = false;
    let isDone = false;

    const lost = (isLost) => {
      for (const note of root.querySelectorAll("[data-live-lost]")) note.hidden = !isLost;
    };

    const wait = () => {
      clearTimeout(timer);
      if (isDone || document.hidden) return;
      const pause = Math.min(seconds * 2 ** failures, Math.max(SLOWEST_SECONDS, seconds));
      timer = setTimeout(ask, pause * 1000);
    };

    async function ask() {
      if (asking || isDone) return;
      asking = true;
      try {
        const response = await fetch(root.dataset.live, {
          headers: { "X-Live-Mark": mark, "X-Requested-With": "XMLHttpRequest" },
          credentials: "same-origin",
          cache: "no-store",
          redirect: "manual", // a redirect to the login page means that the session has ended
        });
        if (response.type === "opaqueredirect" || FINAL_REFUSALS.has(response.status)) {
          isDone = true;
          lost(true);
          return;
        }
        if (response.status === 200) {
          const html = await response.text();
          mark = response.headers.get("X-Live-Mark") || "";
          update(root, html);
        } else if (response.status !== 204) {
          throw new Error(`answer ${response.status}`);
        }
        isDone = response.headers.get("X-Live") === "done";
        failures = 0;
        lost(false);
      } catch (error) {
        console.warn("not kept up to date:", error);
        failures += 1;
        lost(true);
      } finally {
        asking = false;
        wait();
      }
    }

    document.addEventListener("visibilitychange", () => {
      clearTimeout(timer);
      if (!document.hidden) ask();
    });
    wait();
  }

  // --- spans that count up --------------------------------------------------------------------------

  const seen = new WeakMap();

  // The same format as `span` in scheduler/admin/formatting.py: the two largest units.
  function words(elapsed, units) {
    const [seconds, minutes, hours, days] = units.split("|");
    const say = (unit, number) => unit.replace("%s", String(number));
    const whole = Math.floor(elapsed);
    const sizes = [
      [86400, days, 3600, hours],
      [3600, hours, 60, minutes],
      [60, minutes, 1, seconds],
    ];
    for (const [size, unit, belowSize, belowUnit] of sizes) {
      if (whole < size) continue;
      const rest = Math.floor((whole % size) / belowSize);
      return say(unit, Math.floor(whole / size)) + (rest ? ` ${say(belowUnit, rest)}` : "");
    }
    return say(seconds, whole);
  }

  function tick() {
    const now = performance.now();
    for (const span of document.querySelectorAll("[data-elapsed][data-units]")) {
      let base = seen.get(span);
      if (!base || base.elapsed !== span.dataset.elapsed) {
        base = { elapsed: span.dataset.elapsed, at: now };
        seen.set(span, base);
      }
      const text = words(Number(base.elapsed) + (now - base.at) / 1000, span.dataset.units);
      if (span.textContent !== text) span.textContent = text;
    }
  }

  function start() {
    for (const root of document.querySelectorAll("[data-live]")) live(root);
    for (const box of document.querySelectorAll("[data-live-follow]")) box.scrollTop = box.scrollHeight;
    if (document.querySelector("[data-live], [data-elapsed]")) {
      tick();
      setInterval(tick, 1000);
    }
  }

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
