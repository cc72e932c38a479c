// Appends a bin's new requests to its page as they arrive. Everything that
// came from outside goes into text nodes only.
(function () {
  "use strict";
  const list = document.getElementById("list");
  const blank = document.getElementById("row");
  const live = document.getElementById("live");
  if (!list || !blank || !live || !window.EventSource) return;

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
    put("link", "Open this request alone").href = list.dataset.stream.replace(/stream$/, "requests/") + encodeURIComponent(r.id);
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

  say("Connecting", "");
  const source = new EventSource(list.dataset.stream + "?after=" + encodeURIComponent(list.dataset.after));
  source.addEventListener("open", () => say("Live", "on"));
  source.addEventListener("request", (e) => add(JSON.parse(e.data)));
  source.addEventListener("end", () => {
    source.close();
    say("Signed out: reload the page", "off");
  });
  source.addEventListener("error", () => {
    if (source.readyState === EventSource.CLOSED) say("Disconnected: reload the page", "off");
    else say("Reconnecting", "");
  });
})();
