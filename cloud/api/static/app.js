/* What pages do by themselves: ages that grow, the power curve, one quarter-hour at a time. No page needs it to be read. */
"use strict";

(() => {
  const byId = (id) => document.getElementById(id);

  // -- ages: chips count on from the server's clock, not this computer's --------------------------------------------

  const LIVE_MS = 30_000;
  let clockOffset = null; // server minus browser, ms

  function noteClock(root) {
    const chip = root.querySelector("[data-as-of-ms]");
    if (chip) clockOffset = Number(chip.dataset.asOfMs) - Date.now();
  }

  function ageText(units, seconds) {
    const [s, m, h, d] = units.split("|");
    if (seconds < 120) return s.replace("{n}", seconds);
    if (seconds < 7200) return m.replace("{n}", Math.floor(seconds / 60));
    if (seconds < 172800) return h.replace("{n}", Math.floor(seconds / 3600));
    return d.replace("{n}", Math.floor(seconds / 86400));
  }

  function ageChips() {
    const now = Date.now() + (clockOffset ?? 0);
    for (const chip of document.querySelectorAll(".chip[data-taken-ms]")) {
      const ms = Math.max(0, now - Number(chip.dataset.takenMs));
      const isLive = ms <= LIVE_MS;
      chip.classList.toggle("live", isLive);
      chip.classList.toggle("stale", !isLive);
      const seconds = Math.floor(ms / 1000);
      chip.textContent = isLive
        ? chip.dataset.live.replace("{n}", seconds)
        : chip.dataset.stale.replace("{age}", ageText(chip.dataset.units, seconds));
    }
  }

  // -- power curve --------------------------------------------------------------------------------------------------

  const KEEP_S = 900;
  const points = [[], []];
  let plot = null;
  let waiting = false;

  function drawCurve() {
    const place = byId("curve");
    if (!place || typeof uPlot === "undefined") return;
    if (byId("power-now").dataset.takenMs === "") { waiting = true; return; } // nothing to draw on yet
    waiting = false;
    const ink = "#a9c6c0";
    const axis = { stroke: ink, grid: { stroke: "rgba(255,255,255,.09)", width: 1 }, ticks: { show: false }, font: "11px system-ui" };
    const size = () => ({ width: Math.max(200, place.clientWidth), height: 128 });
    plot = new uPlot({
      ...size(),
      legend: { show: false },
      cursor: { show: false },
      padding: [8, 4, 0, 0],
      scales: {
        x: { range: () => { const [at] = points; const last = at[at.length - 1] ?? 60; return [Math.min(at[0] ?? 0, last - 60), last]; } },
        y: {
          range: (_, low, high) => {
            if (low == null) return [0, 1];
            const pad = Math.max((high - low) * 0.25, high * 0.04, 0.005);
            return [Math.max(0, low - pad), high + pad];
          },
        },
      },
      axes: [
        { ...axis, space: 76, size: 28, values: (_, ticks) => ticks.map((t) => new Date(t * 1000).toLocaleTimeString("zh-CN", { hour12: false, timeZone: "Asia/Shanghai" })) },
        { ...axis, size: 46, space: 34 },
      ],
      series: [{}, { stroke: "#7fe3c4", width: 2, fill: "rgba(127,227,196,.13)", points: { show: () => points[0].length < 2, size: 7, fill: "#7fe3c4" } }],
    }, points, place);
    new ResizeObserver(() => plot.setSize(size())).observe(place);
  }

  function addPoint() {
    const panel = byId("power-now");
    if (!panel || panel.dataset.powerW === "" || panel.dataset.takenMs === "") return;
    const at = Number(panel.dataset.takenMs) / 1000;
    if (points[0].length && at <= points[0][points[0].length - 1]) return;
    points[0].push(at);
    points[1].push(Math.abs(Number(panel.dataset.powerW)) / 1000);
    while (points[0][0] < at - KEEP_S) { points[0].shift(); points[1].shift(); }
    if (waiting) drawCurve();
    else if (plot) plot.setData(points);
  }

  // Screen readers hear the power at most once a minute.
  let spokenAt = 0;
  function speak() {
    const place = byId("spoken");
    const value = byId("power-value");
    if (!place || !value || Date.now() - spokenAt < 60_000) return;
    spokenAt = Date.now();
    place.textContent = place.dataset.text.replace("{kw}", value.textContent);
  }

  // -- one bar at a time --------------------------------------------------------------------------------------------

  function readChart(chart) {
    const slots = [...chart.querySelectorAll(".slot")];
    const readout = byId("day-readout");
    let chosen = -1;
    const choose = (index) => {
      if (index < 0 || index >= slots.length) return;
      if (chosen >= 0) slots[chosen].classList.remove("is-on");
      chosen = index;
      slots[index].classList.add("is-on");
      readout.textContent = slots[index].dataset.text;
    };
    const under = (event) => {
      const box = chart.getBoundingClientRect();
      return Math.floor(((event.clientX - box.left) / box.width) * slots.length);
    };
    chart.addEventListener("pointermove", (event) => choose(under(event)));
    chart.addEventListener("pointerdown", (event) => choose(under(event)));
    const open = () => { const to = slots[chosen]?.dataset.href; if (to) window.location.assign(to); };
    chart.addEventListener("click", open);
    chart.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1, PageUp: 4, PageDown: -4 }[event.key];
      if (step) choose(chosen < 0 ? 0 : Math.min(slots.length - 1, Math.max(0, chosen + step)));
      else if (event.key === "Home") choose(0);
      else if (event.key === "End") choose(slots.length - 1);
      else if (event.key === "Enter") open();
      else return;
      event.preventDefault();
    });
  }

  // -- menus close when one looks elsewhere; what is printed is what is open ------------------------------------------

  document.addEventListener("click", (event) => {
    for (const menu of document.querySelectorAll("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    for (const menu of document.querySelectorAll("details.menu[open]")) { menu.open = false; menu.querySelector("summary").focus(); }
  });
  byId("print")?.addEventListener("click", () => window.print());

  // -- start --------------------------------------------------------------------------------------------------------

  noteClock(document);
  addPoint();
  drawCurve();
  setInterval(ageChips, 1000);
  for (const chart of document.querySelectorAll("svg.chart")) readChart(chart);
  document.body.addEventListener("htmx:afterSwap", (event) => { noteClock(event.target); addPoint(); ageChips(); speak(); });
})();
