
// One chart: a card with a drawing, its scale and what the pointer asks for.

const SVG = "http://www.w3.org/2000/svg";
const DASHES = ["", "7 3", "2 2.5", "9 3 2 3"];  // tell runs apart after the eight colours

function svg(name, attributes, parent) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (parent) parent.appendChild(element);
  return element;
}

function html(name, attributes, parent, text) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  if (parent) parent.appendChild(element);
  return element;
}

const dashOf = (index) => DASHES[Math.floor(index / 8) % DASHES.length];

class Chart {
  // `state` is shared by all charts: runs, axis, smoothing, hidden, late, view; `change(view)` sets the part in view.
  constructor(parent, about, state, change) {
    Object.assign(this, { about, state, change, log: false, curves: [] });
    this.card = html("article", { class: "card" }, parent);
    const header = html("header", {}, this.card);
    html("h3", {}, header, about.title);
    html("span", { class: "soft" }, header, about.unit);
    this.toggle = html("button", { type: "button", "aria-pressed": "false" }, header, "log");
    this.toggle.addEventListener("click", () => {
      this.log = !this.log;
      this.toggle.setAttribute("aria-pressed", String(this.log));
      this.toggle.textContent = this.log ? "linear" : "log";
      this.draw();
    });
    this.drawing = svg("svg", { role: "img", "aria-label": `${about.title} of the runs` }, this.card);
    this.tip = html("div", { class: "tip", hidden: "" }, this.card);
    this.listen();
  }

  draw() {
    const width = Math.max(this.card.clientWidth - 24, 220), height = Math.round(Math.min(300, 120 + width * 0.32));
    this.box = { left: 56, right: width - 8, top: 10, bottom: height - 26 };
    this.drawing.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.drawing.replaceChildren();
    this.tip.hidden = true;
    this.gather();
    if (!this.curves.length) {
      const at = { x: width / 2, y: height / 2, "text-anchor": "middle" };
      svg("text", at, this.drawing).textContent = "nothing to show";
      return;
    }
    this.scale();
    this.drawAxes();
    const clip = `clip-${this.about.key}`;
    svg("rect", { x: this.box.left, y: this.box.top - 2, width: this.box.right - this.box.left,
                  height: this.box.bottom - this.box.top + 4 }, svg("clipPath", { id: clip }, this.drawing));
    const inside = svg("g", { "clip-path": `url(#${clip})` }, this.drawing);
    for (const curve of this.curves) this.drawCurve(curve, inside);
    this.overlay = svg("g", {}, this.drawing);
  }

  gather() {
    const { runs, axis, hidden, smoothing, view } = this.state;
    this.curves = [];
    runs.forEach((run, index) => {
      const curve = hidden.has(index) ? null : onAxis(run, this.about.key, axis);
      if (curve) this.curves.push({ ...curve, index, name: run.name });
    });
    const ends = this.curves.map((c) => c.x[c.x.length - 1]);
    const starts = this.curves.map((c) => c.x[0]);
    this.reach = Math.max(...ends, 0);
    const first = Math.min(...starts, this.reach), begin = first < 0.05 * this.reach ? 0 : first;
    const low = view ? view[0] : begin, high = view ? view[1] : this.reach;
    this.x = high > low ? [low, high] : [low - 0.5, low + 0.5];
    const distance = this.about.smooth ? (smoothing / 100) ** 2 * 0.15 * this.reach : 0;
    for (const curve of this.curves) {
      curve.shown = smoothed(curve, distance);
      curve.raw = distance > 0 ? curve.y : null;
    }
  }

