// Zooms the schedule: the bars stand in a nested picture in cycles, so only its view changes; the time axis and
// the names over the bars are laid out again. Without this script the page shows the whole schedule.
(() => {
  "use strict";
  const root = document.getElementById("gantt");
  if (!root) return;
  const plot = root.querySelector(".plot");
  const axis = root.querySelector(".time");
  const names = [...root.querySelectorAll(".name")];
  const [, , total, lanes] = plot.getAttribute("viewBox").split(" ").map(Number);
  const left = Number(plot.getAttribute("x"));
  const width = Number(plot.getAttribute("width"));
  const smallest = Math.max(20, total / 20000);
  const tools = document.getElementById("gantt-tools");
  const svg = "http://www.w3.org/2000/svg";
  let start = 0;
  let span = total;

  const place = (cycle) => left + ((cycle - start) / span) * width;

  function line(x, y1, y2) {
    const mark = document.createElementNS(svg, "line");
    for (const [key, value] of Object.entries({ x1: x, x2: x, y1, y2, class: "grid" })) mark.setAttribute(key, value);
    return mark;
  }

  function words(x, y, text, anchor) {
    const label = document.createElementNS(svg, "text");
    for (const [key, value] of Object.entries({ x, y, class: "tick", "text-anchor": anchor })) label.setAttribute(key, value);
    label.textContent = text;
    return label;
  }

  const title = axis.querySelector(".axis");
  const top = Number(axis.querySelector("line").getAttribute("y1"));
  const bottom = Number(axis.querySelector("line").getAttribute("y2"));

  function drawAxis() {
    const raw = span / 8;
    const base = 10 ** Math.floor(Math.log10(raw));
    const step = base * [1, 2, 5, 10].find((m) => raw <= m * base);
    axis.replaceChildren(title);
    for (let tick = Math.ceil(start / step) * step; tick <= start + span; tick += step) {
      axis.append(line(place(tick), top, bottom), words(place(tick), bottom + 15, tick.toLocaleString("en"), "middle"));
    }
  }

  function drawNames() {
    for (const name of names) {
      const from = Math.max(left, place(Number(name.dataset.s)));
      const to = Math.min(left + width, place(Number(name.dataset.e)));
      name.setAttribute("x", (from + to) / 2);
      name.classList.toggle("hide", to - from < 6.6 * name.textContent.length + 4);
    }
  }

  function show(newStart, newSpan) {
    span = Math.min(total, Math.max(smallest, newSpan));
    start = Math.min(total - span, Math.max(0, newStart));
    plot.setAttribute("viewBox", `${start} 0 ${span} ${lanes}`);
    drawAxis();
    drawNames();
  }

  function zoom(factor, at) {
    const next = Math.min(total, Math.max(smallest, span * factor));
    show(at - ((at - start) / span) * next, next);
  }

  function cycleAt(event) {
    const box = plot.getBoundingClientRect();
    const scale = root.getBoundingClientRect().width / root.viewBox.baseVal.width;
    const edge = root.getBoundingClientRect().left + left * scale;
    return start + ((event.clientX - edge) / (box.width ? width * scale : 1)) * span;
  }

  root.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    zoom(event.deltaY > 0 ? 1.25 : 0.8, cycleAt(event));
  }, { passive: false });

  let grip = null;
  plot.addEventListener("pointerdown", (event) => {
    grip = { at: event.clientX, start };
    plot.setPointerCapture(event.pointerId);
  });
  plot.addEventListener("pointermove", (event) => {
    if (!grip) return;
    const scale = root.getBoundingClientRect().width / root.viewBox.baseVal.width;
    show(grip.start - ((event.clientX - grip.at) / (width * scale)) * span, span);
  });
  for (const end of ["pointerup", "pointercancel"]) plot.addEventListener(end, () => { grip = null; });

  plot.setAttribute("tabindex", "0");
  plot.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: -0.2, ArrowRight: 0.2 };
    if (event.key in moves) show(start + moves[event.key] * span, span);
    else if (event.key === "+" || event.key === "=") zoom(0.5, start + span / 2);
    else if (event.key === "-") zoom(2, start + span / 2);
    else if (event.key === "0") show(0, total);
    else return;
    event.preventDefault();
  });

  tools.hidden = false;
  tools.addEventListener("click", (event) => {
    const factor = event.target.dataset.zoom;
    if (factor === undefined) return;
    if (Number(factor)) zoom(Number(factor), start + span / 2);
    else show(0, total);
  });
})();
