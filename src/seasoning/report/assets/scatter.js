// Two numbers of every soup against each other, with the soups that no other one beats in both.

function makeAxes(context, size, colors, given) {
  const pad = ([low, high]) => {
    const room = 0.05 * (high - low || 0.1);
    return [low - room, high + room];
  };
  const [left, right] = pad(given.x);
  const [bottom, top] = pad(given.y);
  const box = { left: 52, right: size.width - 14, top: 12, bottom: size.height - 42 };
  const x = (value) => box.left + ((value - left) / (right - left)) * (box.right - box.left);
  const y = (value) => box.bottom - ((value - bottom) / (top - bottom)) * (box.bottom - box.top);
  context.font = "12px system-ui, sans-serif";
  context.lineWidth = 1;
  const ticks = (low, high, scale) => {
    const rough = ((high - low) * scale) / 5;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((each) => each * power).find((each) => each >= rough);
    const found = [];
    for (let tick = Math.ceil((low * scale) / step) * step; tick <= high * scale + 1e-9; tick += step) found.push(tick);
    return found.map((tick) => [tick / scale, String(Number(tick.toFixed(6)))]);
  };
  const rule = (x0, y0, x1, y1) => {
    context.beginPath();
    context.moveTo(x0, y0);
    context.lineTo(x1, y1);
    context.stroke();
  };
  context.strokeStyle = colors.line;
  context.fillStyle = colors.soft;
  context.textAlign = "center";
  for (const [value, text] of ticks(left, right, given.scales[0])) {
    rule(x(value), box.top, x(value), box.bottom);
    context.fillText(text, x(value), box.bottom + 16);
  }
  context.textAlign = "right";
  for (const [value, text] of ticks(bottom, top, given.scales[1])) {
    rule(box.left, y(value), box.right, y(value));
    context.fillText(text, box.left - 7, y(value) + 4);
  }
  context.fillStyle = colors.ink;
  context.textAlign = "center";
  context.fillText(given.names[0], (box.left + box.right) / 2, size.height - 8);
  context.save();
  context.translate(13, (box.top + box.bottom) / 2);
  context.rotate(-Math.PI / 2);
  context.fillText(given.names[1], 0, 0);
  context.restore();
  return { x, y, box };
}

// `state` has {scores, best, shown, leastClean, axes: [x, y]}; an axis is a column's index, or -1 for the score.
function paintScatter(board, state, context, size, colors) {
  const value = (soup, axis) => (axis < 0 ? (Number.isNaN(state.scores[soup]) ? null : state.scores[soup]) : fraction(board, soup, axis));
  const points = [];
  for (let soup = 0; soup < board.count; soup += 1) {
    const [x, y] = state.axes.map((axis) => value(soup, axis));
    if (x !== null && y !== null) points.push({ soup, x, y });
  }
  if (points.length === 0) return [];
  const range = (name) => points.reduce(([low, high], point) => [Math.min(low, point[name]), Math.max(high, point[name])], [1, 0]);
  const names = state.axes.map((axis) => (axis < 0 ? "score, %" : `${board.columns[axis].name}, %`));
  const axes = makeAxes(context, size, colors, { x: range("x"), y: range("y"), names, scales: [100, 100] });
  state.axes.forEach((axis, index) => {
    if (axis < 0 || axis !== board.clean || state.leastClean <= 0) return;
    const limit = (index === 0 ? axes.x : axes.y)(state.leastClean / 100);
    const { left, right, top, bottom } = axes.box;
    const within = index === 0 ? Math.min(Math.max(limit, left), right) : Math.min(Math.max(limit, top), bottom);
    context.fillStyle = colors.line;
    context.globalAlpha = 0.6;
    if (index === 0) context.fillRect(left, top, within - left, bottom - top);
    else context.fillRect(left, within, right - left, bottom - within);
    context.globalAlpha = 1;
  });
  const dots = points.map((point) => ({ soup: point.soup, x: axes.x(point.x), y: axes.y(point.y) }));
  const radius = dots.length > 1500 ? 2 : dots.length > 300 ? 3 : 4.5;
  for (const dot of dots) {
    const allowed = !Number.isNaN(state.scores[dot.soup]);
    context.lineWidth = 1;
    dotAt(context, dot.x, dot.y, radius, allowed ? "#56b4e9" : null, allowed ? null : colors.soft);
  }
  context.strokeStyle = colors.ink;
  context.lineWidth = 1.5;
  context.beginPath();
  for (const point of undominated(points)) context.lineTo(axes.x(point.x), axes.y(point.y));
  context.stroke();
  for (const point of undominated(points)) dotAt(context, axes.x(point.x), axes.y(point.y), radius, colors.ink, null);
  markSoups(context, dots, state, colors);
  return dots;
}
