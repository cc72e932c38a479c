// The forms of the page: they appear only where this runs. Whatever is shown
// is shown as text.
(function () {
  "use strict";

  for (const e of document.querySelectorAll("[data-origin]")) e.textContent = location.origin;
  for (const e of document.querySelectorAll("form[hidden]")) e.hidden = false;

  const access = document.querySelector(".access");
  const token = document.getElementById("token");
  access.addEventListener("submit", (ev) => ev.preventDefault());

  function element(name, text, cls) {
    const e = document.createElement(name);
    if (text !== undefined) e.textContent = text;
    if (cls) e.className = cls;
    return e;
  }

  function build(form) {
    let path = form.dataset.path;
    const query = new URLSearchParams();
    const headers = {};
    let body;
    for (const f of form.querySelectorAll("[data-in]")) {
      const value = f.value;
      switch (f.dataset.in) {
        case "path":
          path = path.replace("{" + f.dataset.name + "}", encodeURIComponent(value));
          break;
        case "query":
          if (value !== "") query.append(f.dataset.name, value);
          break;
        case "header":
          if (value !== "") headers[f.dataset.name] = value;
          break;
        case "body":
          if (value.trim() !== "") body = value;
      }
    }
    if (body !== undefined) headers["Content-Type"] = form.dataset.media;
    if (token.value !== "" && form.dataset.path !== "/oauth2/token") headers["Authorization"] = "Bearer " + token.value.trim();
    const q = query.toString();
    return { url: path + (q ? "?" + q : ""), init: { method: form.dataset.method, headers, body, credentials: "omit", cache: "no-store", redirect: "manual" } };
  }

  function pretty(text, type) {
    if (!/json/.test(type || "")) return text;
    try {
      return JSON.stringify(JSON.parse(text), null, 2);
    } catch {
      return text;
    }
  }

  async function send(ev) {
    ev.preventDefault();
    const form = ev.currentTarget;
    const out = form.querySelector(".result");
    const button = form.querySelector("button");
    const { url, init } = build(form);
    button.disabled = true;
    out.replaceChildren(element("p", "Sending…", "dim"));
    const start = performance.now();
    try {
      const r = await fetch(url, init);
      const text = await r.text();
      const took = Math.round(performance.now() - start);
      const line = element("p");
      line.append(element("span", String(r.status), "status " + (r.ok ? "good" : "bad")), init.method + " " + url + " · " + took + " ms");
      out.replaceChildren(line);
      if (text !== "") out.append(element("pre", pretty(text, r.headers.get("Content-Type"))));
      const answer = r.ok && /json/.test(r.headers.get("Content-Type") || "") ? JSON.parse(text) : {};
      if (answer && typeof answer.access_token === "string") {
        token.value = answer.access_token;
        out.append(element("p", "The token is now used by the forms on this page.", "dim"));
      }
    } catch {
      out.replaceChildren(element("p", "There was no answer: the server cannot be reached.", "dim"));
    } finally {
      button.disabled = false;
    }
  }

  for (const form of document.querySelectorAll("form.try")) form.addEventListener("submit", send);
})();
