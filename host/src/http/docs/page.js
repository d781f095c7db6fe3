// Reads /_/openapi.json of this server, lists its operations, and sends what is filled in. It needs nothing else.
"use strict";

const find = (id) => document.getElementById(id);

/** An element with attributes, and children that are elements or texts; nothing is ever read as HTML. */
function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false && value !== undefined) element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child !== undefined));
  return element;
}

let api = { paths: {}, components: { schemas: {} } };
let operations = [];
let sending = null;

/** Follows references, as far as a form and an example need it. */
function resolved(schema) {
  let at = schema || {};
  while (at.$ref) at = api.components.schemas[at.$ref.split("/").pop()] || {};
  return at;
}

/** What a body may look like: the first example that is found. */
function example(schema) {
  const at = resolved(schema);
  if (at.examples) return at.examples[0];
  for (const choice of at.oneOf || []) {
    const found = example(choice);
    if (found !== undefined) return found;
  }
  return undefined;
}

function list() {
  const words = find("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const shown = operations.filter((one) => words.every((word) => one.text.includes(word)));
  const tags = [...new Set(shown.map((one) => one.tag))];
  const order = (tag) => (tag === "server" ? 1 : tag === "any" ? 2 : 0);
  tags.sort((a, b) => order(a) - order(b) || a.localeCompare(b));
  const titles = { server: "The server itself", any: "Any root" };
  find("list").replaceChildren(...tags.flatMap((tag) => [
    make("h2", {}, titles[tag] || `Root ${tag}`),
    make("ul", {}, ...shown.filter((one) => one.tag === tag).map((one) => make("li", {}, make("button", {
      type: "button", "data-id": one.id, title: one.about.summary,
      "aria-current": location.hash === `#${encodeURIComponent(one.id)}` ? "true" : "false",
      onclick: () => { location.hash = encodeURIComponent(one.id); },
    }, make("span", { class: `method ${one.method}` }, one.method.toUpperCase()), one.path)))),
  ]));
  if (shown.length === 0) find("list").append(make("p", {}, "No operation has all of these words."));
}

/** The field of a parameter: a choice where there are few values, else a line; several lines where it repeats. */
function field(parameter) {
  const schema = resolved(parameter.schema);
  const id = `${parameter.in}-${parameter.name}`;
  const common = { id, "data-in": parameter.in, "data-name": parameter.name, "data-kind": schema.type, required: parameter.required };
  let input;
  if (parameter.allowEmptyValue) {
    input = make("select", { ...common, "data-kind": "empty" }, make("option", { value: "" }, "no"), make("option", { value: "yes" }, "yes"));
  } else if (schema.type === "boolean" || schema.enum) {
    const values = schema.enum || ["true", "false"];
    input = make("select", common, make("option", { value: "" }, ""), ...values.map((value) => make("option", { value }, value)));
  } else if (schema.type === "array") {
    input = make("input", { ...common, placeholder: "one, or several: a | b", spellcheck: "false" });
  } else {
    const kind = schema.type === "integer" ? "number" : "text";
    const hint = schema.format === "date-time" ? "2026-05-01T10:00:00Z" : (schema.examples || []).join(", ");
    input = make("input", { ...common, type: kind, min: schema.minimum, placeholder: hint, spellcheck: "false", autocomplete: "off" });
  }
  input.addEventListener("input", preview);
  const about = parameter.description ? make("small", {}, parameter.description) : undefined;
  return make("div", {}, make("label", { for: id }, make("code", {}, parameter.name), parameter.in === "query" ? "" : ` (${parameter.in})`), input, about);
}

/** The URL and headers that the form says. */
function request(operation) {
  const fields = [...document.querySelectorAll("#form [data-in]")];
  let path = operation.path;
  const query = [];
  const headers = {};
  for (const one of fields) {
    const { in: place, name, kind } = one.dataset;
    const value = one.value;
    if (place === "path") path = path.replace(`{${name}}`, encodeURIComponent(value));
    else if (value === "") continue;
    else if (place === "header") headers[name] = value;
    else if (kind === "empty") query.push(name);
    else if (kind === "array") for (const part of value.split("|")) query.push(`${name}=${encodeURIComponent(part.trim())}`);
    else query.push(`${name}=${encodeURIComponent(value)}`);
  }
  const accept = find("accept");
  if (accept && accept.value) headers.Accept = accept.value;
  const body = find("body");
  if (body) headers["Content-Type"] = find("media").value;
  return { url: path + (query.length ? `?${query.join("&")}` : ""), headers, body: body ? body.value : undefined };
}

function preview() {
  const operation = current();
  if (operation && find("url")) find("url").textContent = `${operation.method.toUpperCase()} ${request(operation).url}`;
}

function current() {
  const id = decodeURIComponent(location.hash.slice(1));
  return operations.find((one) => one.id === id);
}

function show() {
  list();
  const operation = current();
  if (!operation) return;
  if (sending) sending.abort();
  const { about, method, path } = operation;
  // A page packs no bodies.
  const parameters = (about.parameters || []).filter((one) => one.name !== "Content-Encoding");
  const media = Object.keys((about.requestBody || { content: {} }).content);
  const answers = Object.entries(about.responses);
  const accepts = [...new Set(answers.filter(([status]) => status < 400).flatMap(([, one]) => Object.keys(one.content || {})))];
  const parts = [
    make("h2", {}, make("span", { class: `method ${method}` }, method.toUpperCase()), ` ${path}`),
    make("p", {}, about.summary),
  ];
  const form = make("form", { id: "form", onsubmit: (event) => { event.preventDefault(); send(operation); } });
  if (parameters.length) form.append(make("h3", {}, "Parameters"), make("div", { class: "fields" }, ...parameters.map(field)));
  if (media.length) {
    const first = example((about.requestBody.content[media[0]] || {}).schema);
    const text = first === undefined ? "" : JSON.stringify(first, null, 2);
    const body = make("textarea", { id: "body", spellcheck: "false", "aria-label": "Body" });
    body.value = text;
    form.append(make("h3", {}, "Body"), make("div", { class: "fields" },
      make("div", {}, make("label", { for: "media" }, "Content-Type"), make("select", { id: "media" }, ...media.map((value) => make("option", { value }, value))))), body);
  }
  const stop = make("button", { id: "stop", type: "button", class: "second", disabled: true, onclick: () => sending && sending.abort() }, "Stop");
  const choose = accepts.length > 1
    ? make("label", {}, "Accept ", make("select", { id: "accept" }, ...accepts.map((value) => make("option", { value }, value))))
    : undefined;
  form.append(make("div", { class: "actions" }, make("button", { type: "submit" }, "Send"), stop, ...(choose ? [choose] : []), make("span", { id: "url", class: "url" })));
  parts.push(form, make("div", { id: "answer", "aria-live": "polite" }));
  parts.push(make("h3", {}, "Answers"), make("table", {}, make("tbody", {}, ...answers.map(([status, one]) =>
    make("tr", {}, make("th", { scope: "row" }, status), make("td", {}, one.description, ...schemas(one)))))));
  find("operation").replaceChildren(...parts);
  find("operation").focus({ preventScroll: true });
  window.scrollTo(0, 0);
  preview();
}

function schemas(answer) {
  return Object.entries(answer.content || {}).filter(([type, one]) => one.schema && !type.includes("problem")).map(([type, one]) =>
    make("details", {}, make("summary", {}, type), make("pre", { tabindex: "0" }, JSON.stringify(resolved(one.schema), null, 2))));
}

async function send(operation) {
  const { url, headers, body } = request(operation);
  if (sending) sending.abort();
  const mine = new AbortController();
  sending = mine;
  find("stop").disabled = false;
  const begun = performance.now();
  const status = make("p", {}, "waiting");
  const head = make("pre", { class: "head", hidden: true, tabindex: "0", "aria-label": "Headers of the answer" });
  const text = make("pre", { tabindex: "0", "aria-label": "Body of the answer" });
  find("answer").replaceChildren(make("h3", {}, "Answer"), make("div", { class: "answer" }, status, head, text));
  find("answer").scrollIntoView({ block: "nearest" });
  try {
    const answer = await fetch(url, { method: operation.method.toUpperCase(), headers, body, signal: mine.signal, cache: "no-store", credentials: "omit", redirect: "error" });
    const took = Math.round(performance.now() - begun);
    status.replaceChildren(make("span", { class: answer.ok ? "status" : "status bad" }, `${answer.status} ${answer.statusText}`), ` after ${took} ms`);
    head.hidden = false;
    head.textContent = [...answer.headers].map(([name, value]) => `${name}: ${value}`).join("\n");
    const type = answer.headers.get("content-type") || "";
    if (type.startsWith("text/event-stream")) await stream(answer, text);
    else text.textContent = pretty(await answer.text(), type);
  } catch (fault) {
    if (fault.name === "AbortError") status.append(" stopped");
    else status.replaceChildren(make("span", { class: "status bad" }, "no answer"), ` ${fault.message}`);
  } finally {
    find("answer")?.scrollIntoView({ block: "nearest" });
    if (sending === mine) {
      sending = null;
      if (find("stop")) find("stop").disabled = true;
    }
  }
}

/** Shows a stream as it comes, the last part of it. */
async function stream(answer, into) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    into.textContent = (into.textContent + value).slice(-100_000);
    into.scrollTop = into.scrollHeight;
  }
}

