// The page at /: what /status says, every second, and a form for each kind of model.
// Whatever comes from outside goes into the document as text, never as markup.

const EVERY_MS = 1000;
const PATIENCE_MS = 10_000;
const SPARK = { width: 96, height: 24, seconds: 60 };
const STAGES = ["admit", "preprocess", "queue", "batch", "inference", "settle", "reply"];

const $ = (id) => document.getElementById(id);
const SVG = document.querySelector("svg").namespaceURI;

// --- small things

function make(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function drawn(tag, attributes) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Numbers as people read them: three digits are enough, and none are made up. */
function figure(value) {
  const digits = value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return value.toLocaleString("en", { maximumFractionDigits: digits });
}

const percent = (share) => `${(100 * share).toFixed(1)} %`;
const plural = (count, what) => `${figure(count)} ${what}${count === 1 ? "" : "s"}`;
const orDash = (value, text) => (value ? text : "–");

function span(seconds) {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  const [days, hours, minutes] = [86_400, 3600, 60].map((unit) => Math.floor(seconds / unit));
  if (days) return `${days} d ${hours % 24} h`;
  if (hours) return `${hours} h ${minutes % 60} min`;
  return `${minutes} min`;
}

/** The rows of a table body; what stays keeps its nodes, so that focus and selection do, too. */
function rowsOf(body, build) {
  const rows = new Map();
  return (all) => {
    const keys = all.map((one) => JSON.stringify([one.model, one.version, one.worker]));
    for (const [key, row] of rows) {
      if (keys.includes(key)) continue;
      row.node.remove();
      rows.delete(key);
    }
    all.forEach((one, at) => {
      if (!rows.has(keys[at])) rows.set(keys[at], build(one));
      const { node, show } = rows.get(keys[at]);
      show(one);
      if (body.children[at] !== node) body.insertBefore(node, body.children[at] ?? null);
    });
  };
}

/** Cells that say, on a narrow screen, what the head of their column says on a wide one. */
function cellsUnder(table) {
  return [...table.tHead.rows[0].cells].map((head) => {
    const cell = make("td", { className: head.className, title: head.title });
    cell.dataset.label = head.textContent;
    return cell;
  });
}

// --- asking

/** Something that was refused, in the words of the refusal. */
class Problem extends Error {
  constructor(title, detail = "", status = 0) {
    super(title);
    Object.assign(this, { title, detail, status });
  }
}

function unreachable(error) {
  if (error.name === "AbortError") throw error;
  throw new Problem("No answer", "The gateway cannot be reached.");
}

async function ask(path, options) {
  const response = await fetch(path, { cache: "no-store", ...options }).catch(unreachable);
  const { ok, status, statusText } = response;
  const body = await response.json().catch((error) => (ok ? unreachable(error) : {}));
  if (ok) return { status, body };
  throw new Problem(body.title ?? `${status} ${statusText}`, body.detail, status);
}

const look = (path) => ask(path, { signal: AbortSignal.timeout(PATIENCE_MS) });

// --- now

const showVersions = rowsOf($("models").querySelector("tbody"), ({ model, version }) => {
  const cells = cellsUnder($("models").querySelector("table"));
  const [name, served, jobs, tokens, oldest] = cells;
  const marks = make("span", { className: "muted" });
  name.append(make("a", { href: fragmentOf(model, version) }, model), marks);
  return {
    node: make("tr", {}, ...cells),
    show(now) {
      say(marks, marksOf(now));
      showServing(served, now);
      say(jobs, figure(now.queue.jobs));
      say(tokens, figure(now.queue.tokens));
      say(oldest, orDash(now.queue.jobs, span(now.queue.oldest_s)));
    },
  };
});

function marksOf({ model, version, task, default: meant }) {
  const several = models.find((one) => one.name === model)?.versions.length > 1;
  const marks = [`version ${version}`, task];
  if (meant && several) marks.push("default version");
  if (meant && model === defaultModel) marks.push("default model");
  return marks.join(" · ");
}

function showServing(cell, { predictors, preprocessors }) {
  const parts = [[predictors, "predictor"]];
  if (preprocessors !== null) parts.push([preprocessors, "preprocess worker"]);
  const words = parts.map(([count, what]) => (count ? plural(count, what) : `no ${what}`));
  if (cell.textContent === words.join("")) return;
  const nobody = (at) => ({ className: parts[at][0] ? "" : "none" });
  cell.replaceChildren(make("div", {}, ...words.map((text, at) => make("div", nobody(at), text))));
}

/** What lies in the repository and cannot be loaded, with the reason. */
function showRefused(refused) {
  const all = Object.entries(refused);
  const list = $("refused");
  list.hidden = !all.length;
  const told = JSON.stringify(all);
  if (list.dataset.told === told) return;
  list.dataset.told = told;
  const terms = all.flatMap(([model, why]) => [
    make("dt", {}, `${model} cannot be loaded`),
    make("dd", {}, why),
  ]);
  list.replaceChildren(...terms);
}

/** What an operator should change about Redis. */
function showWarnings(warnings) {
  const list = $("warnings");
  list.hidden = !warnings.length;
  const told = JSON.stringify(warnings);
  if (list.dataset.told === told) return;
  list.dataset.told = told;
  list.replaceChildren(...warnings.map((one) => make("li", {}, `Warning: ${one}.`)));
}

function buildWorker({ model, worker }) {
  const cells = cellsUnder($("workers").querySelector("table"));
  const [name, rate, ms, rows, padding, busy, capacity, heard] = cells;
  name.append(model, make("span", { className: "muted" }, worker));
  const [spark, rateNow] = [sparkline(), make("span", { className: "rate" })];
  rate.append(spark.node, rateNow);
  return {
    node: make("tr", {}, ...cells),
    show(now) {
      spark.add(now.rows_per_s);
      say(rateNow, figure(now.rows_per_s));
      say(ms, orDash(now.ms, `${figure(now.ms)} ms`));
      say(rows, orDash(now.batch_rows, figure(now.batch_rows)));
      say(padding, orDash(now.batch_rows, percent(now.padding)));
      say(busy, orDash(now.busy, percent(now.busy)));
      say(capacity, orDash(now.tokens_per_s, `${figure(now.tokens_per_s)} tok/s`));
      say(heard, `${span(now.seen_s)} ago`);
    },
  };
}

const showPredictors = rowsOf($("predictors"), buildWorker);
const showPreprocessors = rowsOf($("preprocessors"), buildWorker);

function sparkline() {
  const { width, height, seconds } = SPARK;
  const node = drawn("svg", { class: "spark", viewBox: `0 0 ${width} ${height}` });
  node.ariaHidden = "true";
  const [area, line] = [drawn("path", {}), drawn("polyline", {})];
  node.append(area, line);
  let seen = [];
  return {
    node,
    add(value) {
      const now = performance.now() / 1e3;
      seen = [...seen.filter(({ at }) => now - at < seconds), { at: now, value }];
      const most = Math.max(1, ...seen.map((one) => one.value));
      const points = seen.map(({ at, value }) => {
        const [x, y] = [1 - (now - at) / seconds, 1 - value / most];
        return `${(x * width).toFixed(1)},${(1 + y * (height - 2)).toFixed(1)}`;
      });
      const begin = points[0].split(",")[0];
      line.setAttribute("points", points.join(" "));
      area.setAttribute("d", `M${begin},${height}L${points.join("L")}V${height}Z`);
    },
  };
}

let models = [];
let defaultModel = "";
let offered = "";
let lastSeen = "";

function showStatus(now) {
  say($("version"), now.version);
  say($("uptime"), `up ${span(now.uptime_s)}`);
  say($("requests"), `${plural(Math.max(now.requests - 1, 0), "request")} open`);
  showVersions(now.versions);
  showRefused(now.refused);
  showWarnings(now.warnings);
  showPredictors(now.predictors);
  showPreprocessors(now.preprocessors);
  $("preprocessors-title").hidden = !now.preprocessors.length;
  $("nobody").hidden = now.predictors.length > 0;
}

function showTrouble({ name, title = name, message, detail = message }) {
  const why = [title, detail].filter(Boolean).join(": ");
  const old = lastSeen && `What is below was so at ${lastSeen}. `;
  say($("trouble"), `${why.replace(/\.?$/, ".")} ${old}Asking again every second.`);
  showPulse("failing");
}

function showPulse(state) {
  document.body.className = state;
  say($("pulse"), state);
}

async function refresh() {
  try {
    const { body: now } = await look("status");
    const offer = JSON.stringify(now.versions.map((one) => [one.model, one.version]));
    if (offer !== offered) {
      offerModels((await look("models")).body);
      offered = offer;
    }
    showStatus(now);
    showPulse("live");
    say($("trouble"), "");
    lastSeen = new Date().toLocaleTimeString();
  } catch (error) {
    showTrouble(error);
  }
}

/** One look at a time, and none while nobody sees it. */
async function watch() {
  for (;;) {
    while (document.hidden) await new Promise((done) => (document.onvisibilitychange = done));
    await refresh();
    await rest(EVERY_MS);
  }
}

const rest = (ms) => new Promise((done) => setTimeout(done, ms));

// --- try it: what is asked

let input = null;
let asking = new AbortController();

const TOP_K = 5;
const MOST_SHOWN = 20;
const OPEN = { queued: "Still queued", running: "Running" };
const INPUTS = {
  "image-classification": pictureInput,
  "tabular-classification": tableInput,
  custom: jsonInput,
};

const chosen = () => models.find((one) => one.name === $("model").value);
const fragmentOf = (...names) => `#try=${names.map(encodeURIComponent).join("/")}`;

/** Leaves what somebody is typing alone, unless its model is another now. */
function offerModels(offer) {
  const before = chosen();
  ({ models, default: defaultModel } = offer);
  $("model").replaceChildren(...models.map(({ name }) => make("option", { value: name }, name)));
  $("predict").disabled = false;
  $("model").value = before?.name;
  if (chosen() && JSON.stringify(chosen()) === JSON.stringify(before)) return;
  if (!chooseByFragment()) choose(chosen()?.name ?? defaultModel);
}

function choose(name, version) {
  $("model").value = name;
  const model = chosen();
  const versions = model.versions.map((one) => make("option", { value: one }, one));
  $("model-version").replaceChildren(...versions);
  $("model-version").value = model.versions.includes(version) ? version : model.version;
  $("model-version").parentElement.hidden = versions.length < 2;
  say($("about"), model.description);
  input = (INPUTS[model.task] ?? textInput)(model);
  $("input").replaceChildren(input.node);
  forget();
}

function chooseByFragment() {
  const known = models.flatMap(({ name, versions }) => [[name], ...versions.map((v) => [name, v])]);
  const wanted = known.find((names) => fragmentOf(...names) === location.hash);
  if (wanted) choose(...wanted);
  return wanted !== undefined;
}

function inJson(inputs) {
  return {
    body: JSON.stringify({ inputs, parameters: { top_k: TOP_K } }),
    headers: { "Content-Type": "application/json" },
  };
}

function textInput(model, label = "Text", read = (text) => text, write = read) {
  const area = make("textarea", { rows: 4, required: true, value: write(model.sample) });
  const node = make("label", {}, label, area);
  return { node, request: async () => inJson(read(area.value)) };
}

function jsonInput(model) {
  const write = (value) => JSON.stringify(value, null, 2);
  return textInput(model, "Input, as JSON", JSON.parse, write);
}

function tableInput(model) {
  const node = make("div", { className: "features" });
  const fields = model.features.map((name, at) => {
    const value = model.sample[at] ?? "";
    const required = !model.missing.includes(name); // without a value it is NaN: null in JSON
    const field = make("input", { type: "number", step: "any", required, value });
    node.append(make("label", {}, name, " ", field));
    return field;
  });
  return { node, request: async () => inJson(fields.map((field) => field.valueAsNumber)) };
}

/** The canvas shows the sample, the file or the drawing: whichever came last is what is sent. */
function pictureInput(model) {
  const node = $("picture-input").content.cloneNode(true).firstElementChild;
  const canvas = node.querySelector("canvas");
  const pen = canvas.getContext("2d");
  const side = canvas.width;
  let file = null;

  function clear() {
    file = null;
    Object.assign(pen, { fillStyle: "#000", strokeStyle: "#fff", lineWidth: side / 12 });
    Object.assign(pen, { lineCap: "round", lineJoin: "round" });
    pen.fillRect(0, 0, side, side);
    say(node.querySelector(".shown"), "");
  }

  async function show(picture, name) {
    clear();
    file = picture;
    say(node.querySelector(".shown"), name);
    try {
      const image = await createImageBitmap(picture);
      if (file !== picture) return;
      const { width, height } = image;
      const scale = side / Math.max(width, height);
      const [w, h] = [width * scale, height * scale];
      pen.imageSmoothingEnabled = scale < 4;
      pen.drawImage(image, (side - w) / 2, (side - h) / 2, w, h);
    } catch {
      say(node.querySelector(".shown"), `${name} (cannot be shown)`);
    }
  }

  const sample = () => (model.sample ? show(fromBase64(model.sample), "the sample") : clear());
  drawOn(canvas, pen, () => file && clear());
  node.querySelector(".clear").onclick = clear;
  node.querySelector(".sample").onclick = sample;
  const take = ([one]) => one && show(one, one.name);
  node.querySelector("input").onchange = ({ target }) => {
    take(target.files);
    target.value = ""; // the same file again is a change, too
  };
  sample();
  return {
    node,
    take,
    async request() {
      const body = new FormData();
      const picture = file ?? (await new Promise((done) => canvas.toBlob(done, "image/png")));
      body.append("image", picture, "picture");
      body.append("top_k", TOP_K);
      return { body };
    },
  };
}

function fromBase64(text) {
  return new Blob([Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0))]);
}

