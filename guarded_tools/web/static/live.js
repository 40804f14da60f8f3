// What is live on the page. The server says which topics changed; the part that shows them is fetched again by htmx.
"use strict";
(() => {
  let source = null;
  let fetched = Date.now();

  const live = () => document.getElementById("live");
  const refresh = () => {
    const part = live();
    if (part && window.htmx) {
      fetched = Date.now();
      window.htmx.trigger(part, "refresh");
    }
  };
  const lost = (is) => {
    document.getElementById("lost").hidden = !is;
  };

  // Only a tab that somebody looks at listens: a browser opens few connections to one host.
  const listen = () => {
    if (source || document.hidden || !live()) return;
    // It says what the page was written from: the server knows whether that is the latest.
    source = new EventSource(`/live?since=${live().dataset.version}`);
    source.addEventListener("here", () => lost(false));
    source.addEventListener("changed", (event) => {
      const part = live();
      const topics = part ? part.dataset.topics.split(" ") : [];
      if (event.data.split(" ").some((topic) => topics.includes(topic))) refresh();
    });
    source.addEventListener("error", () => {
      lost(true);
      if (source && source.readyState === EventSource.CLOSED) {
        source = null;
        setTimeout(listen, 5000);
      }
    });
  };
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      if (source) source.close();
      source = null;
    } else {
      listen();
    }
  });

  // What somebody unfolded stays so when its part is fetched again.
  let unfolded = [];
  document.addEventListener("htmx:beforeSwap", () => {
    unfolded = [...document.querySelectorAll("#live details[open][id]")].map((one) => one.id);
  });
  document.addEventListener("htmx:afterSwap", () => {
    for (const id of unfolded) document.getElementById(id)?.setAttribute("open", "");
  });

  // A button that has just moved is not pressed by whoever aimed at the one before it.
  let shown = "";
  const ids = () => [...document.querySelectorAll(".card")].map((card) => card.id).join(" ");
  document.addEventListener("htmx:afterSettle", () => {
    const now = ids();
    if (now !== shown && shown !== "") {
      document.body.classList.add("moved");
      setTimeout(() => document.body.classList.remove("moved"), 700);
    }
    shown = now;
  });

  const counting = new WeakMap();
  const tick = () => {
    for (const place of document.querySelectorAll(".left[data-left]")) {
      if (!counting.has(place)) counting.set(place, Date.now() + 1000 * Number(place.dataset.left));
      const left = Math.max(0, Math.round((counting.get(place) - Date.now()) / 1000));
      const two = (number) => String(number).padStart(2, "0");
      place.textContent = left >= 3600
        ? `${Math.floor(left / 3600)}:${two(Math.floor(left / 60) % 60)}:${two(left % 60)}`
        : `${Math.floor(left / 60)}:${two(left % 60)}`;
    }
    const part = live();
    const every = part ? Number(part.dataset.every || 0) : 0;
    if (every && !document.hidden && Date.now() - fetched >= 1000 * every) refresh();
  };

  shown = ids();
  listen();
  tick();
  setInterval(tick, 1000);
})();
