"use strict";
// The page is complete without this: it only puts in what is new while requests come.
(() => {
  const body = document.body, button = document.getElementById("pause"), status = document.getElementById("status");
  if (!body.dataset.live) return;
  let last = body.dataset.last, wanted = last, busy = false, paused = false, over = "";
  const newer = (a, b) => a.length > b.length || (a.length === b.length && a > b);

  // place is how an element is found again after its surroundings were replaced.
  const place = (e) => {
    if (!e || !e.closest("#content")) return null;
    if (e.id) return (root) => root.querySelector("#" + CSS.escape(e.id));
    const href = e.getAttribute("href");
    if (href) return (root) => [...root.querySelectorAll("a")].find((a) => a.getAttribute("href") === href);
    return null;
  };

  const replace = (doc) => {
    const old = document.getElementById("content"), fresh = doc.getElementById("content");
    if (!fresh) return;
    const again = place(document.activeElement);
    old.replaceWith(document.adoptNode(fresh));
    const target = again && again(document.getElementById("content"));
    if (target) target.focus({ preventScroll: true });
    last = doc.body.dataset.last || last;
  };

  const reading = () => document.querySelector("#content details[open]") || !getSelection().isCollapsed;

  const load = () => {
    if (busy) return;
    const wait = paused || reading();
    if (over && wait) return leave();
    if (wait || !(over || newer(wanted, last))) return;
    busy = true;
    const shown = wanted, final = over, r = new XMLHttpRequest();
    r.open("GET", location.href);
    r.setRequestHeader("Accept", "text/html");
    r.responseType = "document";
    r.onloadend = () => {
      busy = false;
      if (r.status === 200 && r.response) replace(r.response);
      if (newer(shown, last)) last = shown; // what is newer does not fit the filter
      body.dataset.updates = Number(body.dataset.updates || 0) + 1;
      if (final) leave();
      else load();
    };
    r.send();
  };

  // leave is the end: the server waits for it, and is gone then.
  const leave = () => {
    events.close();
    busy = true;
    button.hidden = true;
    status.textContent = over;
  };

  const events = new EventSource(body.dataset.live);
  events.addEventListener("open", () => { status.textContent = paused ? "Paused" : "Live"; });
  events.addEventListener("error", () => { status.textContent = events.readyState === EventSource.CLOSED ? "Not live" : "Connecting again"; });
  events.addEventListener("ended", (e) => { over = JSON.parse(e.data); load(); });
  events.addEventListener("records", (e) => { wanted = e.data; load(); });
  document.addEventListener("toggle", load, true);
  button.addEventListener("click", () => {
    paused = !paused;
    button.setAttribute("aria-pressed", paused);
    status.textContent = paused ? "Paused" : "Live";
    load();
  });
  document.querySelector("p.live").hidden = false;
})();
