// The explorer: sliders in, the best measured soup out, two maps beside it.

function makeExplorer(root, board) {
  const find = (name) => root.querySelector(`[data-part="${name}"]`);
  const sliders = [...root.querySelectorAll("input[data-column]")];
  const clean = find("clean");
  const state = {
    scores: new Float64Array(board.count), low: 0, high: 1, best: -1, shown: -1, inspected: -1,
    leastClean: 0, outside: board.ingredients.length - 1, axes: [board.clean, -1],
  };

  const importances = () => {
    const found = new Array(board.width).fill(0);
    for (const slider of sliders) found[Number(slider.dataset.column)] = Number(slider.value);
    return found;
  };
  const say = (slider) => {
    const text = slider === clean ? (Number(slider.value) > 0 ? `${slider.value} %` : "any") : slider.value;
    slider.parentElement.querySelector("output").textContent = text;
    slider.setAttribute("aria-valuetext", slider === clean ? text : `${text} of ${board.largest}`);
  };
  const show = (soup) => {
    state.inspected = soup === state.best ? -1 : soup;
    update();
  };

  const describe = (soup) => {
    const score = state.scores[soup];
    return `${spokenWeights(board, soup)}: ${Number.isNaN(score) ? "not allowed or not measured" : `${percent(score)} %`}`;
  };
  const charts = [];
  if (board.ingredients.length > 1) {
    charts.push(makeChart(find("map"), (context, size) => paintMap(board, state, context, size, inks(root)), describe, show));
    charts.push(makeChart(find("scatter"), (context, size) => paintScatter(board, state, context, size, inks(root)), describe, show));
  }

  // Rows of numbers are made once and then only filled.
  const rows = board.columns.map((column, index) => {
    const row = find("numbers").tBodies[0].rows[index];
    return {
      row, value: row.querySelector(".value"), low: row.querySelector(".interval"), held: row.querySelector(".held"),
      bar: row.querySelector(".bar i"), dot: row.querySelector(".bar b"),
    };
  });
  const fillNumbers = (wanted) => {
    const held = board.heldOut[state.shown];
    rows.forEach((cells, column) => {
      const found = state.shown < 0 ? null : estimate(board, state.shown, column);
      cells.row.classList.toggle("matters", wanted[column] > 0);
      if (found === null) {
        cells.value.textContent = "–";
        cells.low.textContent = "";
        cells.bar.style.width = cells.dot.style.left = "0";
      } else {
        const { value, low, high } = found;
        cells.value.textContent = percent(value);
        cells.low.textContent = `${percent(low)}–${percent(high)}`;
        cells.bar.style.left = `${100 * low}%`;
        cells.bar.style.width = `${100 * (high - low)}%`;
        cells.dot.style.left = `${100 * value}%`;
      }
      const [value, low, high] = (held && held[column] ? held[column] : []).map(percent);
      cells.held.textContent = value === undefined ? "–" : `${value} [${low}, ${high}]`;
    });
  };

  const sentence = (reason) => {
    if (reason === "nothing") return "Nothing matters yet: move a slider to the right.";
    if (reason === "missing") return "No soup was measured on all of these together: set one of them to 0.";
    let highest = 0;
    for (let soup = 0; soup < board.count; soup += 1) highest = Math.max(highest, fraction(board, soup, board.clean) ?? 0);
    return `No measured soup of these keeps ${state.leastClean} % clean accuracy; the highest of all is ${percent(highest)} %.`;
  };

  const fillSoup = (chosen) => {
    const soup = state.shown;
    root.dataset.soup = String(chosen.best);
    root.dataset.shown = String(soup);
    find("back").hidden = state.inspected < 0;
    find("found").hidden = soup < 0;
    if (soup < 0) {
      find("title").textContent = sentence(chosen.reason);
      return;
    }
    const score = state.scores[soup];
    const kept = Number.isNaN(score) ? "not allowed by the sliders" : `${percent(score)} %`;
    find("title").textContent = `${state.inspected < 0 ? "Best" : "Shown"}: ${spokenWeights(board, soup)}`;
    find("score").textContent = kept;
    const bar = find("weights");
    [...bar.children].forEach((part, index) => {
      const weight = board.weights[soup][index];
      part.style.flexGrow = String(Math.max(weight, 0));
      part.hidden = weight <= 0;
      part.textContent = weight > 0.12 ? board.ingredients[index] : "";
    });
    find("command").textContent = mixCommand(board, soup);
    const others = [...chosen.scores].filter((each, index) => index !== chosen.best && each > chosen.scores[chosen.best] - 0.01).length;
    find("close").textContent = others === 0
      ? "No other soup comes within 1 point."
      : `${others} other ${others === 1 ? "soup lies" : "soups lie"} within 1 point: look at the intervals before you trust the difference.`;
  };

  function update() {
    const wanted = importances();
    state.leastClean = clean ? Number(clean.value) : 0;
    const chosen = choose(board, wanted, state.leastClean);
    state.scores = chosen.scores;
    state.best = chosen.best;
    state.shown = state.inspected >= 0 ? state.inspected : chosen.best;
    [state.low, state.high] = [Infinity, -Infinity];
    for (const score of chosen.scores) {
      if (score < state.low) state.low = score;
      if (score > state.high) state.high = score;
    }
    if (state.low > state.high) [state.low, state.high] = [0, 1];
    fillSoup(chosen);
    fillNumbers(wanted);
    for (const chart of charts) {
      chart.shown = state.shown;
      chart.draw();
    }
    if (charts.length > 0) {
      find("low").textContent = `${percent(state.low)} %`;
      find("high").textContent = `${percent(state.high)} %`;
      const slice = find("slice");
      if (slice) {
        const outside = board.ingredients[state.outside];
        const amount = state.shown < 0 ? 0 : board.weights[state.shown][state.outside];
        slice.textContent = `Shown: soups with ${state.about ? "about " : ""}${Number(amount.toPrecision(3))} ${outside}, as in the soup at hand.`;
      }
    }
  }

  const set = (values) => {
    state.inspected = -1;
    for (const slider of sliders) slider.value = values(Number(slider.dataset.column));
    if (clean) clean.value = "0";
    [...sliders, ...(clean ? [clean] : [])].forEach(say);
    update();
  };
  for (const slider of [...sliders, ...(clean ? [clean] : [])]) {
    slider.addEventListener("input", () => {
      state.inspected = -1;
      say(slider);
      update();
    });
  }
  for (const button of root.querySelectorAll("button[data-preset]")) {
    const wanted = button.dataset.preset.split(" ").map(Number);
    button.addEventListener("click", () => set((column) => wanted[column]));
  }
  find("back").addEventListener("click", () => show(state.best));
  root.querySelectorAll("select[data-axis]").forEach((select) => {
    select.addEventListener("change", () => {
      state.axes[Number(select.dataset.axis)] = Number(select.value);
      update();
    });
  });
  find("outside")?.addEventListener("change", (event) => {
    state.outside = Number(event.target.value);
    update();
  });
  find("copy").addEventListener("click", async () => {
    const text = find("command").textContent;
    try {
      await navigator.clipboard.writeText(text);
      find("copied").textContent = "copied";
    } catch {
      getSelection().selectAllChildren(find("command"));
      find("copied").textContent = "selected: copy it with Ctrl-C";
    }
  });
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => charts.forEach((chart) => chart.draw()));
  set((column) => board.start[column]);
  return { show };
}