  // The range of y of what is in view.
  scale() {
    const from = this.state.late && !this.state.view ? this.x[0] + 0.1 * (this.x[1] - this.x[0]) : this.x[0];
    let low = Infinity, high = -Infinity;
    for (const curve of this.curves) {
      for (let i = 0; i < curve.x.length; ++i) {
        if (curve.x[i] < from || curve.x[i] > this.x[1]) continue;
        const banded = curve.low && !curve.raw;
        for (const y of banded ? [curve.low[i], curve.high[i]] : [curve.shown[i], curve.raw ? curve.raw[i] : null]) {
          if (y === null || (this.log && y <= 0)) continue;
          low = Math.min(low, y);
          high = Math.max(high, y);
        }
      }
    }
    if (low > high) [low, high] = this.log ? [1, 10] : [0, 1];
    if (high - low < 1e-5 * Math.abs(high)) low = high;  // six digits are there, and rounding
    if (this.log) {
      const margin = Math.max((high / low) ** 0.04, 1.01);
      this.y = [low / margin, high * margin];
    } else {
      const margin = 0.05 * (high - low) || Math.abs(high) * 0.05 || 1;
      this.y = [low >= 0 ? Math.max(low - margin, 0) : low - margin, high + margin];
    }
  }

  atX(x) { return this.box.left + (x - this.x[0]) / (this.x[1] - this.x[0]) * (this.box.right - this.box.left); }
  fromX(at) { return this.x[0] + (at - this.box.left) / (this.box.right - this.box.left) * (this.x[1] - this.x[0]); }
  atY(y) {
    const [low, high] = this.log ? this.y.map(Math.log) : this.y;
    const share = ((this.log ? Math.log(y) : y) - low) / (high - low);
    return this.box.bottom - share * (this.box.bottom - this.box.top);
  }

  drawAxes() {
    const { left, right, top, bottom } = this.box, wide = Math.max(2, Math.floor((right - left) / 75));
    const yTicks = this.log ? logTicks(...this.y) : linearTicks(...this.y, 5);
    for (const y of yTicks) {
      const at = this.atY(y), place = { x: left - 6, y: at + 4, "text-anchor": "end" };
      svg("line", { class: "rule", x1: left, x2: right, y1: at, y2: at }, this.drawing);
      svg("text", place, this.drawing).textContent = shortNumber(y);
    }
    const time = this.state.axis === "time";
    for (const x of (time ? timeTicks : linearTicks)(...this.x, wide)) {
      const at = this.atX(x), anchor = at > right - 18 ? "end" : "middle";
      svg("line", { class: "rule", x1: at, x2: at, y1: bottom, y2: bottom + 4 }, this.drawing);
      svg("text", { x: anchor === "end" ? right + 6 : at, y: bottom + 17, "text-anchor": anchor }, this.drawing)
        .textContent = time ? shortTime(x) : shortNumber(x);
    }
    svg("line", { class: "rule", x1: left, x2: right, y1: bottom, y2: bottom }, this.drawing);
  }

  // "M x y L ..." of values, with a gap where there is none.
  path(xs, ys) {
    let out = "", pen = "M";
    for (let i = 0; i < xs.length; ++i) {
      if (ys[i] === null || (this.log && ys[i] <= 0)) { pen = "M"; continue; }
      out += `${pen}${this.atX(xs[i]).toFixed(1)} ${this.atY(ys[i]).toFixed(1)}`;
      pen = "L";
    }
    return out;
  }

  drawCurve(curve, parent) {
    const group = svg("g", { class: `c${curve.index % 8}` }, parent);
    if (curve.low && !curve.raw) {
      const drawn = (i) => curve.low[i] !== null && (!this.log || curve.low[i] > 0);
      const known = curve.x.map((_, i) => i).filter(drawn);
      const pick = (values) => known.map((i) => values[i]);
      const back = this.path(pick(curve.x).reverse(), pick(curve.low).reverse()).replace("M", "L");
      svg("path", { class: "spread", d: `${this.path(pick(curve.x), pick(curve.high))}${back}Z` }, group);
    }
    if (curve.raw) svg("path", { class: "line pale", d: this.path(curve.x, curve.raw) }, group);
    svg("path", { class: "line", d: this.path(curve.x, curve.shown), "stroke-dasharray": dashOf(curve.index) }, group);
    if (curve.x.length > 40) return;
    curve.x.forEach((x, i) => {
      const y = curve.shown[i];
      if (y !== null && !(this.log && y <= 0)) {
        svg("circle", { class: "dot", cx: this.atX(x), cy: this.atY(y), r: 2.2 }, group);
      }
    });
  }

