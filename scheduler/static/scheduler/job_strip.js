// The Tab key stops once per strip of boxes, and the arrow keys move from box to box.
// Without JavaScript the Tab key stops at each box.
"use strict";

(() => {
  const boxesOf = (strip) => [...strip.querySelectorAll("a")];

  function settle() {
    for (const strip of document.querySelectorAll(".job-strip")) {
      const boxes = boxesOf(strip);
      if (!boxes.length || boxes.some((box) => box === document.activeElement)) continue;
      boxes.forEach((box, at) => box.setAttribute("tabindex", at === boxes.length - 1 ? "0" : "-1"));
    }
  }

  document.addEventListener("keydown", (event) => {
    const box = event.target.closest && event.target.closest(".job-strip a");
    if (!box) return;
    const boxes = boxesOf(box.closest(".job-strip"));
    const at = boxes.indexOf(box);
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: boxes.length - 1 }[event.key];
    if (to === undefined || !boxes[to]) return;
    event.preventDefault();
    boxes.forEach((each) => each.setAttribute("tabindex", "-1"));
    boxes[to].setAttribute("tabindex", "0");
    boxes[to].focus();
  });

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", settle);
  else settle();
  // live.js replaces the strip on the page of a job.
  const glance = () => document.getElementById("job-glance");
  document.addEventListener("DOMContentLoaded", () => {
    if (glance()) new MutationObserver(settle).observe(glance(), { childList: true, subtree: true });
  });
})();
