// A canvas with dots that stand for soups: drawing, hit tests, the pointer and the arrow keys.

const CIVIDIS = [
  [0, 34, 78], [18, 53, 112], [59, 73, 108], [87, 93, 109], [112, 113, 115],
  [138, 134, 120], [165, 156, 116], [195, 179, 105], [225, 204, 85], [254, 232, 56],
];

function mapColor(part) {
  const position = Math.min(Math.max(part, 0), 1) * (CIVIDIS.length - 1);
  const below = Math.min(Math.floor(position), CIVIDIS.length - 2);
  const mixed = CIVIDIS[below].map((low, channel) => Math.round(low + (position - below) * (CIVIDIS[below + 1][channel] - low)));
  return `rgb(${mixed.join(",")})`;
}

// A canvas that fits its box at the screen's resolution. `paint(context, size)` draws and returns the dots
// [{soup, x, y}] in its own pixels; `show(soup)` is told which dot was chosen.
function makeChart(canvas, paint, describe, show) {
  const chart = { dots: [], shown: -1 };
  const tip = canvas.parentElement.querySelector(".tip");

  chart.draw = () => {
    const box = canvas.getBoundingClientRect();
    if (box.width === 0) return;
    const density = window.devicePixelRatio || 1;
    canvas.width = Math.round(box.width * density);
    canvas.height = Math.round(box.height * density);
    const context = canvas.getContext("2d");
    context.setTransform(density, 0, 0, density, 0, 0);
    context.clearRect(0, 0, box.width, box.height);
    chart.dots = paint(context, { width: box.width, height: box.height });
  };

  const nearest = (x, y, reach) => {
    let found = null;
    let least = reach * reach;
    for (const dot of chart.dots) {
      const distance = (dot.x - x) ** 2 + (dot.y - y) ** 2;
      if (distance < least) [found, least] = [dot, distance];
    }
    return found;
  };

  canvas.addEventListener("pointermove", (event) => {
    const dot = nearest(event.offsetX, event.offsetY, 18);
    tip.hidden = dot === null;
    if (dot === null) return;
    tip.textContent = describe(dot.soup);
    const box = canvas.getBoundingClientRect();
    tip.style.left = `${Math.min(Math.max(dot.x, 90), Math.max(box.width - 90, 90))}px`;
    tip.style.top = `${dot.y}px`;
  });
  canvas.addEventListener("pointerleave", () => { tip.hidden = true; });
  canvas.addEventListener("click", (event) => {
    const dot = nearest(event.offsetX, event.offsetY, 26);
    if (dot !== null) show(dot.soup);
  });

  // From the dot that is shown to the nearest one in the direction of the arrow.
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (step === undefined || chart.dots.length === 0) return;
    event.preventDefault();
    const from = chart.dots.find((dot) => dot.soup === chart.shown) || chart.dots[0];
    let found = null;
    let least = Infinity;
    for (const dot of chart.dots) {
      const along = (dot.x - from.x) * step[0] + (dot.y - from.y) * step[1];
      const across = Math.abs((dot.x - from.x) * step[1]) + Math.abs((dot.y - from.y) * step[0]);
      if (along > 0.5 && along + 2.5 * across < least) [found, least] = [dot, along + 2.5 * across];
    }
    if (found !== null) show(found.soup);
  });

  new ResizeObserver(() => chart.draw()).observe(canvas);
  return chart;
}

function inks(element) {
  const style = getComputedStyle(element);
  const read = (name) => style.getPropertyValue(name).trim();
  return { ink: read("--ink"), soft: read("--soft"), line: read("--line"), paper: read("--card"), mark: read("--accent") };
}

function star(context, x, y, radius, fill, stroke) {
  context.beginPath();
  for (let corner = 0; corner < 10; corner += 1) {
    const reach = corner % 2 === 0 ? radius : 0.45 * radius;
    const angle = (Math.PI * corner) / 5 - Math.PI / 2;
    context.lineTo(x + reach * Math.cos(angle), y + reach * Math.sin(angle));
  }
  context.closePath();
  context.fillStyle = fill;
  context.strokeStyle = stroke;
  context.lineWidth = 1.5;
  context.fill();
  context.stroke();
}

function dotAt(context, x, y, radius, fill, stroke) {
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  if (fill) {
    context.fillStyle = fill;
    context.fill();
  }
  if (stroke) {
    context.strokeStyle = stroke;
    context.stroke();
  }
}

// The star on the best soup and the ring on the one that is shown.
function markSoups(context, dots, state, colors) {
  for (const dot of dots) {
    if (dot.soup === state.best) star(context, dot.x, dot.y, 10, "#fff", "#000");
  }
  for (const dot of dots) {
    if (dot.soup !== state.shown || state.shown === state.best) continue;
    context.lineWidth = 3;
    dotAt(context, dot.x, dot.y, 9, null, colors.paper);
    context.lineWidth = 2;
    dotAt(context, dot.x, dot.y, 9, null, colors.mark);
  }
}
