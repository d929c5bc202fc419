/** Charts that tools put into their results: `{type, title, labels, series: [{name, values}], unit}`. */

import { LOCALE, t } from "../text/strings.js";
import { save } from "./browser.js";
import { element, icon } from "./element.js";
import { fileName, tableTools } from "./table.js";

/**
 * @typedef {object} Chart
 * @property {"bar" | "line"} type
 * @property {string} title
 * @property {string[]} labels
 * @property {{name: string, values: number[]}[]} series
 * @property {string} unit a currency, `ms`, `tokens`, …
 */

const MAX_CHARTS = 12;
const MAX_LABELS = 400;
const MAX_SERIES = 12;

/**
 * @param {any} value
 * @returns {value is Chart}
 */
const isChart = (value) =>
  (value?.type === "bar" || value?.type === "line") &&
  typeof value.title === "string" &&
  typeof value.unit === "string" &&
  Array.isArray(value.labels) &&
  value.labels.length > 0 &&
  value.labels.length <= MAX_LABELS &&
  value.labels.every((/** @type {unknown} */ label) => typeof label === "string") &&
  Array.isArray(value.series) &&
  value.series.length > 0 &&
  value.series.length <= MAX_SERIES &&
  value.series.every(
    (/** @type {any} */ one) =>
      typeof one?.name === "string" &&
      Array.isArray(one.values) &&
      one.values.length <= value.labels.length &&
      one.values.every(Number.isFinite),
  );

/**
 * @param {import("../state/model.js").Run} run
 * @returns {Map<string, Chart>} the charts in its tools' results, each once
 */
export function chartsOf(run) {
  /** @type {Map<string, Chart>} */
  const charts = new Map();
  for (const step of run.steps) {
    if (step.kind !== "tool" || step.status !== "completed") continue;
    const result = /** @type {any} */ (step.result);
    const found = Array.isArray(result?.charts) ? result.charts : [result];
    for (const one of found) {
      if (!isChart(one?.chart) || charts.size >= MAX_CHARTS) continue;
      /** @type {Chart} */
      const { type, title, unit, labels, series } = one.chart;
      const known = { type, title, unit, labels, series: series.map(({ name, values }) => ({ name, values })) };
      charts.set(JSON.stringify(known), known);
    }
  }
  return charts;
}

/**
 * @param {string} unit
 * @param {boolean} brief for an axis
 * @returns {(value: number) => string}
 */
function formatter(unit, brief) {
  const rounded = brief ? { notation: /** @type {const} */ ("compact") } : { maximumFractionDigits: 2 };
  if (/^[A-Z]{3}$/.test(unit)) {
    try {
      const money = new Intl.NumberFormat(LOCALE, { style: "currency", currency: unit, ...rounded });
      return (value) => money.format(value);
    } catch {
      // Not a currency after all.
    }
  }
  const plain = new Intl.NumberFormat(LOCALE, rounded);
  // On an axis the caption has the unit.
  return (value) => (unit && !brief ? `${plain.format(value)} ${unit}` : plain.format(value));
}

/** @param {Chart} chart */
function table(chart) {
  const format = formatter(chart.unit, false);
  const head = ["", ...chart.series.map(({ name }) => name)];
  return element(
    "div",
    { class: "table", tabindex: "0" },
    element(
      "table",
      {},
      element("caption", { class: "unseen" }, chart.title),
      element(
        "thead",
        {},
        element("tr", {}, ...head.map((name) => element("th", { scope: "col", dir: "auto" }, name))),
      ),
      element(
        "tbody",
        {},
        ...chart.labels.map((label, row) =>
          element(
            "tr",
            {},
            element("th", { scope: "row", dir: "auto" }, label),
            ...chart.series.map(({ values }) => element("td", {}, row in values ? format(values[row]) : "")),
          ),
        ),
      ),
    ),
  );
}

/** @param {string} name of a custom property that is a colour */
function colour(name) {
  const probe = element("span", { class: "unseen" });
  probe.style.color = `var(${name})`;
  // The figures of the legend need colours of their own where the system has only one for text.
  probe.style.setProperty("forced-color-adjust", "none");
  document.body.append(probe);
  const { color } = getComputedStyle(probe);
  probe.remove();
  return color;
}

