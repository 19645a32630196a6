for (const table of document.querySelectorAll("table.sortable")) makeSortable(table);

const boardElement = document.getElementById("board");
if (boardElement !== null) {
  const board = readBoard(boardElement);
  const root = document.getElementById("explorer");
  root.hidden = false;
  const explorer = makeExplorer(root, board);
  const soups = document.getElementById("soups");
  if (soups !== null) {
    makeSoupTable(board, soups, document.getElementById("more-soups"), (soup) => {
      explorer.show(soup);
      root.scrollIntoView({ block: "start" });
    });
  }
}
document.documentElement.dataset.ready = "true";
