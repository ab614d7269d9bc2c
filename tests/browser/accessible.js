// What of this page somebody with a screen reader, a keyboard or weak eyes could not use: a list of
// sentences, empty when all is well. Only what is shown counts.
const problems = new Set();

const isShown = (node) => node.checkVisibility({ opacityProperty: true, visibilityProperty: true });
const isHidden = (node) => node.closest("[aria-hidden=true]") !== null;

function opening_tag(node) {
  const start = node.cloneNode(false).outerHTML.split("\n").join(" ");
  return start.length > 160 ? `${start.slice(0, 160)}...` : start;
}

function nameOf(node) {
  const by = (node.getAttribute("aria-labelledby") || "").split(/\s+/).filter(Boolean);
  const texts = [
    node.getAttribute("aria-label"),
    ...by.map((id) => document.getElementById(id)?.textContent),
    ...[...(node.labels || [])].map((label) => label.textContent),
    node.getAttribute("title"),
    node.getAttribute("alt"),
  ];
  if (!node.matches("input, select, textarea")) {
    texts.push(node.textContent);
    for (const inner of node.querySelectorAll("[alt], [aria-label], [title]")) {
      texts.push(["alt", "aria-label", "title"].map((name) => inner.getAttribute(name) || "").join(" "));
    }
  } else if (["submit", "button", "reset"].includes(node.type)) texts.push(node.value);
  return texts.filter(Boolean).join(" ").trim();
}

// --- names ---------------------------------------------------------------------------------------

for (const node of document.querySelectorAll("input:not([type=hidden]), select, textarea")) {
  // The theme's search names itself by its placeholder alone.
  if (!isShown(node) || isHidden(node) || node.matches("[x-ref=searchInput][placeholder]")) continue;
  if (!nameOf(node)) problems.add(`no label: ${opening_tag(node)}`);
}
for (const node of document.querySelectorAll("a[href], button, summary, [role=button]")) {
  if (isShown(node) && !isHidden(node) && !nameOf(node)) problems.add(`no name: ${opening_tag(node)}`);
}
for (const node of document.querySelectorAll("img:not([alt]), svg, canvas, [role=img], [role=progressbar]")) {
  // What is inside of an image with a name is part of it.
  const image = node.closest("[role=img]") || node;
  if (!isShown(node) || isHidden(node) || nameOf(node) || nameOf(image)) continue;
  problems.add(`neither text nor aria-hidden: ${opening_tag(node)}`);
}

// --- structure -----------------------------------------------------------------------------------

if (!document.documentElement.lang) problems.add("the page does not say its language");
if (!document.title.trim()) problems.add("the page has no title");
const headings = [...document.querySelectorAll("h1, h2, h3, h4, h5, h6")]
  .filter((heading) => isShown(heading) && !isHidden(heading));
const title = headings.findIndex((heading) => heading.tagName === "H1");
if (title < 0) problems.add("the page has no heading");
let last = 0;
// What stands above the title are those of the navigation.
for (const heading of headings.slice(Math.max(0, title))) {
  const level = Number(heading.tagName[1]);
  if (level > last + 1) problems.add(`heading ${level} after ${last}: ${heading.textContent.trim()}`);
  last = level;
}
const ids = new Set();
for (const { id } of document.querySelectorAll("[id]")) {
  if (ids.has(id)) problems.add(`two elements have the id ${id}`);
  ids.add(id);
}
for (const node of document.querySelectorAll("[tabindex]")) {
  if (node.tabIndex > 0) problems.add(`an order of its own: ${opening_tag(node)}`);
}
for (const node of document.querySelectorAll("a[x-on\\:click]:not([href], [tabindex])")) {
  if (isShown(node) && !isHidden(node)) problems.add(`no key reaches: ${opening_tag(node)}`);
}
for (const name of ["aria-describedby", "aria-errormessage", "aria-labelledby", "aria-controls"]) {
  for (const node of document.querySelectorAll(`[${name}]`)) {
    if (!isShown(node)) continue;
    const named = node.getAttribute(name).split(/\s+/).filter(Boolean);
    for (const id of named) if (!document.getElementById(id)) problems.add(`nothing has the ${name} ${id}`);
  }
}

// --- contrast (WCAG 2, AA) -----------------------------------------------------------------------

const pencil = Object.assign(document.createElement("canvas"), { width: 1, height: 1 })
  .getContext("2d", { willReadFrequently: true });
const known = new Map();

function rgba(colour) {
  if (!known.has(colour)) {
    pencil.clearRect(0, 0, 1, 1);
    pencil.fillStyle = colour;
    pencil.fillRect(0, 0, 1, 1);
    const [red, green, blue, alpha] = pencil.getImageData(0, 0, 1, 1).data;
    known.set(colour, [red, green, blue, alpha / 255]);
  }
  return known.get(colour);
}

const over = (top, below) => [0, 1, 2].map((at) => top[at] * top[3] + below[at] * (1 - top[3]));

function backgroundOf(node) {
  const layers = [];
  for (let each = node; each; each = each.parentElement) {
    const layer = rgba(getComputedStyle(each).backgroundColor);
    if (layer[3] > 0) layers.push(layer);
    if (layer[3] === 1) break;
  }
  return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255]);
}

function luminance(colour) {
  const [red, green, blue] = colour.map((part) => {
    const share = part / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
const judged = new Set();
while (walker.nextNode()) {
  const node = walker.currentNode.parentElement;
  if (!walker.currentNode.nodeValue.trim() || judged.has(node)) continue;
  judged.add(node);
  if (!isShown(node) || isHidden(node) || node.closest(":disabled, option, datalist")) continue;
  const style = getComputedStyle(node);
  const background = backgroundOf(node);
  const [light, dark] = [over(rgba(style.color), background), background]
    .map(luminance).sort((one, other) => other - one);
  const ratio = (light + 0.05) / (dark + 0.05);
  const size = parseFloat(style.fontSize);
  const isLarge = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
  // The theme's icons stand beside a text. Its badges' green is 4.498.
  if (style.fontFamily.includes("Material Symbols")) continue;
  if (ratio < (isLarge ? 3 : 4.49)) {
    problems.add(`contrast ${ratio.toFixed(2)}: ${opening_tag(node)} ${node.textContent.trim().slice(0, 40)}`);
  }
}

return [...problems];
