// Which soup: the same rule as report/explorer.py:best.

const EQUAL = 1e-9;

// Scores of all soups, NaN where one is not allowed; the best one's index, or -1; and why there is none.
function choose(board, importances, leastClean) {
  const total = importances.reduce((sum, each) => sum + each, 0);
  const scores = new Float64Array(board.count);
  if (total === 0) return { scores: scores.fill(NaN), best: -1, reason: "nothing" };
  importances.forEach((importance, column) => {
    if (importance === 0) return;
    const images = Math.max(board.columns[column].images, 1);
    for (let soup = 0, index = column; soup < board.count; soup += 1, index += board.width) {
      const right = board.right[index];
      scores[soup] = right < 0 ? NaN : scores[soup] + (importance / total) * (right / images);
    }
  });
  const measured = scores.some((score) => !Number.isNaN(score));
  if (leastClean > 0) {
    const images = Math.max(board.columns[board.clean].images, 1);
    for (let soup = 0; soup < board.count; soup += 1) {
      const right = board.right[soup * board.width + board.clean];
      if (right < 0 || (100 * right) / images < leastClean - EQUAL) scores[soup] = NaN;
    }
  }
  let highest = -Infinity;
  for (const score of scores) if (score > highest) highest = score;
  let even = Infinity;
  for (let soup = 0; soup < board.count; soup += 1) {
    if (scores[soup] >= highest - EQUAL) even = Math.min(even, board.extremeness[soup]);
  }
  const best = scores.findIndex((score, soup) => score >= highest - EQUAL && board.extremeness[soup] <= even + EQUAL);
  return { scores, best, reason: best >= 0 ? "" : measured ? "clean" : "missing" };
}

// Soups that no other one matches in one number and beats in the other.
function undominated(points) {
  const order = points
    .filter((point) => point !== null)
    .sort((one, other) => other.x - one.x || other.y - one.y || one.soup - other.soup);
  let highest = -Infinity;
  return order.filter((point) => {
    if (point.y <= highest) return false;
    highest = point.y;
    return true;
  });
}
