// Draws the dashboard's tables with Chart.js, which the theme ships. The tables are the source: after
// live.js changes one, its chart is drawn again. Without JavaScript people read the tables.
//
//   <div data-chart-of="ID"></div>            where the chart goes
//   <div id="ID" data-kind="stacked|lines" data-now="LABEL">
//     <table>: th[data-colour] one per series, td[data-value] one per number ("" is a gap)
"use strict";

(() => {
  const charts = new Map();

  function colours(box) {
    const style = getComputedStyle(box);
    return (name) => style.getPropertyValue(`--dash-${name}`).trim() || "#6b7280";
  }

  function read(source) {
    const rows = [...source.querySelectorAll("tbody tr")];
    return {
      labels: rows.map((row) => row.querySelector("th").textContent.trim()),
      series: [...source.querySelectorAll("thead th[data-colour]")].map((head, place) => ({
        label: head.textContent.trim(),
        colour: head.dataset.colour,
        values: rows.map((row) => {
          const value = row.querySelectorAll("td")[place].dataset.value;
          return value === "" ? null : Number(value);
        }),
      })),
    };
  }

  // A vertical line between the past and the planned runs.
  const present = {
    id: "present",
    afterDatasetsDraw(chart, _args, options) {
      const place = chart.data.labels.indexOf(options.label);
      if (place < 0) return;
      const x = chart.scales.x.getPixelForValue(place);
      const { top, bottom } = chart.chartArea;
      chart.ctx.save();
      chart.ctx.strokeStyle = options.colour;
      chart.ctx.setLineDash([4, 4]);
      chart.ctx.beginPath();
      chart.ctx.moveTo(x, top);
      chart.ctx.lineTo(x, bottom);
      chart.ctx.stroke();
      chart.ctx.restore();
    },
  };

  function datasets(series, isStacked, colour) {
    return series
      .filter(({ values }) => values.some((value) => value))
      .map(({ label, colour: name, values }) => ({
        label,
        data: values,
        backgroundColor: colour(name),
        borderColor: colour(name),
        borderWidth: isStacked ? 0 : 2,
        pointRadius: values.length > 60 ? 0 : 2,
        spanGaps: false,
      }));
  }

  function options(source, isStacked, colour) {
    const text = colour("calm");
    const grid = { color: colour("border") };
    return {
      animation: false,
      responsive: true,
      maintainAspectRatio: false,
      interaction: { mode: "index", intersect: false },
      plugins: {
        legend: { position: "bottom", labels: { color: text, boxWidth: 12, boxHeight: 12 } },
        present: { label: source.dataset.now, colour: text },
      },
      scales: {
        x: {
          stacked: isStacked,
          grid: { display: false },
          ticks: { color: text, maxRotation: 0, autoSkipPadding: 12 },
        },
        y: { stacked: isStacked, beginAtZero: true, grid, ticks: { color: text, maxTicksLimit: 6 } },
      },
    };
  }

  function draw(box) {
    const source = document.getElementById(box.dataset.chartOf);
    if (!source || !window.Chart) return;
    const isStacked = source.dataset.kind === "stacked";
    const colour = colours(box);
    const { labels, series } = read(source);
    const data = { labels, datasets: datasets(series, isStacked, colour) };
    const known = charts.get(box);
    if (known) {
      known.data = data;
      known.options = options(source, isStacked, colour);
      known.update();
      return;
    }
    const canvas = document.createElement("canvas");
    box.classList.add("is-drawn");
    box.append(canvas);
    const type = isStacked ? "bar" : "line";
    const made = { type, data, options: options(source, isStacked, colour), plugins: [present] };
    charts.set(box, new Chart(canvas, made));
  }

  for (const box of document.querySelectorAll("[data-chart-of]")) {
    draw(box);
    const source = document.getElementById(box.dataset.chartOf);
    let asked = false;
    const again = () => {
      if (asked) return;
      asked = true;
      requestAnimationFrame(() => {
        asked = false;
        draw(box);
      });
    };
    const wide = { childList: true, subtree: true, attributes: true, characterData: true };
    if (source) new MutationObserver(again).observe(source, wide);
    // The theme switches between light and dark with a class.
    const theme = { attributes: true, attributeFilter: ["class"] };
    new MutationObserver(again).observe(document.documentElement, theme);
  }
})();
