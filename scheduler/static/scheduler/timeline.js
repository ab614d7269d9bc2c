// Draws the timeline on one canvas from the JSON answers of scheduler/admin/timeline/views.py, which
// come part by part: the first rows appear early. Only the rows that are in sight are drawn, and of bars that share a pixel only one.
//
//   <div id="tl" data-url="..." tabindex="0"><canvas></canvas><div id="tl-space"></div></div>
//   <div id="tl-facts">                      facts and links of the bar that the keyboard has chosen
//   <script id="tl-texts" type="application/json">   words and addresses
"use strict";

(() => {
  const box = document.getElementById("tl");
  if (!box) return;
  const canvas = box.querySelector("canvas");
  const space = document.getElementById("tl-space");
  const facts = document.getElementById("tl-facts");
  const texts = JSON.parse(document.getElementById("tl-texts").textContent);
  const tip = document.body.appendChild(document.createElement("div"));
  tip.className = "tl-tip";
  tip.setAttribute("aria-hidden", "true");
  tip.hidden = true;

  const ROW = 24;
  const AXIS = 20;
  const COUNTS = 40;
  const HEAD = AXIS + COUNTS;
  const LANES = 4;
  const PLANNED = 8;
  const FROZEN = 9;
  const STEPS = [60, 300, 900, 1800, 3600, 10800, 21600, 43200, 86400];
  // By the number of the state: colour, part of the row's height, pattern. So a shape says it, too.
  const SHAPES = [
    { colour: "calm", height: 0.4, pattern: "hollow" }, // waits
    { colour: "busy", height: 0.8, pattern: "arrow" }, // runs
    { colour: "busy", height: 0.8, pattern: "dots" }, // its shards run
    { colour: "good", height: 0.55, pattern: "full" },
    { colour: "bad", height: 1, pattern: "cross" },
    { colour: "late", height: 1, pattern: "stripes" }, // timed out
    { colour: "warn", height: 0.7, pattern: "dots" }, // cancelled
    { colour: "calm", height: 0.5, pattern: "diamond" }, // skipped
    { colour: "busy", height: 0.35, pattern: "dashes" }, // planned
    { colour: "calm", height: 0.35, pattern: "dashes" }, // planned, but a freeze blocks it
  ];
  const isTrouble = (bar) => bar.kind === 4 || bar.kind === 5;

  let data = null;
  const rows = [];
  let steps = [];
  let chosen = null; // {row, bar}
  let hovered = null;
  let asked = false;

  // --- the answer ---------------------------------------------------------------------------------

  const parts = new Map(); // number of the first row -> answer

  async function load(first = 0) {
    let part;
    try {
      const address = new URL(box.dataset.url, window.location.href);
      address.searchParams.set("first", first);
      const response = await fetch(address, { headers: { Accept: "application/json" } });
      if (!response.ok || response.redirected) throw new Error(response.status);
      part = await response.json();
    } catch {
      note([texts.failed]);
      setTimeout(load, 5000, first);
      return;
    }
    const isNew = !parts.has(first);
    parts.set(first, part);
    take(first, part);
    resize();
    if (part.is_partial) setTimeout(load, 2000, first);
    if (part.next !== null && isNew) load(part.next);
    if (part.next !== null && isNew) return;
    const all = [...parts.values()];
    const isEmpty = all.every(({ runs, planned, frozen }) => !(runs.length + planned.length + frozen.length));
    note(isEmpty ? [texts.none] : [...new Set(all.flatMap(({ notes }) => notes))]);
    box.setAttribute("aria-busy", "false");
  }

  function note(lines) {
    const place = document.getElementById("tl-notes");
    place.replaceChildren(...lines.map((line) => Object.assign(document.createElement("p"), { textContent: line })));
  }

  function take(first, part) {
    const { jobs, runs, planned, frozen, reasons, now } = part;
    const taken = jobs.map(([id, name, state, usual]) => ({ id, name, state, usual, bars: [] }));
    for (const [row, kind, due, started, finished, id] of runs) {
      const start = started ?? due;
      const end = Math.max(finished ?? now, start);
      const isMark = started === null && kind !== 0;
      taken[row].bars.push({ kind, due, start, end: isMark ? start : end, id, ran: started !== null, why: reasons[id] });
    }
    for (const [row, slots] of planned) {
      const usual = taken[row].usual ?? 0;
      for (const slot of slots) {
        taken[row].bars.push({ kind: PLANNED, due: slot, start: slot, end: slot + usual, id: null, ran: true });
      }
    }
    for (const [row, freeze, slots] of frozen) {
      for (const slot of slots) {
        taken[row].bars.push({ kind: FROZEN, due: slot, start: slot, end: slot, id: null, ran: false, freeze });
      }
    }
    for (const row of taken) {
      row.bars.sort((one, other) => one.start - other.start);
      row.lanes = layOut(row.bars);
    }
    rows.splice(first, taken.length, ...taken);
    data = part;
    steps = stepsOf(rows);
    chosen = chosen && again(chosen);
  }

  function again({ row, bar }) {
    const found = rows[row]?.bars.find((each) => each.id === bar?.id && each.due === bar?.due);
    return rows[row] ? { row, bar: found ?? null } : null;
  }

  // Bars of one job that overlap lie in lanes. Returns how many lanes there are.
  function layOut(bars) {
    const ends = [];
    for (const bar of bars) {
      let lane = ends.findIndex((end) => end <= bar.start);
      if (lane < 0) lane = Math.min(ends.length, LANES - 1);
      ends[lane] = Math.max(ends[lane] ?? 0, bar.end);
      bar.lane = lane;
    }
    return Math.max(1, ends.length);
  }

  // How many runs go on at once: [second, count] at each change.
  function stepsOf(all) {
    const changes = [];
    for (const { bars } of all) {
      for (const { start, end, ran } of bars) {
        if (ran) changes.push([start, 1], [Math.max(end, start + 0.001), -1]);
      }
    }
    changes.sort((one, other) => one[0] - other[0] || one[1] - other[1]);
    let count = 0;
    return changes.map(([second, change]) => [second, (count += change)]);
  }

  // --- the picture --------------------------------------------------------------------------------

  const width = () => box.clientWidth;
  const names = () => Math.min(220, Math.round(width() * 0.3));
  const toX = (second) => names() + (second / data.span) * (width() - names());
  const toSecond = (x) => ((x - names()) / (width() - names())) * data.span;
  const toY = (row) => HEAD + row * ROW - box.scrollTop;

  function resize() {
    if (!data) return;
    const whole = HEAD + rows.length * ROW;
    const height = Math.min(whole + 2, Math.max(200, Math.round(window.innerHeight * 0.7)));
    const scale = window.devicePixelRatio || 1;
    box.style.height = `${height}px`;
    canvas.width = Math.round(width() * scale);
    canvas.height = Math.round(height * scale);
    canvas.style.width = `${width()}px`;
    canvas.style.height = `${height}px`;
    space.style.height = `${Math.max(0, whole - height)}px`;
    drawSoon();
  }

  function drawSoon() {
    if (asked || !data) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      draw();
    });
  }

  function colours() {
    const style = getComputedStyle(box);
    return (name) => style.getPropertyValue(`--dash-${name}`).trim() || "#6b7280";
  }

  function draw() {
    const pen = canvas.getContext("2d");
    const scale = window.devicePixelRatio || 1;
    const colour = colours();
    const ink = getComputedStyle(box).color;
    const height = canvas.height / scale;
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.clearRect(0, 0, width(), height);
    pen.font = `12px ${getComputedStyle(document.body).fontFamily}`;
    pen.textBaseline = "middle";
    const first = Math.max(0, Math.floor(box.scrollTop / ROW));
    const last = Math.min(rows.length, Math.ceil((box.scrollTop + height - HEAD) / ROW));
    within(pen, 0, HEAD, width(), height - HEAD, () => {
      drawGrid(pen, colour, height);
      for (let row = first; row < last; row++) drawRow(pen, row, colour, ink);
    });
    drawHead(pen, colour, ink);
    drawNow(pen, colour, height);
  }

  function within(pen, x, y, wide, high, work) {
    pen.save();
    pen.beginPath();
    pen.rect(x, y, wide, high);
    pen.clip();
    work();
    pen.restore();
  }

  function drawRow(pen, number, colour, ink) {
    const row = rows[number];
    const y = toY(number);
    pen.fillStyle = colour("border");
    pen.fillRect(0, y + ROW - 1, width(), 1);
    pen.fillStyle = ink;
    within(pen, 0, y, names() - 6, ROW, () => pen.fillText(row.name, 4, y + ROW / 2));
    within(pen, names(), y, width() - names(), ROW, () => {
      const high = (ROW - 4) / row.lanes;
      // Trouble comes last, so that nothing hides it.
      for (const trouble of [false, true]) {
        const reached = new Map();
        for (const bar of row.bars) {
          if (isTrouble(bar) !== trouble) continue;
          const x = toX(bar.start);
          const end = Math.max(toX(bar.end), x + 2);
          const key = bar.lane * SHAPES.length + bar.kind;
          if (end <= (reached.get(key) ?? -1) + 0.5) continue;
          reached.set(key, end);
          drawShape(pen, bar.kind, x, y + 2 + bar.lane * high, end - x, high, colour);
        }
      }
    });
    const marked = [chosen, hovered].find((each) => each?.row === number);
    if (marked) drawMark(pen, marked, y, ink);
  }

  function drawMark(pen, { bar }, y, ink) {
    pen.strokeStyle = ink;
    pen.lineWidth = 2;
    if (!bar) {
      pen.strokeRect(1, y + 1, width() - 2, ROW - 3);
      return;
    }
    const x = toX(bar.start);
    pen.strokeRect(x - 2, y + 1, Math.max(toX(bar.end) - x, 2) + 4, ROW - 3);
  }

  function drawShape(pen, kind, x, top, wide, high, colour) {
    const shape = SHAPES[kind];
    const tall = Math.max(2, high * shape.height - 1);
    const y = top + (high - tall) / 2;
    pen.fillStyle = pen.strokeStyle = colour(shape.colour);
    pen.lineWidth = 1;
    if (shape.pattern === "diamond") {
      pen.beginPath();
      pen.moveTo(x, y);
      pen.lineTo(x + tall / 2, y + tall / 2);
      pen.lineTo(x, y + tall);
      pen.lineTo(x - tall / 2, y + tall / 2);
      pen.closePath();
      pen.stroke();
      return;
    }
    if (shape.pattern === "hollow" || shape.pattern === "dashes") {
      if (wide < 4) {
        pen.fillRect(x, y, Math.max(1, wide - 1), tall);
        return;
      }
      pen.setLineDash(shape.pattern === "dashes" ? [3, 2] : []);
      pen.strokeRect(x + 0.5, y + 0.5, wide - 1, tall - 1);
      pen.setLineDash([]);
      return;
    }
    pen.fillRect(x, y, wide, tall);
    if (wide >= 6 && tall >= 5 && shape.pattern !== "full") {
      within(pen, x, y, wide, tall, () => drawPattern(pen, shape.pattern, x, y, wide, tall, colour("ground")));
    }
  }

  function drawPattern(pen, pattern, x, y, wide, tall, ground) {
    pen.strokeStyle = pen.fillStyle = ground;
    pen.lineWidth = 1.5;
    pen.beginPath();
    if (pattern === "arrow") {
      pen.moveTo(x + wide - 5, y);
      pen.lineTo(x + wide - 1, y + tall / 2);
      pen.lineTo(x + wide - 5, y + tall);
      pen.stroke();
      return;
    }
    if (pattern === "dots") {
      for (let at = x + 3; at < x + wide; at += 5) pen.fillRect(at, y + tall / 2 - 1, 2, 2);
      return;
    }
    const last = Math.min(x + wide, width());
    for (let at = Math.max(x, 0) - tall; at < last; at += 7) {
      pen.moveTo(at, y + tall);
      pen.lineTo(at + tall, y);
      if (pattern === "cross") {
        pen.moveTo(at, y);
        pen.lineTo(at + tall, y + tall);
      }
    }
    pen.stroke();
  }

  // --- the head: hours, and how many run at once ---------------------------------------------------

  function ticks() {
    const wanted = ((width() - names()) / data.span) * 1;
    const step = STEPS.find((each) => each * wanted >= 64) ?? STEPS.at(-1);
    const offset = offsetOf(data.since);
    const found = [];
    for (let at = Math.ceil((data.since + offset) / step) * step - offset; at < data.since + data.span; at += step) {
      found.push(at);
    }
    return { step, found };
  }

  function drawGrid(pen, colour, height) {
    pen.fillStyle = colour("border");
    for (const at of ticks().found) pen.fillRect(Math.round(toX(at - data.since)), 0, 1, height);
  }

  function drawHead(pen, colour, ink) {
    const { step, found } = ticks();
    pen.fillStyle = ink;
    for (const at of found) {
      const x = toX(at - data.since);
      const [day, time] = local(at);
      const text = step >= 86400 || time.startsWith("00:00") ? day.slice(5) : time.slice(0, 5);
      if (x + 36 < width()) pen.fillText(text, x + 3, AXIS / 2);
    }
    const most = steps.reduce((found, [, count]) => Math.max(found, count), 0);
    within(pen, 0, AXIS, names() - 6, COUNTS, () => {
      pen.fillText(texts.at_once, 4, AXIS + 10);
      pen.fillText(texts.most.replace("%s", most), 4, AXIS + 26);
    });
    const left = names();
    const high = new Uint32Array(Math.max(1, Math.ceil(width() - left) + 1));
    let x = 0;
    let count = 0;
    for (const [second, next] of steps) {
      const until = Math.min(high.length - 1, Math.max(0, Math.floor(toX(second) - left)));
      for (; x < until; x++) high[x] = Math.max(high[x], count);
      high[until] = Math.max(high[until], count, next);
      count = next;
    }
    pen.fillStyle = colour("busy");
    high.forEach((value, at) => {
      if (!value) return;
      const tall = Math.max(2, (value / most) * (COUNTS - 8));
      pen.fillRect(left + at, HEAD - 4 - tall, 1, tall);
    });
    pen.fillStyle = colour("border");
    pen.fillRect(0, HEAD - 1, width(), 1);
  }

  function drawNow(pen, colour, height) {
    if (data.now < 0 || data.now > data.span) return;
    pen.fillStyle = colour("bad");
    pen.fillRect(Math.round(toX(data.now)), AXIS, 1, height - AXIS);
  }

  // --- words --------------------------------------------------------------------------------------

  const clock = (() => {
    const options = { dateStyle: "short", timeStyle: "medium" };
    try {
      return new Intl.DateTimeFormat("sv-SE", { ...options, timeZone: texts.zone });
    } catch {
      return new Intl.DateTimeFormat("sv-SE", { ...options, timeZone: "UTC" });
    }
  })();
  const local = (at) => clock.format(new Date(at * 1000)).split(" ");

  function offsetOf(at) {
    const [day, time] = local(at);
    return Date.parse(`${day}T${time}Z`) / 1000 - Math.floor(at);
  }

  const instant = (second) => local(data.since + second).join(" ");

  function span(seconds) {
    const [s, min, h, d] = texts.units.map((unit) => (value) => unit.replace("%s", value));
    if (seconds < 10) return s(Number(seconds.toFixed(2)));
    const whole = Math.round(seconds);
    if (whole < 60) return s(whole);
    if (whole < 3600) return `${min(Math.floor(whole / 60))} ${s(whole % 60)}`;
    if (whole < 86400) return `${h(Math.floor(whole / 3600))} ${min(Math.floor((whole % 3600) / 60))}`;
    return `${d(Math.floor(whole / 86400))} ${h(Math.floor((whole % 86400) / 3600))}`;
  }

  function words({ row, bar }) {
    const { name, state, usual } = rows[row];
    if (!bar) return [`${name} (${state})`, texts.empty_row];
    const lines = [name];
    if (bar.kind === PLANNED) {
      lines.push(`${texts.planned}: ${instant(bar.due)}`);
      if (usual !== null) lines.push(`${texts.usual} ${span(usual)}`);
      return lines;
    }
    if (bar.kind === FROZEN) return [name, `${texts.frozen}: ${instant(bar.due)}`, bar.freeze];
    lines.push(`#${bar.id} ${texts.statuses[bar.kind]}`, `${texts.due} ${instant(bar.due)}`);
    if (bar.why) lines.push(bar.why);
    if (bar.ran) lines.push(`${texts.since} ${instant(bar.start)}`, `${texts.took} ${span(bar.end - bar.start)}`);
    return lines;
  }

  function show(place) {
    const links = [[texts.job_url, rows[place.row].id, texts.open_job]];
    if (place.bar?.id) links.unshift([texts.run_url, place.bar.id, texts.open_run]);
    facts.replaceChildren(
      Object.assign(document.createElement("p"), { textContent: words(place).join(", ") }),
      ...links.map(([url, id, text]) =>
        Object.assign(document.createElement("a"), { href: address(url, id), textContent: text }),
      ),
    );
  }

  const address = (url, id) => url.replace("/0/", `/${id}/`);

  function open({ row, bar }) {
    window.location.href = bar?.id ? address(texts.run_url, bar.id) : address(texts.job_url, rows[row].id);
  }

  // --- mouse, fingers and keys --------------------------------------------------------------------

  function at(event) {
    const frame = canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - frame.left, event.clientY - frame.top];
    const row = Math.floor((y - HEAD + box.scrollTop) / ROW);
    if (!data || y < HEAD || row < 0 || row >= rows.length) return null;
    return { row, bar: x < names() ? null : nearest(row, x, y - toY(row)) };
  }

  // The bar under the pointer, or one within a few pixels; trouble before others.
  function nearest(row, x, y) {
    const { bars, lanes } = rows[row];
    const lane = Math.floor((y - 2) / ((ROW - 4) / lanes));
    let best = null;
    let least = 5;
    for (const bar of bars) {
      const away = Math.max(toX(bar.start) - x, x - Math.max(toX(bar.end), toX(bar.start) + 2), 0);
      const far = away + (bar.lane === lane ? 0 : 1) + (isTrouble(bar) ? 0 : 0.1);
      if (far < least) [best, least] = [bar, far];
    }
    return best;
  }

  box.addEventListener("pointermove", (event) => {
    hovered = at(event);
    tip.hidden = !hovered;
    canvas.style.cursor = hovered ? "pointer" : "";
    if (hovered) {
      tip.replaceChildren(...words(hovered).map((line) => Object.assign(document.createElement("div"), { textContent: line })));
      tip.style.left = `${Math.max(0, Math.min(event.clientX + 14, window.innerWidth - tip.offsetWidth - 8))}px`;
      tip.style.top = `${Math.max(0, Math.min(event.clientY + 14, window.innerHeight - tip.offsetHeight - 8))}px`;
    }
    drawSoon();
  });
  box.addEventListener("pointerleave", () => {
    hovered = null;
    tip.hidden = true;
    drawSoon();
  });
  box.addEventListener("click", (event) => {
    const place = at(event);
    if (!place) return;
    if (event.pointerType === "touch") choose(place);
    else open(place);
  });

  function choose(place) {
    chosen = place;
    const top = place.row * ROW;
    const high = box.clientHeight - HEAD;
    if (top < box.scrollTop) box.scrollTop = top;
    else if (top + ROW > box.scrollTop + high) box.scrollTop = top + ROW - high;
    show(place);
    drawSoon();
  }

  // The bar of the row that is nearest in time.
  function goTo(row) {
    const number = Math.max(0, Math.min(rows.length - 1, row));
    const second = chosen?.bar?.start ?? data.now;
    const away = (bar) => Math.abs(bar.start - second);
    const bar = rows[number].bars.reduce((best, each) => (!best || away(each) < away(best) ? each : best), null);
    choose({ row: number, bar });
  }

  function goBy(number) {
    const { bars } = rows[chosen.row];
    if (!bars.length) return;
    const place = bars.indexOf(chosen.bar) + number;
    choose({ row: chosen.row, bar: bars[Math.max(0, Math.min(bars.length - 1, place))] });
  }

  const keys = {
    ArrowDown: () => goTo(chosen.row + 1),
    ArrowUp: () => goTo(chosen.row - 1),
    PageDown: () => goTo(chosen.row + 10),
    PageUp: () => goTo(chosen.row - 10),
    ArrowRight: () => goBy(1),
    ArrowLeft: () => goBy(-1),
    Home: () => goBy(-Infinity),
    End: () => goBy(Infinity),
    Enter: () => open(chosen),
  };
  box.addEventListener("keydown", (event) => {
    if (!keys[event.key] || !data || !rows.length) return;
    event.preventDefault();
    if (chosen) keys[event.key]();
    else goTo(0);
  });
  box.addEventListener("focus", () => {
    if (data && rows.length && !chosen && box.matches(":focus-visible")) goTo(0);
  });
  box.addEventListener("scroll", drawSoon, { passive: true });
  new ResizeObserver(resize).observe(box.parentElement);

  // --- the legend, light and dark -----------------------------------------------------------------

  function drawLegend() {
    const colour = colours();
    for (const place of document.querySelectorAll("canvas[data-shape]")) {
      const kind = { planned: PLANNED, frozen: FROZEN }[place.dataset.shape] ?? Number(place.dataset.shape);
      const pen = place.getContext("2d");
      pen.clearRect(0, 0, place.width, place.height);
      drawShape(pen, kind, SHAPES[kind].pattern === "diamond" ? 14 : 2, 1, 24, 16, colour);
    }
  }

  new MutationObserver(() => {
    drawLegend();
    drawSoon();
  }).observe(document.documentElement, { attributes: true, attributeFilter: ["class"] });
  drawLegend();
  load();
})();
