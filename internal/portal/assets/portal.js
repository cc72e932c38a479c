// Appends a bin's new requests to its page as they arrive. Everything that
// came from outside goes into text nodes only.
(function () {
  "use strict";
  const list = document.getElementById("list");
  const blank = document.getElementById("row");
  const live = document.getElementById("live");
  if (!list || !blank || !live || !window.EventSource || "still" in list.dataset) return;

  const most = Number(list.dataset.most);
  const tally = document.getElementById("tally");
  const words = { valid: "valid", invalid: "invalid", none: "none" };
  const seen = new Set();
  for (const li of list.children) seen.add(li.dataset.id);

  function say(text, state) {
    if (live.textContent === text) return;
    live.hidden = false;
    live.textContent = text;
    live.className = "live " + state;
  }

  function rowOf(r) {
    const li = blank.content.firstElementChild.cloneNode(true);
    const put = (name, text) => {
      const e = li.querySelector('[data-f="' + name + '"]');
      e.textContent = text;
      return e;
    };
    li.dataset.id = r.id;
    li.classList.add("fresh");
    put("at", r.at).setAttribute("datetime", r.iso);
    for (const name of ["method", "path", "event", "subject", "sequence", "attempt", "answer"]) put(name, String(r[name]));
    put("signature", r.signature).className = "badge " + (words[r.verdict] || "none");
    put("note", r.note).hidden = r.note === "";
    put("body", r.body).hidden = r.body === "";
    const heads = put("headers", "");
    for (const h of r.headers) {
      heads.appendChild(document.createElement("dt")).textContent = h.name;
      heads.appendChild(document.createElement("dd")).textContent = h.value;
    }
    const link = li.querySelector('[data-f="link"]');
    if (link) link.href = list.dataset.stream.replace(/stream$/, "requests/") + encodeURIComponent(r.id);
    return li;
  }

  function add(r) {
    if (seen.has(r.id)) return;
    seen.add(r.id);
    list.prepend(rowOf(r));
    while (list.children.length > most) {
      seen.delete(list.lastElementChild.dataset.id);
      list.lastElementChild.remove();
    }
    tally.textContent = String(list.children.length);
    document.getElementById("full").hidden = list.children.length < most;
    document.getElementById("empty").hidden = true;
    document.getElementById("reqs").hidden = false;
  }

  say(document.body.dataset.connecting, "");
  const source = new EventSource(list.dataset.stream + "?after=" + encodeURIComponent(list.dataset.after));
  source.addEventListener("open", () => say(document.body.dataset.sayLive, "on"));
  source.addEventListener("request", (e) => add(JSON.parse(e.data)));
  source.addEventListener("end", () => {
    source.close();
    say(document.body.dataset.ended, "off");
  });
  source.addEventListener("error", () => {
    if (source.readyState === EventSource.CLOSED) say(document.body.dataset.lost, "off");
    else say(document.body.dataset.again, "");
  });
})();

// Keeps parts of a page as the server renders them now. What arrives is markup
// of ours in which everything that came from outside is text; it is taken over
// as inert nodes, and the content security policy lets no script in it run.
(function () {
  "use strict";
  const parts = document.querySelectorAll("[data-live]");
  const state = document.querySelector("[data-live-state]");
  const say = (text, mode) => {
    if (!state) return;
    state.hidden = false;
    state.textContent = text;
    state.className = "live " + mode;
  };
  for (const part of parts) {
    if (!window.EventSource || !part.dataset.live) continue;
    const source = new EventSource(part.dataset.live);
    let first = true;
    source.addEventListener("open", () => say(document.body.dataset.sayLive, "on"));
    source.addEventListener("part", (e) => {
      const fresh = new DOMParser().parseFromString(e.data, "text/html").body;
      const known = new Set(Array.from(part.querySelectorAll("a.dlv"), (a) => a.getAttribute("href")));
      const focused = part.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
      part.replaceChildren(...fresh.childNodes);
      for (const a of part.querySelectorAll("a.dlv")) {
        if (!first && !known.has(a.getAttribute("href"))) a.classList.add("fresh");
        if (focused !== null && a.getAttribute("href") === focused) a.focus({ preventScroll: true });
      }
      first = false;
      count();
    });
    source.addEventListener("end", () => {
      source.close();
      say(document.body.dataset.ended, "off");
    });
    source.addEventListener("error", () => say(source.readyState === EventSource.CLOSED ? document.body.dataset.lost : document.body.dataset.again, source.readyState === EventSource.CLOSED ? "off" : ""));
  }

  // Counts down to instants.
  function count() {
    for (const t of document.querySelectorAll("time[data-until]")) {
      const left = Math.round((Date.parse(t.dataset.until) - Date.now()) / 1000);
      if (!t.title) t.title = t.dataset.until;
      if (Number.isNaN(left)) continue;
      if (left <= 0) {
        t.textContent = document.body.dataset.past;
        continue;
      }
      const two = (n) => String(n).padStart(2, "0");
      const days = Math.floor(left / 86400);
      t.textContent = (days > 0 ? days + " d " : "") + two(Math.floor(left / 3600) % 24) + ":" + two(Math.floor(left / 60) % 60) + ":" + two(left % 60);
    }
  }
  count();
  if (document.querySelector("time[data-until], [data-live]")) setInterval(count, 1000);

  // Copies a text.
  for (const b of document.querySelectorAll("[data-copy], [data-copy-next]")) {
    if (!navigator.clipboard) continue;
    b.hidden = false;
    b.addEventListener("click", async () => {
      const from = b.dataset.copy ? document.getElementById(b.dataset.copy) : b.parentElement.nextElementSibling;
      await navigator.clipboard.writeText(from.textContent);
      b.textContent = document.body.dataset.copied;
    });
  }

  // Checks a form by the server's own rules while it is typed.
  for (const form of document.querySelectorAll("form[data-check]")) {
    const touched = new Set();
    let timer = 0;
    let turn = 0;
    const check = async () => {
      const mine = ++turn;
      let answer;
      try {
        const response = await fetch(form.dataset.check, { method: "POST", body: new URLSearchParams(new FormData(form)) });
        if (!response.ok) return;
        answer = await response.json();
      } catch {
        return; // the form is checked when it is sent, too
      }
      if (mine !== turn) return; // a later one is on its way
      for (const p of form.querySelectorAll("[data-fault]")) {
        const name = p.dataset.fault;
        const text = touched.has(name) ? answer.faults[name] || "" : "";
        p.textContent = text;
        p.hidden = text === "";
        const input = form.elements.namedItem(name);
        if (input && input.setAttribute) {
          if (text) input.setAttribute("aria-invalid", "true");
          else input.removeAttribute("aria-invalid");
        }
      }
      document.querySelector("[data-preview]").textContent = answer.preview;
      const ask = document.querySelector("[data-token-ask]");
      ask.hidden = answer.tokenAsk === "";
      ask.querySelector("pre").textContent = answer.tokenAsk;
    };
    form.addEventListener("input", (e) => {
      if (e.target.value !== "") touched.add(e.target.name);
      clearTimeout(timer);
      timer = setTimeout(check, 250);
    });
    form.addEventListener("focusout", (e) => {
      if (e.target.name && e.target.value !== "") touched.add(e.target.name);
    });
  }
})();
