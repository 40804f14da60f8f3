// The questions of a run, each with its buttons. All HTML in here was laid out, and made harmless, by the kernel.
const PAUSE = 150; // milliseconds without a key before what was typed is sent to be checked

function make(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function question(model, lock, { key, html, args, offers }) {
  const say = (said) => { lock(); model.send({ key, ...said }); };
  const button = (label, className, click) => make("button", { type: "button", textContent: label, className, onclick: click });
  const problem = make("div", { className: "problem", role: "status" });
  const own = make("div", { className: "question" }, make("div", { innerHTML: html }));
  if (offers === null) {
    const text = make("input", { type: "text", placeholder: "the answer, as text or JSON" });
    text.setAttribute("aria-label", text.placeholder);
    own.append(text, make("div", { className: "answers" }, button("Send", "", () => say({ kind: "free", text: text.value }))), problem);
    return { own, hear: (said) => { problem.innerHTML = said.html; } };
  }
  const text = make("input", { type: "text", placeholder: "why not, or what to answer in its place" });
  text.setAttribute("aria-label", text.placeholder);
  const typed = make("textarea", { value: args.trimEnd(), spellcheck: false, rows: args.trimEnd().split("\n").length });
  let number = 0, timer;
  typed.addEventListener("input", () => {
    typed.rows = typed.value.split("\n").length;
    number += 1;
    clearTimeout(timer);
    timer = setTimeout(() => model.send({ key, kind: "check", text: typed.value, number }), PAUSE);
  });
  own.append(
    make("div", { className: "answers" },
      ...offers.map(([label, remember]) => button(label, "approve", () => say({ kind: "approve", remember }))),
      button("Reject", "reject", () => say({ kind: "reject", text: text.value })),
      button("Answer in its place", "", () => say({ kind: "respond", text: text.value }))),
    text,
    make("details", {},
      make("summary", { textContent: "Edit the arguments" }),
      make("label", {}, "All arguments, as a JSON object", typed),
      make("div", { className: "answers" }, button("Run as edited", "edit", () => say({ kind: "edit", text: typed.value })))),
    problem);
  // What was said of an older text says nothing of this one.
  const hear = (said) => { if (said.number === undefined || said.number === number) problem.innerHTML = said.html; };
  return { own, hear };
}

function render({ model, el }) {
  const above = make("div"), middle = make("div"), below = make("div");
  const root = make("div", { className: "guarded-tools" }, above, middle, below);
  const shown = new Map();
  const disable = (disabled) => root.querySelectorAll("button").forEach((button) => { button.disabled = disabled; });
  const lock = () => disable(true);

  const show = () => {
    const board = model.get("board");
    above.innerHTML = board.above;
    below.innerHTML = board.below;
    for (const [key, { own }] of shown) {
      if (!board.questions.some((one) => one.key === key)) { own.remove(); shown.delete(key); }
    }
    for (const one of board.questions) { // a card that stays is not touched: somebody may be typing there
      if (shown.has(one.key)) continue;
      shown.set(one.key, question(model, lock, one));
      middle.append(shown.get(one.key).own);
    }
    disable(board.busy);
  };
  const hear = (said) => shown.get(said.key)?.hear(said);

  model.on("change:board", show);
  model.on("msg:custom", hear);
  show();
  el.append(root);
  return () => { model.off("change:board", show); model.off("msg:custom", hear); };
}

export default { render };