function drawOn(canvas, pen, begins) {
  let last = null;
  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    const scale = canvas.width / box.width;
    return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
  };
  const lineTo = (event) => {
    const next = at(event);
    pen.beginPath();
    pen.moveTo(...last);
    pen.lineTo(...next);
    pen.stroke();
    last = next;
  };
  canvas.onpointerdown = (event) => {
    if (event.button) return;
    begins();
    canvas.setPointerCapture(event.pointerId);
    last = at(event);
    lineTo(event);
  };
  canvas.onpointermove = (event) => last && lineTo(event);
  canvas.onpointerup = canvas.onpointercancel = () => (last = null);
}

// --- try it: what is answered

/** Leave the question that is still open, and its answer. */
function forget() {
  asking.abort();
  asking = new AbortController();
  $("answer").replaceChildren();
  $("answer").removeAttribute("aria-busy");
}

async function submit() {
  forget();
  const { signal } = asking;
  const path = [chosen().name, "versions", $("model-version").value, "predict"];
  $("answer").setAttribute("aria-busy", "true");
  try {
    const request = { method: "POST", signal, ...(await input.request()) };
    const { status, body } = await ask(`models/${path.map(encodeURIComponent).join("/")}`, request);
    const ended = status === 202 ? await ending(body, signal) : body;
    const outputs = ended.outputs.slice(0, MOST_SHOWN).map(outputNode);
    $("answer").replaceChildren(...outputs, timingsNode(ended.timings_ms));
  } catch (error) {
    if (signal.aborted) return;
    $("answer").replaceChildren(problemNode(error));
  }
  $("answer").removeAttribute("aria-busy");
}

