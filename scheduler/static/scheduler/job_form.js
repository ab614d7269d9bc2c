// While a person types a job, the fields show their problems and the preview shows the next runs.
// The server checks (scheduler/admin/jobs/checks.py). Without JavaScript it checks on saving only.
"use strict";

(() => {
  const PAUSE_MS = 350;

  function start() {
    const preview = document.getElementById("job-preview");
    const form = document.getElementById("cronjob_form");
    if (!preview || !preview.dataset.check || !form || !form.elements.cron_expression) return;

    const isNew = !new URL(preview.dataset.check, location.href).searchParams.has("job");
    const touched = new Set();
    let timer = null;
    let asking = null;

    // A split field has two inputs, name_0 and name_1.
    const inputsOf = (name) =>
      [form.elements[name], form.elements[`${name}_0`], form.elements[`${name}_1`]]
        .filter((input) => input && input.nodeType === Node.ELEMENT_NODE);
    const nameOf = (input) => (input.name || "").replace(/_[01]$/, "");

    function placeOf(name) {
      const input = inputsOf(name)[0];
      if (!input) return null;
      let place = document.getElementById(`problem-${name}`);
      if (!place) {
        place = document.createElement("div");
        place.id = `problem-${name}`;
        place.className = "job-problem";
        place.setAttribute("role", "status");
        (input.closest(".grow") || input.parentElement).append(place);
      }
      return place;
    }

    function say(name, texts) {
      const place = placeOf(name);
      if (!place) return;
      // The errors of the last save are about values that have changed since.
      const old = place.parentElement.querySelector(".errorlist");
      if (old) old.remove();
      const text = texts.join(" ");
      if (place.textContent !== text) place.textContent = text;
      for (const input of inputsOf(name)) {
        if (texts.length) {
          input.setAttribute("aria-invalid", "true");
          input.setAttribute("aria-errormessage", place.id);
        } else {
          input.removeAttribute("aria-invalid");
          input.removeAttribute("aria-errormessage");
        }
      }
    }

    function isWorthSaying(name) {
      if (!isNew || touched.has(name)) return true;
      return inputsOf(name).some((input) => input.type !== "checkbox" && input.value.trim());
    }

    function show(answer) {
      const names = new Set([...form.elements].map(nameOf).filter(Boolean));
      // job_params.js shows the problems of the parameters.
      names.delete("handler_params");
      for (const name of names) {
        if (inputsOf(name).some((input) => input.type === "hidden")) continue;
        const texts = (isWorthSaying(name) && answer.problems[name]) || [];
        if (texts.length || document.getElementById(`problem-${name}`)) say(name, texts);
      }
      preview.innerHTML = answer.preview;
    }

    async function ask() {
      if (asking) asking.abort();
      asking = new AbortController();
      const mine = asking;
      preview.classList.add("job-is-asking");
      try {
        const response = await fetch(preview.dataset.check, {
          method: "POST",
          body: new FormData(form),
          credentials: "same-origin",
          redirect: "manual",
          signal: mine.signal,
        });
        if (response.status === 200) show(await response.json());
      } catch (error) {
        if (error.name === "AbortError") return; // a newer request has replaced this one
      } finally {
        if (asking === mine) preview.classList.remove("job-is-asking");
      }
    }

    function typed(event) {
      const name = nameOf(event.target);
      if (!name) return;
      touched.add(name);
      clearTimeout(timer);
      timer = setTimeout(ask, PAUSE_MS);
    }

    // After a refused save the first field with a mistake has the focus. A closed tab has no boxes.
    const wrong = [...form.elements].find(
      (input) => input.getAttribute("aria-invalid") === "true" && input.getClientRects().length,
    );
    if (wrong) wrong.focus();

    form.addEventListener("input", typed);
    form.addEventListener("change", typed);
  }

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
