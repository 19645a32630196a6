// The measured soups: counts of right images for every soup and column.

const Z = 1.959963984540054; // 95 %

function readBoard(element) {
  const given = JSON.parse(element.textContent);
  const bytes = Uint8Array.from(atob(given.right), (sign) => sign.charCodeAt(0));
  const width = given.columns.length;
  const missing = given.bits === 32 ? 0xffffffff : 0xffff;
  const view = new DataView(bytes.buffer);
  const right = new Int32Array(bytes.length / (given.bits / 8));
  for (let index = 0; index < right.length; index += 1) {
    const count = given.bits === 32 ? view.getUint32(4 * index, true) : view.getUint16(2 * index, true);
    right[index] = count === missing ? -1 : count;
  }
  const extremeness = given.weights.map((row) => row.reduce((sum, weight) => sum + weight * weight, 0));
  return {
    ...given,
    right,
    width,
    extremeness,
    clean: given.columns.findIndex((column) => column.kind === "clean"),
    count: given.weights.length,
  };
}

// Fraction of right images of a soup in a column, or null where it is not measured.
function fraction(board, soup, column) {
  const right = board.right[soup * board.width + column];
  return right < 0 ? null : right / board.columns[column].images;
}

// A number of a soup with its interval, or null where it is not measured: Agresti and Coull's of a fraction, as in
// statistics.py; that of a mean over data sets comes with the board.
function estimate(board, soup, column) {
  const right = board.right[soup * board.width + column];
  if (right < 0) return null;
  const images = board.columns[column].images;
  const value = right / images;
  const known = board.intervals[column];
  if (known) return { value, low: known[soup][0], high: known[soup][1] };
  const total = images + Z * Z;
  const middle = (right + (Z * Z) / 2) / total;
  const half = Z * Math.sqrt((middle * (1 - middle)) / total);
  return { value, low: Math.max(0, middle - half), high: Math.min(1, middle + half) };
}

// One decimal; a tie goes to the even digit, as in the tables that Python writes.
function percent(value) {
  const exact = 100 * value;
  if (!Number.isInteger(4 * exact) || Number.isInteger(2 * exact)) return exact.toFixed(1);
  const below = Math.floor(10 * exact);
  return ((below % 2 === 0 ? below : below + 1) / 10).toFixed(1);
}

function number(weight) {
  return String(Number(weight.toPrecision(12)));
}

function spokenWeights(board, soup) {
  return board.weights[soup]
    .map((weight, index) => [weight, board.ingredients[index]])
    .filter(([weight]) => weight !== 0)
    .map(([weight, name]) => `${Number(weight.toPrecision(3))} ${name}`)
    .join(" + ")
    .replaceAll("+ -", "− ");
}

// A word of a command, quoted where a shell would read it as something else.
function quoted(word) {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'"'"'`)}'`;
}

// The command that writes a soup, in the folder of the run, for a shell.
function mixCommand(board, soup) {
  const used = board.weights[soup].map((weight, index) => [weight, board.files[index]]).filter(([weight]) => weight !== 0);
  const weights = used.map(([weight]) => number(weight)).join(",");
  // A first weight below zero would read as an option.
  const equals = weights.startsWith("-") ? "=" : " ";
  const statistics = board.policy === "mix" ? "" : ` --batch-norm ${board.policy}`;
  const files = used.map(([, file]) => quoted(file)).join(" ");
  return `seasoning mix ${files} --weights${equals}${weights}${statistics} --out my-soup.safetensors`;
}