/** Wait for a job that was not done in time, however often the line breaks. */
async function ending(record, signal) {
  const state = make("strong");
  $("answer").replaceChildren(make("p", {}, state, " as job ", make("code", {}, record.id)));
  while (OPEN[record.state]) {
    say(state, OPEN[record.state]);
    try {
      record = (await ask(`jobs/${record.id}?wait=20`, { signal })).body;
      if (!OPEN[record.state]) break;
    } catch (error) {
      if (signal.aborted || [404, 422].includes(error.status)) throw error;
      say(state, `${error.title}, asking again`);
    }
    await rest(EVERY_MS);
  }
  return record;
}

function problemNode({ name, title = name, message, detail = message }) {
  return make("div", { className: "problem" }, make("strong", {}, title), make("p", {}, detail));
}

function outputNode(row) {
  if (row.error) return problemNode({ title: row.error.code, detail: row.error.detail });
  const ranked = row.top ?? row.scores ?? (row.label === undefined ? [] : [row]);
  const known = Array.isArray(ranked) && ranked.length;
  if (!known || !ranked.every((one) => typeof one?.score === "number"))
    return make("pre", {}, JSON.stringify(row, null, 2));
  const shares = ranked.every(({ score }) => score >= 0 && score <= 1);
  const list = make("ol", { className: "labels" }, ...ranked.map((one) => labelNode(one, shares)));
  if (row.threshold === undefined) return list;
  const given = row.labels.map(({ label }) => label).join(", ") || "no label";
  return make("div", {}, list, make("p", { className: "given" }, `over ${row.threshold}: ${given}`));
}

