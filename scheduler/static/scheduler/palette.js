// The command palette: Ctrl-K opens it, and "/" where the page has no search field of its own; arrows choose, Enter goes there, Escape closes it.
// Its texts are on the <dialog>; what is found comes from the server as JSON.
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  const dialog = document.getElementById("palette");
  const button = document.getElementById("palette-open");
  const input = document.getElementById("palette-input");
  const list = document.getElementById("palette-list");
  const status = document.getElementById("palette-status");
  if (!dialog || typeof dialog.showModal !== "function") return;

  let chosen = -1;
  let asked = 0;
  let timer = 0;

  const open = () => {
    if (dialog.open) return;
    dialog.showModal();
    input.select();
    ask();
  };

  const choose = (number) => {
    const rows = list.children;
    if (!rows.length) return;
    chosen = (number + rows.length) % rows.length;
    for (const [at, row] of [...rows].entries()) row.setAttribute("aria-selected", at === chosen);
    input.setAttribute("aria-activedescendant", rows[chosen].id);
    rows[chosen].scrollIntoView({ block: "nearest" });
  };

  const part = (className, text) => {
    const span = document.createElement("span");
    span.className = className;
    span.textContent = text;
    return span;
  };

  const show = (items) => {
    list.replaceChildren();
    chosen = -1;
    input.removeAttribute("aria-activedescendant");
    input.setAttribute("aria-expanded", items.length > 0);
    for (const [number, item] of items.entries()) {
      const row = document.createElement("li");
      row.id = `palette-${number}`;
      row.setAttribute("role", "option");
      row.setAttribute("aria-selected", "false");
      row.dataset.url = item.url;
      row.append(part("palette-kind", item.kind), part("palette-text", item.text));
      if (item.detail) row.append(part("palette-detail", item.detail));
      list.append(row);
    }
    status.textContent = items.length
      ? dialog.dataset.count.replace("%s", items.length)
      : dialog.dataset.none;
    choose(0);
  };

  const ask = async () => {
    const number = ++asked;
    const query = new URLSearchParams({ q: input.value });
    try {
      const answer = await fetch(`${dialog.dataset.url}?${query}`, {
        headers: { Accept: "application/json" },
      });
      const { items } = await answer.json(); // the page of the sign-in is no JSON
      if (number === asked) show(items); // an older answer may come later
    } catch {
      if (number !== asked) return;
      show([]);
      status.textContent = dialog.dataset.failed;
    }
  };

  const go = (row) => {
    if (row) window.location.assign(row.dataset.url);
  };

  button.hidden = false;
  button.addEventListener("click", open);
  input.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(ask, 120);
  });
  input.addEventListener("keydown", (event) => {
    if (event.isComposing) return; // Enter ends a Korean syllable first
    if (event.key === "ArrowDown") choose(chosen + 1);
    else if (event.key === "ArrowUp") choose(chosen - 1);
    else if (event.key === "Enter") go(list.children[chosen]);
    else return;
    event.preventDefault();
  });
  list.addEventListener("click", (event) => go(event.target.closest("li")));
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close(); // beside it
  });

  const isTyping = (element) =>
    element instanceof HTMLElement &&
    (element.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(element.tagName));
  // Before the theme's own handlers, which know Ctrl-K and "/" too.
  window.addEventListener(
    "keydown",
    (event) => {
      const isShortcut = (event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k";
      const isSlash = event.key === "/" && !event.ctrlKey && !event.metaKey && !event.altKey;
      const isFree = isSlash && !isTyping(event.target) && !document.getElementById("searchbar");
      if (!isShortcut && !isFree) return;
      event.preventDefault();
      event.stopImmediatePropagation();
      open();
    },
    true,
  );
});
