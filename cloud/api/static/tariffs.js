/* The calendar painter, the jump to a wrong line, the what-if slider's number. Every form works without it. */
"use strict";

(() => {
  const PERIODS = ["tip", "peak", "flat", "valley", "deep"];
  const SLOTS = 96;
  let brush = "peak";
  let isPainting = false;

  const clock = (slot) => `${String(Math.floor(slot / 4)).padStart(2, "0")}:${String((slot % 4) * 15).padStart(2, "0")}`;

  function slotOf(text) {
    const [hours, minutes] = text.trim().split(":").map(Number);
    return hours * 4 + minutes / 15;
  }

  function periodsOf(fields) {
    const slots = new Array(SLOTS).fill("");
    for (const field of fields) {
      for (const range of field.value.split(/[,，]/).filter((each) => each.includes("-"))) {
        const [start, end] = range.split("-").map(slotOf);
        for (let slot = start; slot < end && slot < SLOTS; slot++) slots[slot] = field.dataset.period;
      }
    }
    return slots;
  }

  function rangesOf(slots, period) {
    const ranges = [];
    for (let slot = 0; slot < SLOTS; ) {
      if (slots[slot] !== period) { slot++; continue; }
      let end = slot;
      while (end < SLOTS && slots[end] === period) end++;
      ranges.push(`${clock(slot)}-${clock(end)}`);
      slot = end;
    }
    return ranges.join(", ");
  }

  function paintable(season) {
    const grid = season.querySelector(".paint-grid");
    const fields = [...season.querySelectorAll("input[data-period]")];
    const slots = periodsOf(fields);
    const cells = slots.map((period, slot) => {
      const cell = document.createElement("span");
      cell.className = period;
      cell.title = `${clock(slot)}-${clock(slot + 1)}`;
      cell.dataset.slot = slot;
      grid.append(cell);
      return cell;
    });
    const show = () => { slots.forEach((period, slot) => { cells[slot].className = period; }); };
    const paint = (cell) => {
      if (!cell || cell.dataset.slot === undefined || cell.parentElement !== grid) return;
      slots[Number(cell.dataset.slot)] = brush;
      cell.className = brush;
    };
    const write = () => { for (const field of fields) field.value = rangesOf(slots, field.dataset.period); };
    grid.addEventListener("pointerdown", (event) => {
      isPainting = true;
      paint(event.target);
      event.preventDefault();
    });
    grid.addEventListener("pointermove", (event) => {
      if (isPainting) paint(document.elementFromPoint(event.clientX, event.clientY));
    });
    window.addEventListener("pointerup", () => { if (isPainting) { isPainting = false; write(); } });
    for (const field of fields) field.addEventListener("change", () => {
      periodsOf(fields).forEach((period, slot) => { slots[slot] = period; });
      show();
    });
    grid.hidden = false;
    season.querySelector(".paint-hours").hidden = false;
  }

  const painter = document.querySelector(".painter");
  if (painter && painter.querySelector("button.first")) {
    const brushes = painter.querySelector(".brushes");
    brushes.hidden = false;
    const choose = (period) => {
      brush = period;
      for (const each of brushes.children) each.setAttribute("aria-pressed", String(each.dataset.period === period));
    };
    for (const each of brushes.children) each.addEventListener("click", () => choose(each.dataset.period));
    choose(brush);
    painter.querySelectorAll(".season").forEach(paintable);
  }

  const text = document.querySelector("textarea.toml[data-line]");
  if (text && Number(text.dataset.line) > 0) {
    const lines = text.value.split("\n");
    const start = lines.slice(0, Number(text.dataset.line) - 1).join("\n").length + 1;
    text.setSelectionRange(start, start + (lines[Number(text.dataset.line) - 1] || "").length);
    text.scrollTop = (Number(text.dataset.line) - 6) * parseFloat(getComputedStyle(text).lineHeight);
  }

  document.addEventListener("input", (event) => {
    if (event.target.id === "shift") document.getElementById("shift-now").textContent = event.target.value;
  });
})();
