// Who is in the room, as the list beside the conversation and as the choice of whom to write to.

import { paint } from "./messages.js";

export const EVERYONE = "all";

// Stands for a chosen person who is not there any more. Their id is forgotten, since a server that
// was started anew may give it to somebody else.
const GONE = "gone";

export class People {
  #names = new Map();
  #me = null;
  #list = document.getElementById("people-list");
  #choice = document.getElementById("recipient");
  #chosen = { id: EVERYONE, name: "all" };
  #changed;

  // `changed` runs when another recipient is chosen.
  constructor(changed) {
    this.#changed = changed;
    this.#choice.onchange = () => {
      this.choose(this.#choice.value);
    };
    this.#draw();
  }

  has(id) {
    return this.#names.has(id);
  }

  name(id) {
    return this.#names.get(id);
  }

  // How many others there are.
  get others() {
    return this.#names.size - (this.#names.has(this.#me) ? 1 : 0);
  }

  add(id, name) {
    this.#names.set(id, name);
    this.#draw();
  }

  remove(id) {
    this.#names.delete(id);
    if (this.#chosen.id === id) this.#chosen.id = GONE;
    this.#draw();
  }

  // All of a room at once, beside those who came while the list was on its way.
  fill(people, me) {
    this.#me = me;
    for (const [id, name] of people) this.#names.set(id, name);
    this.#draw();
  }

  // A new connection: ids of the old one mean nothing now.
  clear() {
    this.#names.clear();
    this.#me = null;
    if (this.#chosen.id !== EVERYONE) this.#chosen.id = GONE;
    this.#draw();
  }

  // Whom the next message goes to. Somebody who is gone stays chosen: a private text never goes to
  // the room, or to a namesake, because its reader disappeared.
  get recipient() {
    const { id, name } = this.#chosen;
    return { id, name, here: id === EVERYONE || this.#names.has(id), everyone: id === EVERYONE };
  }

  choose(id) {
    const name = id === EVERYONE ? "all" : (this.#names.get(id) ?? this.#chosen.name);
    this.#chosen = { id, name };
    this.#draw();
    this.#changed();
  }

  #draw() {
    const sorted = [...this.#names].sort((one, other) => one[1].localeCompare(other[1]));
    for (const count of document.querySelectorAll(".count")) count.textContent = sorted.length;
    this.#drawList(sorted);
    this.#drawChoice(sorted);
  }

  #drawList(sorted) {
    const focused = document.activeElement?.dataset?.id;
    this.#list.replaceChildren(...sorted.map(([id, name]) => this.#person(id, name)));
    if (focused) this.#list.querySelector(`[data-id="${CSS.escape(focused)}"]`)?.focus();
  }

  #person(id, name) {
    const me = id === this.#me;
    const person = element(me ? "div" : "button", "person");
    const avatar = element("span", "avatar");
    avatar.setAttribute("aria-hidden", "true");
    paint(avatar, name);
    const author = element("bdi", "author", name);
    person.append(avatar, author, element("span", "role", me ? "you" : ""));
    if (!me) {
      person.type = "button";
      person.dataset.id = id;
      person.title = `Write to ${name}`;
      person.setAttribute("aria-pressed", String(id === this.#chosen.id));
    }
    const item = element("li", "");
    item.append(person);
    return item;
  }

  #drawChoice(sorted) {
    const options = [new Option("Everyone", EVERYONE)];
    const seen = new Map();
    for (const [id, name] of sorted) {
      if (id === this.#me) continue;
      const number = (seen.get(name) ?? 0) + 1;
      seen.set(name, number);
      options.push(new Option(number > 1 ? `${name} (${number})` : name, id));
    }
    if (!this.recipient.here) {
      options.push(new Option(`${this.#chosen.name} (gone)`, this.#chosen.id));
    }
    this.#choice.replaceChildren(...options);
    this.#choice.value = this.#chosen.id;
  }
}

function element(tag, classes, text = "") {
  const made = document.createElement(tag);
  made.className = classes;
  made.textContent = text;
  return made;
}
