
"use strict";
// Numbers: where a step lies on an axis, smoothed curves, ticks, and numbers as people read them.

// y at `x` of the broken line through (xs[i], ys[i]); xs rise.
function between(xs, ys, x) {
  let low = 0, high = xs.length - 1;
  if (x <= xs[low]) return ys[low];
  if (x >= xs[high]) return ys[high];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (xs[middle] <= x) low = middle; else high = middle;
  }
  const share = (x - xs[low]) / (xs[high] - xs[low]);
  return ys[low] + share * (ys[high] - ys[low]);
}

// The curve of a run on an axis: {x, y, low, high}, the last two where the curve was condensed.
function onAxis(run, key, axis) {
  const curve = run.curves[key];
  if (!curve || !curve.y.some((y) => y !== null)) return null;
  const x = axis === "step" ? curve.x : curve.x.map((step) => between(run.axes.step, run.axes[axis], step));
  return { x, y: curve.y, low: curve.low, high: curve.high };
}

// Exponentially weighted mean of what came before, by distance in x, so that it does not depend on how often a run
// logged. `reach` is the distance at which a weight has fallen to 1/e.
function smoothed(curve, reach) {
  if (reach <= 0) return curve.y;
  let sum = 0, weights = 0, before = null;
  return curve.y.map((y, i) => {
    if (y === null) return null;
    const fade = before === null ? 0 : Math.exp(-(curve.x[i] - before) / reach);
    before = curve.x[i];
    sum = sum * fade + y;
    weights = weights * fade + 1;
    return sum / weights;
  });
}

// About `count` round numbers from low to high.
function linearTicks(low, high, count) {
  const rough = (high - low) / Math.max(count, 1);
  if (!(rough > 0)) return [low];
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((m) => m * power >= rough) * power;
  const ticks = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; ++i) ticks.push(i * step);
  return ticks;
}

// Powers of ten, or where these are few also 2 and 5 times them.
function logTicks(low, high) {
  const from = Math.floor(Math.log10(low)), to = Math.ceil(Math.log10(high));
  const every = Math.max(1, Math.ceil((to - from) / 6));
  const ticks = [];
  for (let power = from; power <= to; power += every) {
    for (const m of to - from <= 2 ? [1, 2, 5] : [1]) ticks.push(m * 10 ** power);
  }
  const inside = ticks.filter((t) => t >= low * 0.9999 && t <= high * 1.0001);
  return inside.length > 1 ? inside : linearTicks(low, high, 4).filter((t) => t > 0);
}

// Seconds between ticks are round in minutes and hours.
function timeTicks(low, high, count) {
  const steps = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400];
  const rough = (high - low) / Math.max(count, 1);
  const step = steps.find((s) => s >= rough) || 86400 * Math.ceil(rough / 86400);
  if (rough < 1) return linearTicks(low, high, count);
  const ticks = [];
  for (let t = Math.ceil(low / step) * step; t <= high; t += step) ticks.push(t);
  return ticks;
}

function shortNumber(value, digits = 5) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  for (const [unit, name] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e4, "k"]]) {
    if (size >= unit) return `${+(value / (name === "k" ? 1e3 : unit)).toPrecision(digits)}${name}`;
  }
  if (size < 1e-3) return value.toExponential(Math.max(digits - 3, 0)).replace(/\.?0+e/, "e");
  return String(+value.toPrecision(digits));
}

function shortTime(seconds) {
  if (seconds < 60) return `${+seconds.toPrecision(3)} s`;
  const s = Math.round(seconds), pad = (n) => String(n).padStart(2, "0");
  if (s < 3600) return `${Math.floor(s / 60)}:${pad(s % 60)}`;
  return `${Math.floor(s / 3600)}:${pad(Math.floor(s / 60) % 60)}:${pad(s % 60)}`;
}
