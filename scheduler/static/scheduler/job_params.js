// A form for the parameters of a handler, beside their JSON. The browser submits the textarea: each
// change in the form is written into its JSON, and values without an input stay unchanged.
//
//   <textarea data-params-url="..." data-params-handler="name" | data-params-handler-input="input"
//             data-params-class="classes of an input" data-params-words="{...}">
"use strict";

(() => {
  const PAUSE_MS = 350;
  let number = 0;

  function element(tag, attributes, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value !== undefined && value !== null && value !== false) made.setAttribute(name, value);
    }
    made.append(...children);
    return made;
  }

  // JavaScript cannot represent such integers exactly: parsing the JSON would change them.
  const hasBigNumbers = (text) => /\d{16}/.test(text.replace(/"(?:[^"\\]|\\.)*"/g, '""'));

  const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);

  // --- one input -------------------------------------------------------------------------------------

  const SHAPES = {
    date: /^\d{4}-\d{2}-\d{2}$/,
    time: /^\d{2}:\d{2}(:\d{2})?$/,
    datetime: /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2})?$/,
  };

  // A value that does not fit its kind of input is shown as JSON.
  function kindFor(field, value) {
    if (value === undefined || value === null) return field.kind;
    switch (field.kind) {
      case "text":
      case "secret":
        return typeof value === "string" && !value.includes("\n") ? field.kind : "json";
      case "date":
      case "time":
      case "datetime":
        if (typeof value !== "string") return "json";
        return SHAPES[field.kind].test(value) ? field.kind : "text";
      case "integer":
      case "number":
        return typeof value === "number" ? field.kind : "json";
      case "boolean":
        return typeof value === "boolean" ? field.kind : "json";
      case "choice":
        return field.choices.some((each) => each === value) ? field.kind : "json";
      case "scalar":
        return ["string", "number"].includes(typeof value) ? field.kind : "json";
      default:
        return "json";
    }
  }

  function readNumber(text, isWhole) {
    const trimmed = text.trim();
    if (isWhole ? !/^-?\d{1,15}$/.test(trimmed) : !/^-?\d*\.?\d+(e[+-]?\d+)?$/i.test(trimmed)) return text;
    return Number(trimmed);
  }

  class Input {
    constructor(field, value, words, classes) {
      this.field = field;
      this.words = words;
      this.kind = kindFor(field, value);
      this.touched = false;
      number += 1;
      const id = `param-${number}`;
      const required = field.required ? ` (${words.required})` : "";
      this.control = this.build(id, classes);
      this.control.setAttribute("aria-describedby", `${id}-help ${id}-problem`);
      this.problem = element("div", { id: `${id}-problem`, class: "job-problem", role: "status" });
      this.root = element(
        "div",
        { class: "job-param" },
        element("label", { for: id }, field.label + required),
        this.control,
        element("div", { id: `${id}-help`, class: "job-param-help" }, this.help()),
        this.problem,
      );
      this.write(value);
    }

    help() {
      const hints = [];
      if (this.field.help) hints.push(this.field.help);
      if (this.kind === "json") hints.push(this.words.jsonHelp);
      if (this.kind === "secret") hints.push(this.words.secretHelp);
      if (this.field.min !== undefined) hints.push(`≥ ${this.field.min}`);
      if (this.field.above !== undefined) hints.push(`> ${this.field.above}`);
      if (this.field.max !== undefined) hints.push(`≤ ${this.field.max}`);
      if (this.field.below !== undefined) hints.push(`< ${this.field.below}`);
      return hints.join("; ");
    }

    nothing() {
      return this.field.default === undefined
        ? this.words.notSet
        : this.words.default.replace("%s", this.field.default);
    }

    build(id, classes) {
      const { field, kind } = this;
      const common = { id, class: classes, "data-param": field.name, autocomplete: "off" };
      if (kind === "json") return element("textarea", { ...common, rows: 3, spellcheck: "false" });
      if (kind === "boolean" || kind === "choice") {
        const choices =
          kind === "boolean"
            ? [[true, this.words.yes], [false, this.words.no]]
            : field.choices.map((value) => [value, String(value)]);
        const options = choices.map(([value, label]) => element("option", { value: JSON.stringify(value) }, label));
        return element("select", common, element("option", { value: "" }, this.nothing()), ...options);
      }
      const type = { secret: "password", date: "date", time: "time", datetime: "datetime-local" }[kind] || "text";
      const control = element("input", { ...common, type, placeholder: this.nothing(), maxlength: field.maxlength });
      if (kind === "secret") control.autocomplete = "new-password";
      if (kind === "integer") control.inputMode = "numeric";
      if (kind === "number") control.inputMode = "decimal";
      if (kind === "time" || kind === "datetime") control.step = "1";
      return control;
    }

    write(value) {
      if (value === undefined || value === null) this.control.value = "";
      else if (this.kind === "json") this.control.value = JSON.stringify(value, null, 2);
      else if (this.kind === "boolean" || this.kind === "choice") this.control.value = JSON.stringify(value);
      // Quotes keep a text that looks like a number a text.
      else if (this.kind === "scalar" && typeof value === "string" && readNumber(value, false) !== value) {
        this.control.value = JSON.stringify(value);
      } else this.control.value = String(value);
    }

    // Returns undefined if the input is empty. Throws an error if its JSON is invalid.
    read() {
      const text = this.control.value;
      if (text.trim() === "") return undefined;
      switch (this.kind) {
        case "json":
        case "boolean":
        case "choice":
          if (hasBigNumbers(text)) throw new Error(this.words.onlyJson);
          try {
            return JSON.parse(text);
          } catch {
            throw new Error(this.words.notJson);
          }
        case "integer":
          return readNumber(text, true);
        case "number":
          return readNumber(text, false);
        case "scalar":
          if (/^".*"$/.test(text)) return JSON.parse(text);
          return readNumber(text, false);
        default:
          return text;
      }
    }

    say(text) {
      if (this.problem.textContent !== text) this.problem.textContent = text;
      if (text) this.control.setAttribute("aria-invalid", "true");
      else this.control.removeAttribute("aria-invalid");
    }
  }

  // --- the form --------------------------------------------------------------------------------------

  // A page that shows again what was refused keeps the view that the person chose on it.
  const place = `job-params ${location.pathname}`;

  function remembered() {
    try {
      return sessionStorage.getItem(place);
    } catch {
      return null; // the browser keeps nothing
    }
  }

  function remember(mode) {
    try {
      sessionStorage.setItem(place, mode);
    } catch {
      // The browser keeps nothing.
    }
  }

  class ParamsForm {
    constructor(area) {
      this.area = area;
      this.words = JSON.parse(area.dataset.paramsWords);
      this.inputs = [];
      this.extra = null;
      this.wantsJson = remembered() === "json";
      this.handlerInput = area.form && area.form.elements[area.dataset.paramsHandlerInput];
      this.problem = element("div", { class: "job-problem", role: "status" });
      this.note = element("div", { class: "job-params-note" });
      this.body = element("div", {});
      this.buttons = { form: this.button("form"), json: this.button("json") };
      const modes = element("div", { class: "job-params-modes", role: "group" }, this.buttons.form, this.buttons.json);
      this.root = element("div", { class: "job-params" }, modes, this.note, this.body);
      area.before(this.root);
      area.after(this.problem);
      area.addEventListener("input", (event) => {
        if (event.isTrusted) this.soon();
      });
      this.body.addEventListener("input", (event) => this.typed(event));
      this.body.addEventListener("change", (event) => this.typed(event));
      if (this.handlerInput) {
        const renew = () => {
          clearTimeout(this.handlerTimer);
          this.handlerTimer = setTimeout(() => this.load(), PAUSE_MS);
        };
        this.handlerInput.addEventListener("input", renew);
        this.handlerInput.addEventListener("change", renew);
      }
      if (area.form) area.form.addEventListener("submit", (event) => this.submit(event), true);
      this.load();
    }

    get handler() {
      return this.handlerInput ? this.handlerInput.value.trim() : this.area.dataset.paramsHandler;
    }

    button(mode) {
      const made = element("button", { type: "button", "aria-pressed": "false" }, this.words[mode]);
      made.addEventListener("click", () => {
        this.wantsJson = mode === "json";
        remember(mode);
        this.render();
      });
      return made;
    }

    async load() {
      const name = this.handler;
      if (name === this.loaded) return;
      const address = new URL(this.area.dataset.paramsUrl, location.href);
      address.searchParams.set("handler", name);
      try {
        const response = await fetch(address, { credentials: "same-origin", redirect: "manual" });
        if (response.status !== 200 || name !== this.handler) return;
        this.about = await response.json();
        this.loaded = name;
      } catch {
        return; // without the form, people edit the JSON
      }
      this.render();
    }

    values() {
      const text = this.area.value.trim();
      if (!text) return {};
      if (hasBigNumbers(text)) return null;
      try {
        const value = JSON.parse(text);
        return isObject(value) ? value : null;
      } catch {
        return null;
      }
    }

    render() {
      const values = this.values();
      const fields = (this.about && this.about.fields) || [];
      const isPossible = fields.length > 0 && values !== null;
      const isForm = isPossible && !this.wantsJson;
      this.buttons.form.disabled = !isPossible;
      this.buttons.form.setAttribute("aria-pressed", String(isForm));
      this.buttons.json.setAttribute("aria-pressed", String(!isForm));
      this.root.hidden = !this.about || !this.about.known;
      this.area.hidden = isForm;
      this.area.classList.toggle("job-params-hidden", isForm);
      this.inputs = [];
      this.extra = null;
      this.body.replaceChildren();
      this.note.textContent = this.about ? this.about.description : "";
      if (this.about && !fields.length) this.note.textContent = this.words.noModel;
      else if (this.about && values === null) this.note.textContent = this.words.onlyJson;
      if (isForm) {
        // The theme's class marks all inputs below an error. Here only some of them may be wrong.
        const classes = this.area.dataset.paramsClass
          .split(" ")
          .filter((name) => !name.includes("[.errors]"))
          .join(" ");
        this.inputs = fields.map((field) => new Input(field, values[field.name], this.words, classes));
        const known = new Set(fields.map((field) => field.name));
        const rest = Object.fromEntries(Object.entries(values).filter(([name]) => !known.has(name)));
        this.known = known;
        if (this.about.extra || Object.keys(rest).length) {
          const about = { name: "", label: this.words.any, help: this.words.extraHelp, kind: "json" };
          this.extra = new Input(about, Object.keys(rest).length ? rest : undefined, this.words, classes);
        }
        const isCommon = (input) => input === this.extra || input.field.common;
        const further = this.all().filter(isCommon);
        this.body.append(...this.all().filter((input) => !isCommon(input)).map((input) => input.root));
        if (further.length) {
          const details = element("details", {}, element("summary", {}, this.words.extra));
          details.open = further.some((input) => input.control.value) || further.length === this.all().length;
          details.append(...further.map((input) => input.root));
          this.body.append(details);
        }
      }
      this.soon();
    }

    all() {
      return this.extra ? [...this.inputs, this.extra] : this.inputs;
    }

    typed(event) {
      const input = this.all().find((each) => each.control === event.target);
      if (!input) return;
      input.touched = true;
      const values = this.values();
      try {
        const value = input.read();
        if (input === this.extra) {
          if (value !== undefined && !isObject(value)) throw new Error(this.words.notObject);
          for (const name of Object.keys(values)) if (!this.known.has(name)) delete values[name];
          for (const [name, each] of Object.entries(value || {})) if (!this.known.has(name)) values[name] = each;
        } else if (value === undefined) delete values[input.field.name];
        else values[input.field.name] = value;
        input.broken = "";
      } catch (error) {
        input.broken = error.message;
        input.say(input.broken);
        return;
      }
      this.area.value = JSON.stringify(values, null, 2);
      this.area.dispatchEvent(new Event("input", { bubbles: true }));
      this.soon();
    }

    // The textarea lacks an input whose JSON is invalid, so the form must not be saved.
    submit(event) {
      const broken = this.all().find((input) => input.broken);
      if (!broken) return;
      event.preventDefault();
      event.stopPropagation();
      broken.control.focus();
    }

    soon() {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.ask(), PAUSE_MS);
    }

    async ask() {
      const text = this.area.value.trim();
      let message = "";
      try {
        if (!isObject(JSON.parse(text || "{}"))) message = this.words.notObject;
      } catch {
        message = this.words.notJson;
      }
      if (message || !this.about || !this.about.known) {
        this.show([], message);
        return;
      }
      const token = this.area.form && this.area.form.elements.csrfmiddlewaretoken;
      const body = new FormData();
      body.set("handler", this.handler);
      body.set("params", text);
      body.set("csrfmiddlewaretoken", token ? token.value : "");
      try {
        const response = await fetch(this.area.dataset.paramsUrl, {
          method: "POST", body, credentials: "same-origin", redirect: "manual",
        });
        if (response.status === 200 && text === this.area.value.trim()) this.show((await response.json()).errors, "");
      } catch {
        // The server checks again on saving.
      }
    }

    show(errors, message) {
      const old = this.problem.parentElement.querySelector(".errorlist");
      if (old) old.remove();
      const left = message ? [message] : [];
      const found = new Map();
      for (const { loc, message: text } of errors) {
        const [first, ...below] = loc.split(".");
        const input = this.inputs.find((each) => each.field.name === first);
        if (input) {
          const place = below.length ? `${below.join(".")}: ` : "";
          found.set(input, [...(found.get(input) || []), place + text]);
        } else left.push(loc ? `${loc}: ${text}` : text);
      }
      for (const input of this.all()) {
        const text = input.broken || (found.get(input) || []).join(" ");
        const details = text && input.root.closest("details");
        if (details) details.open = true;
        input.say(text);
      }
      this.problem.textContent = left.join(" ");
    }
  }

  function start() {
    for (const area of document.querySelectorAll("textarea[data-params-url]")) new ParamsForm(area);
  }

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