function pretty(text, type) {
  if (!type.includes("json") || text.length > 1_000_000) return text;
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

async function standing() {
  const place = find("standing");
  try {
    const answer = await fetch("/_/readyz", { cache: "no-store" });
    const body = await answer.json();
    const reasons = (body.reasons || []).map((one) => one.reason + (one.root || one.plugin ? ` (${one.root || one.plugin})` : ""));
    place.className = reasons.length ? "unwell" : "well";
    place.textContent = reasons.length ? `${body.status === 503 ? "not ready" : body.status}: ${reasons.join(", ")}` : "ready";
  } catch {
    place.className = "unwell";
    place.textContent = "the server does not answer";
  }
}

function keys(event) {
  const typing = ["INPUT", "TEXTAREA", "SELECT"].includes(event.target.tagName);
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && find("form")) {
    event.preventDefault();
    find("form").requestSubmit();
  } else if (event.key === "/" && !typing) {
    event.preventDefault();
    find("filter").focus();
  } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    const buttons = [...document.querySelectorAll("nav button")];
    const at = buttons.indexOf(document.activeElement);
    if (at < 0 && document.activeElement !== find("filter")) return;
    event.preventDefault();
    const next = event.key === "ArrowDown" ? at + 1 : at - 1;
    (buttons[next] || (next < 0 ? find("filter") : buttons[at]))?.focus();
  }
}

async function begin() {
  document.addEventListener("keydown", keys);
  window.addEventListener("hashchange", show);
  find("filter").addEventListener("input", list);
  standing();
  const answer = await fetch("/_/openapi.json", { cache: "no-store" });
  api = await answer.json();
  if (!answer.ok) {
    find("hint").textContent = api.detail;
    return;
  }
  find("version").textContent = api.info.version;
  operations = Object.entries(api.paths).flatMap(([path, methods]) => Object.entries(methods).map(([method, about]) => ({
    id: `${method} ${path}`, path, method, about, tag: about.tags[0], text: `${method} ${path} ${about.summary}`.toLowerCase(),
  })));
  list();
  show();
}

begin().catch((fault) => { find("hint").textContent = `The document does not load: ${fault.message}`; });