function labelNode({ label, score }, isShare) {
  const bar = make("i");
  if (isShare) bar.style.width = `${100 * score}%`;
  const value = make("span", { className: "number" }, isShare ? percent(score) : figure(score));
  return make("li", {}, make("b", {}, label), make("span", { className: "bar" }, bar), value);
}

function timingsNode(timings) {
  const known = STAGES.filter((stage) => timings[stage] !== undefined);
  const total = known.reduce((sum, stage) => sum + timings[stage], 0);
  const bar = make("div", { className: "stages", ariaHidden: "true" });
  const legend = make("dl");
  for (const stage of known) {
    const part = make("i", { className: stage, title: stage });
    part.style.flexGrow = timings[stage];
    bar.append(part);
    const name = make("dt", {}, make("i", { className: stage }), stage);
    legend.append(make("div", {}, name, make("dd", {}, `${timings[stage].toFixed(2)} ms`)));
  }
  const title = make("h3", {}, `${figure(total)} ms, by stage`);
  return make("section", { className: "timings" }, title, bar, legend);
}

// --- begin

$("model").onchange = () => {
  history.replaceState(null, "", fragmentOf(chosen().name, chosen().version));
  choose(chosen().name);
};
$("model-version").onchange = forget;
$("predict").form.onsubmit = (event) => {
  event.preventDefault();
  submit();
};
window.onhashchange = () => {
  if (chooseByFragment()) $("try").scrollIntoView({ block: "nearest" });
};
window.ondragover = (event) => event.preventDefault();
window.ondrop = (event) => {
  event.preventDefault();
  input?.take?.(event.dataTransfer.files);
};
watch();
