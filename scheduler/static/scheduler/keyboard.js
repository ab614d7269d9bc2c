// Keys for what the theme makes for the mouse alone: the tabs of a form and the opener of a list's
// filters are links without an address, which Tab passes by.
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  for (const link of document.querySelectorAll("a[x-on\\:click]:not([href])")) {
    link.tabIndex = 0;
    link.setAttribute("role", "button");
    link.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      link.click();
    });
    // A tab has a class while it is the open one.
    if (!link.hasAttribute("x-bind:class")) continue;
    const tell = () => link.setAttribute("aria-pressed", link.classList.contains("active"));
    new MutationObserver(tell).observe(link, { attributeFilter: ["class"] });
    tell();
  }
});
