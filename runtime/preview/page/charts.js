// Three charts over the last minute, drawn by uPlot (vendored, MIT licence beside it).

const COLOURS = ["#ff8a5b", "#4cc9f0", "#9ad97b"];
const HISTORY = 240; // a minute of metrics
const CHARTS = { latency: ["total p95", "total p50", "model p50"], fps: ["frames per second"], drops: ["dropped"] };
const UNITS = { latency: "ms", fps: "frames per second", drops: "dropped frames per second" };
const HEIGHT = 108;

function axis(more) {
  const grid = { stroke: "#2a3240", width: 1 };
  return { stroke: "#9aa7b8", font: "11px system-ui, sans-serif", grid, ticks: { ...grid, size: 4 }, gap: 3, ...more };
}

// Time of day on a 24-hour clock, seconds only where they matter.
function clock(plot, splits) {
  return splits.map((split) => new Date(split * 1000).toLocaleTimeString([], { hour12: false }));
}

class Chart {
  constructor(name) {
    this.name = name;
    this.place = document.getElementById("plot-" + name);
    this.histories = new Map(); // camera → times and values
    this.data = this.history(0);
    const options = {
      width: Math.max(120, this.place.clientWidth - 10), height: HEIGHT,
      legend: { show: false }, cursor: { show: false }, padding: [6, 30, 0, 0],
      scales: { y: { range: (plot, least, most) => [0, most > 0 ? most * 1.15 : 1] } },
      series: [{}, ...CHARTS[name].map((label, index) => ({ label, stroke: COLOURS[index], width: 1.8, points: { show: false } }))],
      axes: [axis({ size: 22, space: 70, values: clock }), axis({ size: 38, space: 26 })],
    };
    this.plot = new uPlot(options, this.data, this.place);
    this.canvas = this.plot.ctx.canvas;
    this.canvas.id = "chart-" + name;
    this.canvas.setAttribute("role", "img");
    new ResizeObserver(() => {
      const width = Math.max(120, this.place.clientWidth - 10);
      if (width !== this.plot.width) this.plot.setSize({ width, height: HEIGHT });
    }).observe(this.place);
  }

  history(camera) {
    if (!this.histories.has(camera)) this.histories.set(camera, [[], ...CHARTS[this.name].map(() => [])]);
    return this.histories.get(camera);
  }

  choose(camera) {
    this.data = this.history(camera);
    this.plot.setData(this.data);
  }

  push(camera, time, values) {
    const data = this.history(camera);
    [time, ...values].forEach((value, index) => {
      data[index].push(value);
      if (data[index].length > HISTORY) data[index].shift();
    });
    if (data !== this.data) return;
    this.plot.setData(data);
    const last = values[0] === null ? "no value now" : values.map((v, i) => `${CHARTS[this.name][i]} ${v.toFixed(1)}`).join(", ");
    this.canvas.setAttribute("aria-label", `Last minute, ${UNITS[this.name]}: ${last}`);
  }
}

export class Charts {
  constructor() {
    this.all = Object.fromEntries(Object.keys(CHARTS).map((name) => [name, new Chart(name)]));
  }

  // ``values``: name → list of numbers, or null for a gap: nothing was measured.
  push(camera, values) {
    const time = Date.now() / 1000;
    for (const [name, chart] of Object.entries(this.all))
      chart.push(camera, time, values ? values[name] : CHARTS[name].map(() => null));
  }

  choose(camera) { for (const chart of Object.values(this.all)) chart.choose(camera); }
}