/** @type {Set<Figure>} */
const drawn = new Set();
for (const query of ["(prefers-color-scheme: dark)", "(forced-colors: active)"]) {
  matchMedia(query).addEventListener("change", () => drawn.forEach((one) => one.draw()));
}

async function load() {
  const library = await import("chart.js");
  library.Chart.register(
    library.BarController,
    library.BarElement,
    library.LineController,
    library.LineElement,
    library.PointElement,
    library.CategoryScale,
    library.LinearScale,
    library.Filler,
    library.Legend,
    library.Tooltip,
  );
  return library.Chart;
}

/** @type {ReturnType<typeof load> | null} */
let loading = null;

/** A chart on the page; its table says the same to those who cannot see it. Who is done with it has it removed. */
export class Figure {
  node;
  #chart;
  #canvas;
  #removed = false;
  /** @type {Awaited<ReturnType<typeof load>> | null} */
  #Drawing = null;
  /** @type {InstanceType<Awaited<ReturnType<typeof load>>> | null} */
  #shown = null;

  #pointed;

  /**
   * @param {Chart} chart
   * @param {(label: string | null) => void} pointed the reader points at this label; null: at none
   */
  constructor(chart, pointed) {
    this.#chart = chart;
    this.#pointed = pointed;
    this.#canvas = element("canvas", {
      role: "img",
      "aria-label": t("chart", { title: chart.title }),
    });
    const figures = table(chart);
    const tools = tableTools(/** @type {HTMLTableElement} */ (figures.querySelector("table")), () => chart.title);
    const area = element("div", { class: "plot" }, this.#canvas);
    // Side by side they are equally high, unless there are too many bars for that.
    area.style.height = `${chart.type === "bar" ? Math.min(30, Math.max(13, chart.labels.length * 1.3)) : 13}rem`;
    this.node = element(
      "figure",
      { class: "chart" },
      element(
        "figcaption",
        {},
        element("span", { dir: "auto" }, chart.title),
        element("span", { class: "dim", dir: "auto" }, chart.unit),
      ),
      area,
      element("details", {}, element("summary", {}, t("chart.figures")), figures),
    );
    const saved = element("button", { type: "button", class: "tool-button" }, icon("download"));
    saved.title = t("chart.save");
    saved.ariaLabel = t("chart.save");
    saved.addEventListener("click", () => this.#save());
    this.node.append(element("div", { class: "table-tools" }, ...tools.children, saved));
    void this.#load();
  }

  remove() {
    this.#removed = true;
    drawn.delete(this);
    this.#shown?.destroy();
    this.node.remove();
  }

  async #load() {
    loading ??= load();
    try {
      [this.#Drawing] = await Promise.all([loading, document.fonts.ready]);
      if (this.#removed) return;
      this.draw();
      drawn.add(this);
    } catch (error) {
      // The next chart asks again; of this one there is the table.
      if (!this.#Drawing) loading = null;
      this.node.querySelector(".plot")?.remove();
      this.node.querySelector("details")?.toggleAttribute("open", true);
      console.warn(error);
    }
  }

  /** Save it as a picture, on the ground that it has on the page. */
  #save() {
    const picture = element("canvas", {});
    const context = picture.getContext("2d");
    [picture.width, picture.height] = [this.#canvas.width, this.#canvas.height];
    if (!context) return;
    context.fillStyle = colour("--raised");
    context.fillRect(0, 0, picture.width, picture.height);
    context.drawImage(this.#canvas, 0, 0);
    picture.toBlob((blob) => blob && save(fileName(this.#chart.title, "png"), blob));
  }

  /** @param {string | null} label to be shown as the one that is meant; null: none */
  point(label) {
    const index = label === null ? -1 : this.#chart.labels.indexOf(label);
    const active = index < 0 ? [] : this.#chart.series.map((_, datasetIndex) => ({ datasetIndex, index }));
    this.#shown?.setActiveElements(active);
    this.#shown?.tooltip?.setActiveElements(active, { x: 0, y: 0 });
    this.#shown?.update("none");
  }

  /** In the colours that are in force now. */
  draw() {
    if (!this.#Drawing) return;
    this.#shown?.destroy();
    this.#shown = new this.#Drawing(this.#canvas, configuration(this.#chart, this.#pointed));
    this.node.dataset.drawn = "";
  }
}

/** Up to so many bars have their amounts at their ends instead of an axis below all of them. */
const MAX_LABELLED_BARS = 16;
/** The width of a digit of an amount, in pixels. */
const DIGIT_PX = 7.5;

/**
 * The amount at the end of each bar.
 * @param {(value: number) => string} format
 * @param {string} ink
 * @param {{family: string, size: number}} font
 * @returns {import("chart.js").Plugin}
 */
const amounts = (format, ink, { family, size }) => ({
  id: "amounts",
  afterDatasetsDraw(chart) {
    const { ctx, data } = chart;
    ctx.save();
    ctx.fillStyle = ink;
    ctx.font = `${size}px ${family}`;
    ctx.textBaseline = "middle";
    chart.getDatasetMeta(0).data.forEach(({ x, y }, at) => {
      ctx.fillText(format(Number(data.datasets[0].data[at])), x + 6, y);
    });
    ctx.restore();
  },
});

/**
 * @param {Chart} chart
 * @param {(label: string | null) => void} pointed
 * @returns {import("chart.js").ChartConfiguration}
 */
function configuration(chart, pointed) {
  const sideways = chart.type === "bar";
  const isLabelled = sideways && chart.series.length === 1 && chart.labels.length <= MAX_LABELLED_BARS;
  const stacked = chart.unit === "tokens";
  const axis = formatter(chart.unit, true);
  const exact = formatter(chart.unit, false);
  const [ink, line, text] = [colour("--dim"), colour("--line"), colour("--ink")];
  const font = { family: getComputedStyle(document.body).fontFamily, size: 12 };
  const values = {
    display: !isLabelled,
    beginAtZero: true,
    stacked,
    border: { display: false },
    grid: { color: line, drawTicks: false },
    ticks: {
      color: ink,
      font,
      maxTicksLimit: 5,
      maxRotation: 0,
      padding: 6,
      callback: (/** @type {any} */ value) => axis(Number(value)),
    },
  };
  const names = {
    stacked,
    border: { display: false },
    grid: { display: false },
    ticks: { color: ink, font, maxRotation: 0, autoSkip: !sideways, autoSkipPadding: 24, padding: 4 },
  };
  const longest = isLabelled ? Math.max(...chart.series[0].values.map((value) => exact(value).length)) : 0;
  // Beside what is asked about, what it is compared with stays in the background.
  const isPair = sideways && !stacked && chart.series.length === 2;
  return {
    type: chart.type,
    plugins: isLabelled ? [amounts(exact, text, font)] : [],
    data: {
      labels: chart.labels,
      datasets: chart.series.map(({ name, values: data }, index) => {
        const stroke = colour(isPair && index === 1 ? "--neutral" : `--series-${(index % 4) + 1}`);
        return {
          label: name,
          data,
          borderColor: stroke,
          backgroundColor: sideways ? stroke : stroke.replace(/^rgb\((.*)\)$/, "rgb($1 / 12%)").replaceAll(",", " "),
          fill: !sideways && index === 0,
          borderWidth: sideways ? 0 : 2,
          borderRadius: 4,
          maxBarThickness: 14,
          pointRadius: data.length > 40 ? 0 : 2.5,
          pointBackgroundColor: stroke,
          tension: 0.25,
        };
      }),
    },
    options: {
      indexAxis: sideways ? "y" : "x",
      maintainAspectRatio: false,
      layout: { padding: { right: longest * DIGIT_PX } },
      animation: matchMedia("(prefers-reduced-motion: reduce)").matches ? false : { duration: 350 },
      onHover: (_, [first]) => pointed(first ? chart.labels[first.index] : null),
      interaction: { mode: "index", axis: sideways ? "y" : "x", intersect: false },
      scales: sideways ? { x: values, y: names } : { x: names, y: values },
      plugins: {
        legend: {
          display: chart.series.length > 1,
          position: "bottom",
          labels: { color: ink, font, boxWidth: 10, boxHeight: 10, useBorderRadius: true, borderRadius: 3 },
        },
        tooltip: {
          callbacks: {
            label: ({ dataset, raw }) => `${dataset.label}: ${exact(Number(raw))}`,
          },
        },
      },
    },
  };
}
