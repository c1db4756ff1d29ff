// The page of the service: a history, two searches side by side, and the tree of one of them.

/** @typedef {{item_id: string, title: string}} Item */

const OWN = "as the bundle recommends";
const STEP_MS = 700;

/** @type {Item[]} */
const history = [];
const at = (id) => document.getElementById(id);

/** An element with a text and children. */
function made(name, text = "", ...children) {
  const element = document.createElement(name);
  element.textContent = text;
  element.append(...children);
  return element;
}

/** The JSON of a route; a refusal is an error with the sentence of the service. */
async function asked(route, body) {
  const post = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
  const response = await fetch(route, body === undefined ? {} : post);
  const content = await response.json();
  if (!response.ok) throw new Error(content.detail ?? response.statusText);
  return content;
}

const titled = (item) => ({ item_id: item.item_id, title: item.title ?? item.item_id });

async function find(event) {
  event.preventDefault();
  const query = at("query").value.trim();
  try {
    const { items } = await asked(`v1/items?limit=12&query=${encodeURIComponent(query)}`);
    show(items.map(titled));
    if (!items.length) at("found").append(made("li", "No item has all of these words."));
  } catch (error) {
    at("found").replaceChildren(made("li", error.message));
  }
}

/** @param {Item[]} items */
function show(items) {
  at("found").replaceChildren(...items.map((item) => {
    const button = made("button", item.title);
    button.addEventListener("click", () => { history.push(item); update(); });
    return made("li", "", button);
  }));
}

function searchOf(name) {
  return name === OWN ? null : { name };
}

function request() {
  return { k: Number(at("k").value) || 10, exclude_seen: at("seen").checked };
}

/** Fills a list, unless a later change has begun meanwhile. */
async function list(place, mine) {
  const user = { history: history.map((item) => item.item_id) };
  const search = searchOf(at(place).value);
  try {
    const { answers: [answer] } = await asked("v1/recommend", { users: [user], search, ...request() });
    if (mine !== turn) return;
    at(`${place}-list`).replaceChildren(...answer.items.map((item) => {
      const line = made("li", item.title ?? item.item_id, " ", made("small", item.score.toFixed(3)));
      line.dataset.item = item.item_id;
      return line;
    }));
    const way = answer.degraded ? ` For want of time: ${answer.degraded}.` : "";
    at(`${place}-note`).textContent = `Scores: ${answer.score_kind}. Tokens: ${answer.tokens}.${way}`;
    at("snapshot").textContent = `Snapshot ${answer.snapshot}`;
  } catch (error) {
    if (mine !== turn) return;
    at(`${place}-list`).replaceChildren();
    at(`${place}-note`).textContent = error.message;
  }
}

/** Marks the items that both lists hold. */
function compare() {
  const lines = (place) => [...at(`${place}-list`).children];
  for (const [one, other] of [["first", "second"], ["second", "first"]]) {
    const items = new Set(lines(other).map((line) => line.dataset.item));
    for (const line of lines(one)) line.classList.toggle("shared", items.has(line.dataset.item));
  }
}

let turn = 0;

async function update() {
  at("history").replaceChildren(...history.map((item, place) => {
    const button = made("button", item.title);
    button.title = "Take out";
    button.addEventListener("click", () => { history.splice(place, 1); update(); });
    return made("li", "", button);
  }));
  at("tree").replaceChildren();
  if (!at("grow").disabled) at("tree-note").textContent = "";
  const mine = ++turn;
  await Promise.all(["first", "second"].map((place) => list(place, mine)));
  if (mine === turn) compare();
}

async function grow() {
  const user = { history: history.map((item) => item.item_id) };
  const search = { name: at("tree-search").value, beams: 10 };
  const mine = ++turn;
  try {
    const tree = await asked("v1/explain", { user, search, ...request() });
    if (mine !== turn) return;
    at("tree-note").textContent =
      `${tree.search} looked at ${tree.num_proposed} prefixes; the most telling ones are shown. ` +
      `Scores: ${tree.score_kind}.`;
    await draw(tree, mine);
  } catch (error) {
    at("tree").replaceChildren();
    at("tree-note").textContent = error.message;
  }
}

/** Shows one level after the other, until a later change begins. */
async function draw(tree, mine) {
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const nodes = new Map(tree.nodes.map((node) => [node.node, node]));
  const boxes = new Map();
  at("tree").replaceChildren();
  for (let depth = 1; depth <= tree.num_levels; depth++) {
    const level = tree.nodes.filter((node) => node.depth === depth).sort((a, b) => b.score - a.score);
    const ranks = level.map((node) => node.rank ?? 0);
    const last = Math.max(2, ...ranks);
    const all = made("ul");
    for (const node of level) {
      const box = made("li", node.words.join(" · "));
      const below = node.num_items > node.words.length ? `${node.num_items} items · ` : "";
      box.append(made("small", `${below}score ${node.score.toFixed(3)} · log π ${node.log_prob.toFixed(2)} · ${node.fate}`));
      box.classList.add(node.fate);
      box.tabIndex = 0;
      box.style.setProperty("--warmth", String(node.rank ? 1 - (node.rank - 1) / (last - 1) : 0));
      const mark = (on) => {
        for (let step = node; step; step = nodes.get(step.parent)) boxes.get(step.node)?.classList.toggle("way", on);
      };
      for (const [name, on] of [["pointerenter", true], ["focus", true], ["pointerleave", false], ["blur", false]]) {
        box.addEventListener(name, () => mark(on));
      }
      boxes.set(node.node, box);
      all.append(box);
    }
    at("tree").append(made("section", "", made("h3", `Level ${depth}`), all));
    if (!calm && depth < tree.num_levels) await new Promise((done) => setTimeout(done, STEP_MS));
    if (mine !== turn) return;
  }
}

/** Offers the searches that the bundle has all parts for. */
async function offer() {
  const { own, lists, trees } = await asked("v1/searches");
  const offered = { first: [OWN, ...lists], second: [OWN, ...lists], "tree-search": trees };
  for (const [id, names] of Object.entries(offered)) at(id).append(...names.map((name) => made("option", name)));
  at("second").value = lists.find((name) => name !== own) ?? OWN;
  at("grow").disabled = !trees.length;
  if (!trees.length) at("tree-note").textContent = "This bundle has no tree of codes to show.";
}

/** Offers histories of users, if the service has some. */
async function offerExamples() {
  const { examples } = await asked("v1/examples");
  at("example").append(...examples.map(({ items }, place) => {
    const length = items.length === 1 ? "1 item" : `${items.length} items`;
    const option = made("option", `User ${place + 1}: ${length}, the last one is ${titled(items.at(-1)).title}`);
    option.value = String(place);
    return option;
  }));
  at("example").addEventListener("change", () => {
    const chosen = examples[Number(at("example").value)];
    if (at("example").value === "" || !chosen) return;
    history.splice(0, history.length, ...chosen.items.map(titled));
    update();
  });
  at("examples").hidden = !examples.length;
}

for (const id of ["first", "second", "k", "seen"]) at(id).addEventListener("change", update);
at("settings").addEventListener("submit", (event) => event.preventDefault());
at("find").addEventListener("submit", find);
at("grow").addEventListener("click", grow);
await Promise.all([offer(), offerExamples()]);
update();
