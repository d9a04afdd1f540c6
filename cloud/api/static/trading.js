// The trading desk: countdowns in the server's time, the unit helper, copying the first row.
"use strict";
(() => {
  const started = performance.now();
  const elapsed = () => performance.now() - started;
  const two = (n) => String(n).padStart(2, "0");
  const tick = () => {
    for (const clock of document.querySelectorAll("[data-clock]")) {
      const at = new Date(Date.parse(clock.dataset.clock) + elapsed() + 8 * 3600000); // the market's zone
      clock.textContent = at.toISOString().slice(0, 19).replace("T", " ");
    }
    for (const each of document.querySelectorAll("[data-until]")) {
      const left = Date.parse(each.dataset.until) - Date.parse(each.dataset.now) - elapsed();
      const s = Math.max(0, Math.ceil(left / 1000));
      const days = Math.floor(s / 86400);
      const text = `${two(Math.floor(s / 3600) % 24)}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)}`;
      each.querySelector("[data-left]").textContent = days ? `${days}d ${text}` : text;
    }
  };
  tick();
  setInterval(tick, 250);

  for (const helper of document.querySelectorAll("[data-units]")) {
    const out = helper.querySelector("output");
    for (const input of helper.querySelectorAll("[data-from]")) {
      input.addEventListener("input", () => {
        const value = Number(input.value.trim());
        const mwh = Math.round(value * Number(input.dataset.from) * 1000) / 1000;
        out.textContent = input.value.trim() && Number.isFinite(mwh) ? out.dataset.template.replace("…", mwh.toFixed(3)) : "";
      });
    }
    helper.querySelector("[data-fill]").addEventListener("click", () => {
      const rows = [...document.querySelectorAll(".trade-form tbody tr")];
      const first = [...rows[0].querySelectorAll("input")].map((each) => each.value);
      for (const row of rows.slice(1)) {
        row.querySelectorAll("input").forEach((each, place) => { each.value = first[place]; });
      }
    });
  }
})();
