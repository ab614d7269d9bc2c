// Works on an action on many rows: sends the form of the page again and again, and shows the numbers
// that the server answers. Without this script a person presses the button for each part.
"use strict";

(() => {
  const SLOWEST_SECONDS = 30;

  const pause = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

  async function part(form, numbers) {
    const response = await fetch(window.location.href, {
      method: "POST",
      body: new FormData(form),
      headers: { "X-Bulk": "1" },
      redirect: "manual",
    });
    if (response.ok) {
      numbers.innerHTML = await response.text();
      return true;
    }
    if (response.status >= 500) return false;
    // The session has ended, or a right was taken away: the server says so on a page.
    window.location.reload();
    return new Promise(() => {});
  }

  async function work() {
    const page = document.getElementById("bulk");
    const form = page && page.querySelector("[data-bulk-work]");
    if (!form) return;
    const numbers = document.getElementById("bulk-numbers");
    const lost = page.querySelector("[data-bulk-lost]");
    let waits = 1;
    form.hidden = true;
    while (!numbers.querySelector("[data-bulk-over]")) {
      const went = await part(form, numbers).catch(() => false);
      lost.hidden = went;
      waits = went ? 1 : Math.min(waits * 2, SLOWEST_SECONDS);
      if (!went) await pause(waits);
    }
    // The finished page has no buttons. A reload sends nothing.
    window.location.reload();
  }

  // The script stands in the head of the page.
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", work);
  else work();
})();
