"use strict";

// Sorting: a heading's button sorts by its column; once more, the other way round.
function compare(a, b, isText, direction) {
  if (a === undefined || b === undefined) return (a === undefined) - (b === undefined);
  return direction * (isText ? a.localeCompare(b) : a - b);
}

function sortBy(heading) {
  const body = heading.closest("table").tBodies[0];
  const isText = heading.classList.contains("text");
  const before = heading.getAttribute("aria-sort");
  const isRising = before === "none" ? isText : before === "descending";
  const values = new Map([...body.rows].map((row) => [row, row.cells[heading.cellIndex].dataset.value]));
  const rows = [...body.rows].sort((a, b) => compare(values.get(a), values.get(b), isText, isRising ? 1 : -1));
  body.append(...rows);
  for (const other of heading.parentNode.cells) other.setAttribute("aria-sort", "none");
  heading.setAttribute("aria-sort", isRising ? "ascending" : "descending");
}

for (const button of document.querySelectorAll("th[aria-sort] button")) {
  button.addEventListener("click", () => sortBy(button.closest("th")));
}

// The tip beside the pointer, or beside what has the focus.
const tip = document.getElementById("tip");

function showTip(text, x, y) {
  tip.textContent = text;
  tip.hidden = false;
  const { width, height } = tip.getBoundingClientRect();
  const left = x + 14 + width > innerWidth ? x - width - 14 : x + 14;
  tip.style.left = `${Math.max(4, left)}px`;
  tip.style.top = `${Math.max(4, Math.min(y - height - 10, innerHeight - height - 4))}px`;
}

function hideTip() {
  tip.hidden = true;
}

document.addEventListener("pointermove", (event) => {
  const target = event.target.closest("[data-tip]");
  if (target) showTip(target.dataset.tip, event.clientX, event.clientY);
  else if (!event.target.closest("[data-lines]")) hideTip();
});
document.addEventListener("focusin", (event) => {
  const target = event.target.closest("[data-tip]");
  if (!target || !target.matches(":focus-visible")) return;
  const box = target.getBoundingClientRect();
  showTip(target.dataset.tip, box.left, box.top);
});
document.addEventListener("focusout", hideTip);
document.addEventListener("scroll", hideTip, { passive: true });

// Line charts: the values of all lines at the pointer; arrow keys move along.
function nearest(points, x) {
  let best = points[0];
  for (const point of points) if (Math.abs(point[0] - x) < Math.abs(best[0] - x)) best = point;
  return best;
}

function follow(chart) {
  const { x, left, right, series } = JSON.parse(chart.dataset.lines);
  const cursor = chart.querySelector(".cursor");
  let share = 0.5;

  function show(pointerY) {
    const value = nearest(series[0].points, x.low + share * (x.high - x.low))[0];
    const place = left + ((value - x.low) / (x.high - x.low)) * (right - left);
    cursor.setAttribute("x1", place);
    cursor.setAttribute("x2", place);
    cursor.setAttribute("visibility", "visible");
    const lines = series.map((one) => {
      const [at, y] = nearest(one.points, value);
      return `${one.name}: ${Math.abs(at - value) > (x.high - x.low) / 50 ? "–" : Number(y.toPrecision(3))}`;
    });
    const matrix = chart.getScreenCTM();
    const box = chart.getBoundingClientRect();
    showTip([`${x.title} ${Number(value.toPrecision(3))}`, ...lines].join("\n"), matrix.e + place * matrix.a, pointerY ?? box.top + box.height / 3);
  }

  function hide() {
    cursor.setAttribute("visibility", "hidden");
    hideTip();
  }

  chart.addEventListener("pointermove", (event) => {
    const matrix = chart.getScreenCTM();
    share = Math.min(1, Math.max(0, ((event.clientX - matrix.e) / matrix.a - left) / (right - left)));
    show(event.clientY);
  });
  chart.addEventListener("pointerleave", hide);
  chart.addEventListener("focus", () => chart.matches(":focus-visible") && show());
  chart.addEventListener("blur", hide);
  chart.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -0.02, ArrowRight: 0.02 }[event.key];
    if (step === undefined) return;
    share = Math.min(1, Math.max(0, share + step));
    show();
    event.preventDefault();
  });
}

for (const chart of document.querySelectorAll("[data-lines]")) follow(chart);

// Images enlarge in a dialog, which the browser itself closes by Escape.
const viewer = document.getElementById("viewer");
for (const button of document.querySelectorAll(".enlarge")) {
  button.addEventListener("click", () => {
    const image = button.querySelector("img");
    viewer.querySelector("img").src = image.src;
    viewer.querySelector("img").alt = image.alt;
    viewer.querySelector("p").textContent = image.alt;
    viewer.showModal();
  });
}
viewer.addEventListener("click", (event) => event.target === viewer && viewer.close());