  listen() {
    const at = (event) => {
      const frame = this.drawing.getBoundingClientRect();
      const scale = this.drawing.viewBox.baseVal.width / frame.width;
      return Math.min(Math.max((event.clientX - frame.left) * scale, this.box.left), this.box.right);
    };
    this.drawing.addEventListener("pointermove", (event) => this.curves.length && this.point(at(event)));
    this.drawing.addEventListener("pointerleave", () => { if (this.begin === undefined) this.leave(); });
    this.drawing.addEventListener("pointerdown", (event) => {
      if (!this.curves.length || event.button !== 0) return;
      this.begin = at(event);
      if (event.pointerType === "mouse") this.drawing.setPointerCapture(event.pointerId);
    });
    this.drawing.addEventListener("pointerup", (event) => {
      const begin = this.begin, end = at(event);
      this.begin = undefined;
      if (begin !== undefined && Math.abs(end - begin) > 8) {
        this.change([this.fromX(Math.min(begin, end)), this.fromX(Math.max(begin, end))]);
      }
    });
    this.drawing.addEventListener("pointercancel", () => { this.begin = undefined; this.leave(); });
  }

  leave() {
    this.tip.hidden = true;
    if (this.overlay) this.overlay.replaceChildren();
  }

  // The runs' values nearest to where the pointer is.
  point(at) {
    const x = this.fromX(at), { left, right, top, bottom } = this.box;
    this.overlay.replaceChildren();
    if (this.begin !== undefined) {
      svg("rect", { class: "chosen", x: Math.min(at, this.begin), width: Math.abs(at - this.begin), y: top,
                    height: bottom - top }, this.overlay);
    }
    svg("line", { class: "cross", x1: at, x2: at, y1: top, y2: bottom }, this.overlay);
    this.tip.replaceChildren();
    const { axis } = this.state;
    html("p", { class: "soft" }, this.tip, axis === "time" ? shortTime(x) : `${axis} ${shortNumber(Math.round(x), 7)}`);
    const found = [];
    for (const curve of this.curves) {
      const i = nearest(curve.x, curve.shown, x);
      if (i >= 0) found.push({ curve, y: curve.shown[i], x: curve.x[i] });
    }
    found.sort((a, b) => b.y - a.y);  // as they lie in the chart
    for (const { curve, y, x: own } of found.slice(0, 12)) {
      const line = html("p", {}, this.tip);
      const name = html("span", {}, line);
      html("span", { class: `mark c${curve.index % 8}` }, name);
      name.append(curve.name);
      html("span", {}, line, shortNumber(y));
      if (own >= this.x[0] && own <= this.x[1] && !(this.log && y <= 0)) {
        svg("circle", { class: `dot c${curve.index % 8}`, cx: this.atX(own), cy: this.atY(y), r: 3.5 }, this.overlay);
      }
    }
    if (found.length > 12) html("p", { class: "soft" }, this.tip, `and ${found.length - 12} more`);
    this.place(at, left, right);
  }

  // Beside the pointer, on the side that has room.
  place(at, left, right) {
    this.tip.hidden = false;
    const frame = this.drawing.getBoundingClientRect(), card = this.card.getBoundingClientRect();
    const scale = frame.width / this.drawing.viewBox.baseVal.width;
    const x = frame.left - card.left + at * scale, width = this.tip.offsetWidth;
    const over = at > (left + right) / 2 ? x - width - 12 : x + 12;
    this.tip.style.left = `${Math.min(Math.max(over, 4), Math.max(card.width - width - 4, 4))}px`;
    this.tip.style.top = `${frame.top - card.top + 14}px`;
  }
}

// Index of the known value whose x is nearest; -1 without any.
function nearest(xs, ys, x) {
  let best = -1;
  for (let i = 0; i < xs.length; ++i) {
    if (ys[i] !== null && (best < 0 || Math.abs(xs[i] - x) < Math.abs(xs[best] - x))) best = i;
  }
  return best;
}
