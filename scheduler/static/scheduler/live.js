// Keeps parts of a page up to date. Without JavaScript the page stays as it was loaded.
//
//   <div id="run" data-live="/address/" data-live-seconds="2" data-live-mark="...">...</div>
//
// The address is asked every `data-live-seconds` (2), in the session of the page, and its answer
// becomes the content of the element. Only what differs is touched: focus, selection, scrolling and
// opened <details> stay. Answers:
//   200  HTML: the new content. Header X-Live-Mark names this state; it is sent with the next
//        question, so that the server can say 204 without rendering. `data-live-mark`: the mark of
//        what the page came with.
//   204  nothing has changed.
//   any of them with X-Live: done   this was the last one.
// With `data-live-parts` the element only asks, and each element with an id in the answer updates the
// element of that id anywhere on the page (cells of a list, for example).
//
// Inside:
//   data-live-follow           a box that scrolls on to its end while the reader stands at the end
//   data-live-lost (hidden)    shown while the server does not answer, or has ended the session
//   data-elapsed="12.5" data-units="%s s|%s min|%s h|%s d"   a span of seconds that goes on by itself
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
    // What a person types or chooses is theirs.
    if (old.matches("input, select, textarea")) return;
    morphChildren(old, fresh);
  }

  function morphAttributes(old, fresh) {
    // Whether a <details> is open is the reader's choice, unless the server says it with a new id.
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
      // Space between elements comes and goes with them; it must not shift what is behind it.
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
      // The answer may be the content, or the whole element.
      morphChildren(root, answer.querySelector(`#${CSS.escape(root.id)}`) || answer);
    }
    for (const box of following) box.scrollTop = box.scrollHeight;
    tick();
  }

  // --- ask again and again --------------------------------------------------------------------------

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
          redirect: "manual", // to the login page: the session has ended
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

  // --- spans that go on -----------------------------------------------------------------------------

  const seen = new WeakMap();

  // As scheduler/admin/formatting.py says it: the two largest units.
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
