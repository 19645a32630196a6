// The soups by their weights: a triangle for three ingredients, a line for two, parallel axes for five or more.

// Paints the map of scores; `state` has {scores, low, high, best, shown, outside}.
function paintMap(board, state, context, size, colors) {
  if (board.ingredients.length === 2) return paintLine(board, state, context, size, colors);
  if (board.ingredients.length <= 4) return paintTriangle(board, state, context, size, colors);
  return paintParallel(board, state, context, size, colors);
}

function scoreColor(state, soup, colors) {
  const score = state.scores[soup];
  if (Number.isNaN(score)) return null;
  return mapColor(state.high > state.low ? (score - state.low) / (state.high - state.low) : 1);
}

// With four ingredients: the slice of the soups that hold as much of the one outside as the soup that is shown.
function paintTriangle(board, state, context, size, colors) {
  const four = board.ingredients.length === 4;
  const corners = board.ingredients.map((_, index) => index).filter((index) => !four || index !== state.outside);
  const rest = four && state.shown >= 0 ? board.weights[state.shown][state.outside] : 0;
  const inside = 1 - rest;
  const within = (slack) => [...board.weights.keys()].filter(
    (soup) => !four || Math.abs(board.weights[soup][state.outside] - rest) <= slack,
  );
  // Of a grid the slice is exact; soups of a search without one hardly ever hold the same amount.
  const exact = within(1e-6);
  const slice = exact.length >= 6 || !four ? exact : within(0.03);
  state.about = slice.length > exact.length;
  const positions = slice.map((soup) => {
    const parts = corners.map((index) => board.weights[soup][index] / (Math.abs(inside) < 1e-6 ? 1 : inside));
    return [parts[2] + parts[0] / 2, (parts[0] * Math.sqrt(3)) / 2];
  });
  // Soups with negative weights lie outside the triangle.
  const left = Math.min(0, ...positions.map(([x]) => x)), right = Math.max(1, ...positions.map(([x]) => x));
  const bottom = Math.min(0, ...positions.map(([, y]) => y)), top = Math.max(Math.sqrt(3) / 2, ...positions.map(([, y]) => y));
  const scale = Math.min((size.width - 60) / (right - left), (size.height - 66) / (top - bottom));
  const startX = (size.width - scale * (right - left)) / 2 - scale * left;
  const startY = size.height - 34 + scale * bottom;
  const at = ([x, y]) => [startX + scale * x, startY - scale * y];

  const triangle = [[0.5, Math.sqrt(3) / 2], [0, 0], [1, 0]].map(at);
  context.beginPath();
  triangle.forEach(([x, y]) => context.lineTo(x, y));
  context.closePath();
  context.strokeStyle = colors.soft;
  context.lineWidth = 1;
  context.stroke();

  const area = ((scale * scale * Math.sqrt(3)) / 4) / Math.max(slice.length, 1);
  const radius = Math.min(Math.max(0.46 * Math.sqrt(area), 2), 13);
  const dots = slice.map((soup, index) => {
    const [x, y] = at(positions[index]);
    return { soup, x, y };
  });
  for (const dot of dots) {
    const color = scoreColor(state, dot.soup, colors);
    context.lineWidth = 1;
    dotAt(context, dot.x, dot.y, color ? radius : Math.min(radius, 3), color, color ? colors.line : colors.soft);
  }
  markSoups(context, dots, state, colors);

  context.fillStyle = colors.ink;
  context.font = "600 14px system-ui, sans-serif";
  const names = corners.map((index) => board.ingredients[index]);
  context.textAlign = "center";
  context.fillText(names[0], triangle[0][0], triangle[0][1] - 18);
  context.textAlign = "left";
  context.fillText(names[1], Math.max(triangle[1][0] - 20, 4), triangle[1][1] + 28);
  context.textAlign = "right";
  context.fillText(names[2], Math.min(triangle[2][0] + 20, size.width - 4), triangle[2][1] + 28);
  return dots;
}

function paintLine(board, state, context, size, colors) {
  const points = board.weights.map((weights, soup) => ({ soup, x: weights[1], y: state.scores[soup] }));
  const known = points.filter((point) => !Number.isNaN(point.y));
  const axes = makeAxes(context, size, colors, {
    x: [Math.min(0, ...points.map((point) => point.x)), Math.max(1, ...points.map((point) => point.x))],
    y: [state.low, state.high],
    names: [`weight of ${board.ingredients[1]}`, "score, %"],
    scales: [1, 100],
  });
  known.sort((one, other) => one.x - other.x);
  context.strokeStyle = colors.soft;
  context.lineWidth = 1.5;
  context.beginPath();
  for (const point of known) context.lineTo(axes.x(point.x), axes.y(point.y));
  context.stroke();
  const dots = known.map((point) => ({ soup: point.soup, x: axes.x(point.x), y: axes.y(point.y) }));
  for (const dot of dots) dotAt(context, dot.x, dot.y, 5, scoreColor(state, dot.soup, colors), null);
  markSoups(context, dots, state, colors);
  return dots;
}

// One axis for each weight; a soup is a line across them.
function paintParallel(board, state, context, size, colors) {
  const count = board.ingredients.length;
  let low = 0, high = 1;
  for (const weights of board.weights) for (const weight of weights) [low, high] = [Math.min(low, weight), Math.max(high, weight)];
  const x = (index) => 26 + (index * (size.width - 52)) / (count - 1);
  const y = (weight) => 22 + (1 - (weight - low) / (high - low)) * (size.height - 70);
  const order = [...board.weights.keys()].filter((soup) => !Number.isNaN(state.scores[soup]));
  order.sort((one, other) => state.scores[one] - state.scores[other]);
  context.lineJoin = "round";
  const trace = (soup, color, width, alpha) => {
    context.beginPath();
    board.weights[soup].forEach((weight, index) => context.lineTo(x(index), y(weight)));
    context.strokeStyle = color;
    context.lineWidth = width;
    context.globalAlpha = alpha;
    context.stroke();
    context.globalAlpha = 1;
  };
  // The best thousand tell the pattern; more lines hide it.
  for (const soup of order.slice(-1000)) trace(soup, scoreColor(state, soup, colors), 1, 0.35);
  for (const soup of [state.shown, state.best]) {
    if (soup < 0) continue;
    trace(soup, colors.paper, 6, 1);
    trace(soup, soup === state.best ? colors.mark : colors.ink, 3, 1);
  }
  context.strokeStyle = colors.soft;
  context.fillStyle = colors.ink;
  context.lineWidth = 1;
  context.textAlign = "center";
  context.font = "600 12px system-ui, sans-serif";
  board.ingredients.forEach((name, index) => {
    context.beginPath();
    context.moveTo(x(index), y(low));
    context.lineTo(x(index), y(high));
    context.stroke();
    const room = (size.width - 52) / (count - 1);
    const short = context.measureText(name).width > room + 14 ? `${name.slice(0, Math.max(3, Math.floor(room / 8)))}…` : name;
    context.fillText(short, x(index), size.height - 14 - (index % 2) * 14);
  });
  context.font = "12px system-ui, sans-serif";
  context.fillStyle = colors.soft;
  context.fillText(low.toFixed(1).replace(/\.0$/, ""), 12, y(low) + 4);
  context.fillText(high.toFixed(1).replace(/\.0$/, ""), 12, y(high) + 4);
  return order.slice(-1000).map((soup) => {
    const index = board.weights[soup].indexOf(Math.max(...board.weights[soup]));
    return { soup, x: x(index), y: y(board.weights[soup][index]) };
  });
}
