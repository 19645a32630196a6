// Tables that sort by a click on a heading; a cell's number is its data-value, or its text.

function cellKey(cell) {
  const text = cell === undefined ? "" : (cell.dataset.value ?? cell.textContent.trim());
  const value = Number(text);
  return text === "" || Number.isNaN(value) ? text : value;
}

function compareKeys(one, other) {
  if (typeof one === "number" && typeof other === "number") return one - other;
  if (typeof one === typeof other) return String(one).localeCompare(String(other), "en");
  return typeof one === "number" ? 1 : -1;
}

// The direction that a click on a heading asks for: numbers first from the top, words from A.
function nextDirection(heading, numeric) {
  const now = heading.getAttribute("aria-sort");
  if (now === "descending") return "ascending";
  if (now === "ascending") return "descending";
  return numeric ? "descending" : "ascending";
}

function setDirection(heading, direction) {
  for (const other of heading.parentElement.children) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", direction);
}

function makeSortable(table) {
  for (const heading of table.tHead.rows[0].cells) {
    heading.querySelector("button")?.addEventListener("click", () => {
      const rows = [...table.tBodies].flatMap((body) => [...body.rows]).filter((row) => !row.classList.contains("group"));
      const keyed = rows.map((row, index) => ({ row, index, key: cellKey(row.cells[heading.cellIndex]) }));
      const direction = nextDirection(heading, keyed.some((each) => typeof each.key === "number"));
      const sign = direction === "ascending" ? 1 : -1;
      keyed.sort((one, other) => sign * compareKeys(one.key, other.key) || one.index - other.index);
      table.tBodies[0].append(...keyed.map((each) => each.row));
      // Sorted across groups, their headings say nothing.
      for (const row of table.querySelectorAll("tr.group")) row.hidden = true;
      setDirection(heading, direction);
    });
  }
}

// The table of all soups: as many rows as asked for, sorted by any column.
function makeSoupTable(board, table, more, show) {
  const body = table.tBodies[0];
  const headings = [...table.tHead.rows[0].cells];
  const kinds = board.ingredients.length;
  let order = [...board.weights.keys()];
  let length = 25;
  const key = (soup, index) => (index < kinds ? board.weights[soup][index] : (fraction(board, soup, index - kinds) ?? -1));
  const fill = () => {
    body.replaceChildren(...order.slice(0, length).map((soup) => {
      const row = document.createElement("tr");
      const first = row.insertCell();
      const button = document.createElement("button");
      button.type = "button";
      button.className = "small";
      button.textContent = "show";
      button.setAttribute("aria-label", `show ${spokenWeights(board, soup)}`);
      button.addEventListener("click", () => show(soup));
      first.append(button);
      for (const weight of board.weights[soup]) row.insertCell().textContent = weight === 0 ? "" : String(Number(weight.toPrecision(3)));
      board.columns.forEach((_, column) => {
        const value = fraction(board, soup, column);
        row.insertCell().textContent = value === null ? "–" : percent(value);
      });
      return row;
    }));
    more.hidden = length >= order.length;
    more.textContent = `Show ${Math.min(100, order.length - length)} more of ${order.length}`;
  };
  const sort = (index, direction) => {
    const sign = direction === "ascending" ? 1 : -1;
    order.sort((one, other) => sign * (key(one, index) - key(other, index)) || one - other);
    setDirection(headings[index + 1], direction);
    fill();
  };
  headings.slice(1).forEach((heading, index) => {
    heading.querySelector("button").addEventListener("click", () => sort(index, nextDirection(heading, true)));
  });
  more.addEventListener("click", () => {
    length += 100;
    fill();
  });
  sort(kinds + Math.max(0, board.start.findIndex((importance) => importance > 0)), "descending");
}
