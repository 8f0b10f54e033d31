// The trace browser. Whatever a model wrote reaches the screen through textContent alone.
(() => {
  "use strict";
  const PER_PAGE = 50, MOST_MARKS = 200;
  const WORDS = { correct: "correct", incorrect: "incorrect", no_answer: "no answer found", truncated: "cut before an answer", error: "verifier failed" };
  const SIGNS = { correct: "✓", incorrect: "✗", no_answer: "?", truncated: "…", error: "!" };
  const ENDED = { stop: "ended by itself", length: "cut at the limit", content_filter: "stopped by a filter", unknown: "end not known" };
  const OF_PROBLEM = ["benchmark", "level", "subject"], FILTERS = [...OF_PROBLEM, "arm", "outcome"];
  const at = (name) => document.getElementById(`t-${name}`);
  const trouble = document.getElementById("traces-trouble"); // until there is none
  const state = { student: "", benchmark: "", level: "", subject: "", arm: "", outcome: "", query: "", a: "", b: "", which: "all", seed: null, sample: 0 };
  let shared, problems = [], found = [], current = null, page = 0;

  // -- data ----------------------------------------------------------------------------------------------------------

  async function unpacked(text) {
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return (await new Response(stream).text()).split("\n");
  }

  const plain = (text) => (Array.isArray(text) ? `${text[0]}\n${text[2]}` : text || "");
  const lower = (...texts) => texts.map(plain).join("\n").toLowerCase();

  // What is searched is put into lower case once, and traces are told apart by student and arm once.
  function indexed(line) {
    const problem = JSON.parse(line);
    problem.text = lower(problem.prompt, problem.reference, problem.id);
    problem.of = new Map();
    for (const trace of problem.traces) {
      trace.text = lower(trace.reasoning, trace.content, trace.answer);
      if (!problem.of.has(trace.student)) problem.of.set(trace.student, new Map());
      const arms = problem.of.get(trace.student);
      if (!arms.has(trace.arm)) arms.set(trace.arm, []);
      arms.get(trace.arm).push(trace);
    }
    return problem;
  }

  const tracesOf = (problem, arm) => problem.of.get(state.student)?.get(arm) || [];
  const words = (arm) => shared.words[arm] || arm;
  const right = (traces) => traces.filter((t) => t.outcome === "correct").length;

  // How much more often A is right than B, -1 to 1; null where one of them was not asked.
  function lead(problem) {
    const a = tracesOf(problem, state.a), b = tracesOf(problem, state.b);
    return a.length && b.length ? right(a) / a.length - right(b) / b.length : null;
  }

  const sideOf = (ahead) => (ahead === null ? "" : ahead > 0 ? "a" : ahead < 0 ? "b" : "same");

  function suits(trace, inPrompt) {
    return (!state.outcome || trace.outcome === state.outcome) && (!state.query || inPrompt || trace.text.includes(state.query));
  }

  function suiting(problem) {
    const inPrompt = !!state.query && problem.text.includes(state.query);
    const arms = problem.of.get(state.student);
    if (!arms) return null;
    for (const [arm, traces] of arms) {
      const hit = (!state.arm || arm === state.arm) && traces.find((trace) => suits(trace, inPrompt));
      if (hit) return hit;
    }
    return null;
  }

  // -- finding -------------------------------------------------------------------------------------------------------

  function find() {
    const counts = { all: 0, a: 0, b: 0, same: 0 };
    const hits = [];
    for (const problem of problems) {
      if (OF_PROBLEM.some((name) => state[name] && problem[name] !== state[name])) continue;
      if (!suiting(problem)) continue;
      const ahead = lead(problem), side = sideOf(ahead);
      counts.all += 1;
      if (side) counts[side] += 1;
      if (state.which === "all" || state.which === side) hits.push([problem, ahead]);
    }
    hits.sort((x, y) => Math.abs(y[1]) - Math.abs(x[1])); // furthest apart first, else as they came
    found = hits.map(([problem]) => problem);
    return counts;
  }

  function update() {
    const counts = find();
    const names = { all: "all", a: `${words(state.a)} more often right`, b: `${words(state.b)} more often right`, same: "equally often" };
    for (const button of document.querySelectorAll("#traces [data-which]")) {
      const which = button.dataset.which;
      button.replaceChildren(element("span", "", names[which]), " ", element("b", "", count(counts[which])));
      button.setAttribute("aria-pressed", String(state.which === which));
    }
    at("clear").hidden = !state.query && state.which === "all" && !FILTERS.some((name) => state[name]);
    choose(found.includes(current) ? current : found[0] || null);
  }

  function choose(problem) {
    current = problem;
    const place = found.indexOf(problem);
    page = place < 0 ? 0 : Math.floor(place / PER_PAGE);
    if (!problem) at("status").textContent = "No problem matches.";
    else at("status").replaceChildren(`${count(found.length)} of ${count(problems.length)} problems found`, element("span", "sr", `, problem ${count(place + 1)} is shown`));
    const hit = problem && preferred(problem);
    if (hit) [state.seed, state.sample] = [hit.seed, hit.sample];
    list();
    show();
  }

  // The trace that a problem was found for; where two arms are held against each other, one in which they differ.
  function preferred(problem) {
    if (state.which === "a" || state.which === "b") {
      const [ahead, behind] = state.which === "a" ? [state.a, state.b] : [state.b, state.a];
      const wrong = tracesOf(problem, behind).filter((t) => t.outcome !== "correct");
      const good = tracesOf(problem, ahead).filter((t) => t.outcome === "correct");
      const both = good.find((t) => wrong.some((w) => w.seed === t.seed && w.sample === t.sample));
      return both || good[0];
    }
    return state.query || state.outcome || state.arm ? suiting(problem) : tracesOf(problem, state.a)[0] || suiting(problem);
  }

  // -- drawing -------------------------------------------------------------------------------------------------------

  function element(tag, name, text) {
    const made = document.createElement(tag);
    if (name) made.className = name;
    if (text !== undefined) made.textContent = text;
    return made;
  }

  const count = (n) => String(n).replace(/\B(?=(\d{3})+$)/g, ",");
  const plural = (n, word) => `${count(n)} ${word}${n === 1 ? "" : "s"}`;

  // A text as text, what was searched for marked in it.
  function written(into, text) {
    const parts = state.query ? text.split(state.pattern) : [text];
    parts.slice(0, 2 * MOST_MARKS).forEach((part, i) => into.append(i % 2 ? element("mark", "", part) : part));
    into.append(parts.slice(2 * MOST_MARKS).join(""));
    return parts.length > 1;
  }

  // A block of text of a model or a problem; of one that was cut, both ends and what is missing between them.
  function block(name, text, label) {
    const box = element("div", `text ${name}`);
    box.dir = "auto";
    box.tabIndex = 0;
    box.setAttribute("role", "region");
    box.setAttribute("aria-label", label);
    let marked = false;
    if (Array.isArray(text)) {
      marked = written(box, text[0]);
      box.append(element("p", "gap-note", `cut here, ${count(text[1])} more characters; whole in traces.parquet`));
      marked = written(box, text[2]) || marked;
    } else marked = written(box, text);
    return [box, marked];
  }

  function list() {
    const start = page * PER_PAGE, shown = found.slice(start, start + PER_PAGE);
    const hadFocus = at("list").contains(document.activeElement);
    at("list").start = start + 1;
    at("list").replaceChildren(...shown.map(entry));
    at("range").textContent = found.length ? `${count(start + 1)}–${count(start + shown.length)} of ${count(found.length)}` : "";
    at("earlier").disabled = page === 0;
    at("later").disabled = start + PER_PAGE >= found.length;
    const here = at("list").querySelector("[aria-current]");
    if (here) {
      const box = at("list"), above = here.offsetTop - box.offsetTop;
      if (above < box.scrollTop) box.scrollTop = above;
      else if (above + here.offsetHeight > box.scrollTop + box.clientHeight) box.scrollTop = above + here.offsetHeight - box.clientHeight;
      if (hadFocus) here.focus({ preventScroll: true });
    }
  }

  function entry(problem) {
    const item = element("li"), button = element("button");
    button.type = "button";
    button.tabIndex = problem === current ? 0 : -1;
    if (problem === current) button.setAttribute("aria-current", "true");
    const prompt = element("span", "prompt", plain(problem.prompt).slice(0, 200));
    prompt.dir = "auto";
    button.append(prompt, tally("a"), tally("b"));
    button.addEventListener("click", () => choose(problem));
    item.append(button);
    return item;

    function tally(side) {
      const traces = tracesOf(problem, state[side]);
      const box = element("span", `tally key-${side}`);
      if (traces.length) box.append(element("span", "", words(state[side])), ` ${right(traces)}/${traces.length}`);
      return box;
    }
  }

  function show() {
    const problem = current;
    at("problem").hidden = !problem;
    if (!problem) return;
    const place = found.indexOf(problem);
    at("title").textContent = `Problem ${count(place + 1)} of ${count(found.length)}`;
    at("previous").disabled = place <= 0;
    at("next").disabled = place >= found.length - 1;
    const facts = element("p", "facts-of");
    for (const fact of [problem.benchmark, problem.level === null ? "" : `level ${problem.level}`, problem.subject, `place ${count(problem.place)}`, `id ${problem.id}`])
      if (fact) facts.append(element("span", "", fact));
    const arms = problem.of.get(state.student), cards = element("div", "cards");
    const named = [state.a, state.b, ...shared.arms.filter((arm) => arm !== state.a && arm !== state.b)];
    for (const arm of named) if (arms?.has(arm)) cards.append(card(arm, arms.get(arm)));
    const question = element("div", "question"), reference = element("div", "reference");
    question.append(element("h4", "", "Asked"), block("asked", problem.prompt, "The problem")[0]);
    reference.append(element("h4", "", "Reference answer"), block("wanted", problem.reference, "Reference answer")[0]);
    at("shown").replaceChildren(facts, question, reference, cards);
  }

  // The trace that is shown of an arm: that of the seed and sample shown everywhere, or the nearest there is.
  function shownOf(traces) {
    return traces.find((t) => t.seed === state.seed && t.sample === state.sample)
      || traces.find((t) => t.seed === state.seed) || traces.find((t) => t.sample === state.sample) || traces[0];
  }

  function card(arm, traces) {
    const trace = shownOf(traces), side = arm === state.a ? "a" : arm === state.b ? "b" : "";
    const box = element("section", `card ${trace.outcome}${side ? ` side-${side}` : ""}`), head = element("h4");
    if (side) head.append(element("span", `key-${side}`, side.toUpperCase()), " ");
    head.append(element("span", "arm", words(arm)));
    box.append(head);
    if (traces.length > 1) box.append(chips(arm, traces, trace));
    box.append(verdict(trace));
    if (trace.error) box.append(block("failed", trace.error, `Error of ${words(arm)}`)[0]);
    if (trace.reasoning) {
      const [text, marked] = block("reasoning", trace.reasoning, `Reasoning of ${words(arm)}`);
      const folded = element("details");
      folded.open = marked;
      folded.append(element("summary", "", `Reasoning, ${plural(sizeOf(trace.reasoning), "character")}`), text);
      box.append(folded);
    }
    if (trace.content) box.append(block("content", trace.content, `Answer of ${words(arm)}`)[0]);
    else if (!trace.error) box.append(element("p", "nothing", trace.reasoning ? "Nothing after the reasoning." : "It wrote nothing."));
    return box;
  }

  const sizeOf = (text) => (Array.isArray(text) ? text[0].length + text[1] + text[2].length : text.length);

  function verdict(trace) {
    const box = element("div", "judged"), words = element("p", "outcome-word");
    words.append(element("span", `sign ${trace.outcome}`, SIGNS[trace.outcome]), element("b", "", trace.error ? "request failed" : WORDS[trace.outcome]));
    if (trace.strict) words.append(` (strict: ${WORDS[trace.strict]})`);
    box.append(words);
    if (trace.answer) {
      const read = element("p", "read-answer", "answer read: ");
      read.append(element("code", "", plain(trace.answer)));
      box.append(read);
    }
    const length = trace.tokens === null ? [] : [plural(trace.tokens, "token")];
    box.append(element("p", "how", [...length, ENDED[trace.finish_reason]].join(", ")));
    const why = [trace.rule && `rule: ${plain(trace.rule)}`, plain(trace.explanation)].filter(Boolean);
    if (why.length) box.append(element("p", "how why", why.join("; ")));
    return box;
  }

  // One button a seed and sample; it chooses them for every arm, since the same seed is the fair comparison.
  function chips(arm, traces, shown) {
    const box = element("div", "chips"), sampled = traces.some((t) => t.sample > 0);
    box.setAttribute("role", "group");
    box.setAttribute("aria-label", `Answers of ${words(arm)}`);
    box.append(element("span", "", traces[0].seed === null ? "sample" : sampled ? "seed.sample" : "seed"));
    for (const trace of traces) {
      const name = [trace.seed, sampled ? trace.sample : null].filter((part) => part !== null).join(".");
      const chip = element("button", "", `${name} `);
      chip.type = "button";
      chip.append(element("span", `sign ${trace.outcome}`, SIGNS[trace.outcome]));
      chip.setAttribute("aria-pressed", String(trace === shown));
      const of = trace.seed === null ? "" : `seed ${trace.seed}`, sample = sampled ? `sample ${trace.sample}` : "";
      chip.setAttribute("aria-label", `${[of, sample].filter(Boolean).join(", ")}: ${WORDS[trace.outcome]}`);
      chip.addEventListener("click", () => again(arm, trace));
      box.append(chip);
    }
    return box;
  }

  // The same problem with another seed, and the focus where it was.
  function again(arm, trace) {
    [state.seed, state.sample] = [trace.seed, trace.sample];
    show();
    const groups = [...at("shown").querySelectorAll(".chips")];
    groups.find((g) => g.getAttribute("aria-label") === `Answers of ${words(arm)}`)?.querySelector("[aria-pressed=true]")?.focus({ preventScroll: true });
  }

  // -- asking --------------------------------------------------------------------------------------------------------

  function options(name, values, any) {
    const select = at(name);
    if (any) select.append(new Option(any, ""));
    for (const value of values) select.append(new Option(name === "outcome" ? WORDS[value] : ["arm", "a", "b"].includes(name) ? words(value) : value, value));
    select.closest(".field")?.toggleAttribute("hidden", values.length < 2);
    select.value = state[name];
    select.addEventListener("change", () => {
      const other = { a: "b", b: "a" }[name];
      if (other && state[other] === select.value) state[other] = state[name];
      state[name] = select.value;
      pairOf();
      update();
    });
  }

  // A pair of arms that the student has traces of.
  function pairOf() {
    const there = new Set(problems.flatMap((p) => [...(p.of.get(state.student)?.keys() || [])]));
    const arms = shared.arms.filter((arm) => there.has(arm));
    if (!there.has(state.a)) state.a = arms.find((arm) => arm !== state.b) || "";
    if (!there.has(state.b) || state.a === state.b) state.b = arms.find((arm) => arm !== state.a) || "";
    at("a").value = state.a;
    at("b").value = state.b;
  }

  function search() {
    state.query = at("search").value.trim().toLowerCase();
    const escaped = state.query.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&");
    state.pattern = new RegExp(`(${escaped})`, "iu");
    update();
  }

  function clear() {
    Object.assign(state, { query: "", which: "all" });
    for (const name of FILTERS) state[name] = at(name).value = "";
    at("search").value = "";
    update();
    at("search").focus();
  }

  function step(by) {
    const next = found[found.indexOf(current) + by];
    if (next) choose(next);
  }

  function turn(by) {
    choose(found[Math.min(Math.max(page + by, 0) * PER_PAGE, found.length - 1)]);
  }

  const KEYS = { j: () => step(1), k: () => step(-1), "/": () => at("search").focus() };
  const IN_LIST = { ArrowDown: () => step(1), ArrowUp: () => step(-1), PageDown: () => turn(1), PageUp: () => turn(-1) };

  function onScreen() {
    const { top, bottom } = document.getElementById("traces-browser").getBoundingClientRect();
    return top < innerHeight && bottom > 0;
  }

  // Letters are keys where nobody is typing, and only while the browser is on the screen.
  function pressed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = event.target.closest("input, select, textarea");
    if (typing) {
      if (event.key === "Escape" && typing === at("search") && state.query) clear();
      return;
    }
    const run = (at("list").contains(event.target) && IN_LIST[event.key]) || (onScreen() && KEYS[event.key]);
    if (!run) return;
    event.preventDefault();
    run();
  }

  function listen() {
    document.querySelector("#traces form").addEventListener("submit", (event) => event.preventDefault());
    at("search").addEventListener("input", search);
    at("clear").addEventListener("click", clear);
    at("swap").addEventListener("click", () => {
      [state.a, state.b] = [state.b, state.a];
      pairOf();
      update();
    });
    for (const button of document.querySelectorAll("#traces [data-which]"))
      button.addEventListener("click", () => {
        state.which = button.dataset.which;
        update();
      });
    for (const [name, by] of [["previous", -1], ["next", 1]]) at(name).addEventListener("click", () => step(by));
    for (const [name, by] of [["earlier", -1], ["later", 1]]) at(name).addEventListener("click", () => turn(by));
    document.addEventListener("keydown", pressed);
  }

  const distinct = (values) => [...new Set(values)].filter((value) => value !== null);

  async function start() {
    if (typeof DecompressionStream === "undefined") throw new Error("this browser is too old for it");
    const [head, ...lines] = await unpacked(document.getElementById("traces-data").textContent);
    shared = JSON.parse(head);
    problems = lines.filter(Boolean).map(indexed);
    if (!problems.length) throw new Error("none is in it");
    state.student = shared.students[0];
    [state.a, state.b] = shared.pair || [shared.arms[0], shared.arms[0]];
    const all = (name) => distinct(problems.map((p) => p[name])).sort((x, y) => x.localeCompare(y, "en", { numeric: true }));
    const seen = new Set(problems.flatMap((p) => p.traces.map((t) => t.outcome)));
    options("student", shared.students);
    options("benchmark", shared.benchmarks, "any");
    for (const name of ["level", "subject"]) options(name, all(name), "any");
    options("arm", shared.arms, "any");
    options("outcome", Object.keys(WORDS).filter((o) => seen.has(o)), "any");
    for (const name of ["a", "b"]) options(name, shared.arms);
    document.querySelector("#traces fieldset").hidden = shared.arms.length < 2;
    pairOf();
    listen();
    trouble.hidden = true;
    document.getElementById("traces-browser").hidden = false;
    update();
  }

  start().catch((error) => {
    trouble.textContent = `The answers in this page cannot be unpacked (${error.message}). They are in traces.parquet beside it.`;
  });
})();
