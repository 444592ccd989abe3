
// The page: charts for all that some run has a curve of, and what is shared between them.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const find = (id) => document.getElementById(id);
  const state = { runs: data.runs, axis: "step", smoothing: 0, hidden: new Set(), late: false, view: null };
  let charts = [], waiting = false;

  // Once a frame, however fast a slider moves.
  function redraw() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      find("whole").disabled = state.view === null;
      for (const chart of charts) chart.draw();
    });
  }

  function look(view) {
    state.view = view;
    redraw();
  }

  data.runs.forEach((run, index) => {
    const button = html("button", { type: "button", "aria-pressed": "true", title: run.name }, find("legend"));
    const sample = svg("svg", { class: `c${index % 8}`, viewBox: "0 0 26 10", "aria-hidden": "true" }, button);
    svg("line", { x1: 0, x2: 26, y1: 5, y2: 5, stroke: "currentColor", "stroke-width": 3,
                  "stroke-dasharray": dashOf(index) }, sample);
    html("span", {}, button, run.name);
    button.addEventListener("click", () => {
      if (!state.hidden.delete(index)) state.hidden.add(index);
      button.setAttribute("aria-pressed", String(!state.hidden.has(index)));
      redraw();
    });
  });
  find("axis").addEventListener("change", (event) => {
    state.axis = event.target.value;
    look(null);
  });
  find("smoothing").addEventListener("input", (event) => {
    state.smoothing = Number(event.target.value);
    redraw();
  });
  find("late").addEventListener("change", (event) => {
    state.late = event.target.checked;
    redraw();
  });
  find("whole").addEventListener("click", () => look(null));

  find("charts").hidden = false;
  charts = data.charts
    .filter((about) => data.runs.some((run) => onAxis(run, about.key, "step")))
    .map((about) => new Chart(find("grid"), about, state, look));
  for (const chart of charts) chart.draw();
  let width = 0;
  new ResizeObserver(() => {
    if (find("grid").clientWidth !== width) redraw();
    width = find("grid").clientWidth;
  }).observe(find("grid"));
})();
