// A button that copies an input: <button hidden data-copy="ID" data-copied="TEXT AFTERWARDS">.
// Without JavaScript there is no button, and the input can be selected.
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  for (const button of document.querySelectorAll("[data-copy]")) {
    const input = document.getElementById(button.dataset.copy);
    button.setAttribute("aria-live", "polite");
    button.hidden = false;
    button.addEventListener("click", async () => {
      input.select();
      // Browsers offer the clipboard to https and this host only.
      try {
        await navigator.clipboard.writeText(input.value);
      } catch {
        document.execCommand("copy");
      }
      button.textContent = button.dataset.copied;
    });
  }
});
