// Paints the pond on a canvas. Knows neither the document around it nor the network.

const OWN = "#7fe3d0";
const MOTES = 140;

// How far from an edge the arrow stands that points to a tadpole beyond it.
const MARGIN = 26;

const BUBBLE_WIDTH = 200;
const MOST_LINES = 4;

export class Painter {
  #canvas;
  #context;
  #ratio = 1;
  #still = matchMedia("(prefers-reduced-motion: reduce)");
  #motes = Array.from({ length: MOTES }, () => ({
    x: Math.random(),
    y: Math.random(),
    depth: 0.3 + Math.random() * 0.7,
    size: 0.6 + Math.random() * 1.8,
  }));

  constructor(canvas) {
    this.#canvas = canvas;
    this.#context = canvas.getContext("2d");
    addEventListener("resize", () => this.#fit());
    this.#fit();
  }

  #fit() {
    this.#ratio = Math.min(devicePixelRatio || 1, 2);
    this.#canvas.width = Math.round(innerWidth * this.#ratio);
    this.#canvas.height = Math.round(innerHeight * this.#ratio);
  }

  get #zoom() {
    return Math.min(2.4, Math.max(1.3, Math.min(innerWidth, innerHeight) / 360));
  }

  // Returns the point of the pond that is at a point of the window.
  inPond(x, y, camera) {
    return {
      x: camera.x + (x - innerWidth / 2) / this.#zoom,
      y: camera.y + (y - innerHeight / 2) / this.#zoom,
    };
  }

  #onScreen(swimmer, camera) {
    return {
      x: innerWidth / 2 + (swimmer.x - camera.x) * this.#zoom,
      y: innerHeight / 2 + (swimmer.y - camera.y) * this.#zoom,
    };
  }

  paint(pond, now) {
    const context = this.#context;
    context.setTransform(this.#ratio, 0, 0, this.#ratio, 0, 0);
    this.#water();
    this.#drift(pond.camera, now);
    for (const swimmer of pond.swimmers()) {
      const at = this.#onScreen(swimmer, pond.camera);
      const beyond =
        at.x < -40 || at.y < -40 || at.x > innerWidth + 40 || at.y > innerHeight + 40;
      if (beyond) this.#arrow(at, colour(swimmer, pond));
      else this.#tadpole(swimmer, pond, now);
    }
    for (const swimmer of pond.swimmers()) this.#words(swimmer, pond, now);
  }

  #water() {
    const context = this.#context;
    const reach = Math.max(innerWidth, innerHeight);
    const light = context.createRadialGradient(
      innerWidth / 2, innerHeight * 0.35, 0, innerWidth / 2, innerHeight / 2, reach * 0.8);
    light.addColorStop(0, "#1b5260");
    light.addColorStop(0.55, "#113946");
    light.addColorStop(1, "#0b2530");
    context.fillStyle = light;
    context.fillRect(0, 0, innerWidth, innerHeight);
  }

  // What floats shows that one swims where there is nothing else.
  #drift(camera, now) {
    const context = this.#context;
    const sway = this.#still.matches ? 0 : now / 9_000;
    context.fillStyle = "rgb(190 235 230 / 30%)";
    for (const mote of this.#motes) {
      const x = wrap(mote.x * innerWidth - camera.x * mote.depth * this.#zoom + sway * 60 * mote.depth, innerWidth);
      const y = wrap(mote.y * innerHeight - camera.y * mote.depth * this.#zoom - sway * 35 * mote.depth, innerHeight);
      context.beginPath();
      context.arc(x, y, mote.size * mote.depth, 0, 2 * Math.PI);
      context.fill();
    }
  }

  #tadpole(swimmer, pond, now) {
    const context = this.#context;
    const shade = colour(swimmer, pond);
    context.save();
    context.translate(innerWidth / 2, innerHeight / 2);
    context.scale(this.#zoom, this.#zoom);
    context.translate(-pond.camera.x, -pond.camera.y);
    context.globalAlpha = swimmer.asleep(now) ? 0.45 : 1;
    context.strokeStyle = context.fillStyle = shade;
    context.lineCap = "round";
    let from = swimmer;
    swimmer.tail.forEach((joint, index) => {
      context.lineWidth = 3.4 * (1 - index / swimmer.tail.length) + 0.4;
      context.beginPath();
      context.moveTo(from.x, from.y);
      context.lineTo(joint.x, joint.y);
      context.stroke();
      from = joint;
    });
    context.shadowColor = shade;
    context.shadowBlur = 8 * this.#ratio;
    context.translate(swimmer.x, swimmer.y);
    context.rotate(swimmer.angle);
    context.beginPath();
    context.ellipse(0, 0, 5.6, 4.6, 0, 0, 2 * Math.PI);
    context.fill();
    context.shadowBlur = 0;
    context.fillStyle = "#0b2530";
    for (const side of [-1.9, 1.9]) {
      context.beginPath();
      context.arc(2.6, side, 0.9, 0, 2 * Math.PI);
      context.fill();
    }
    context.restore();
  }

  #words(swimmer, pond, now) {
    const context = this.#context;
    const at = this.#onScreen(swimmer, pond.camera);
    context.textAlign = "center";
    context.textBaseline = "top";
    context.font = "13px system-ui, sans-serif";
    context.fillStyle = "rgb(230 244 243 / 75%)";
    context.fillText(swimmer.name, at.x, at.y + 10 * this.#zoom, BUBBLE_WIDTH);
    let bottom = at.y - 12 * this.#zoom;
    for (const { text, until } of [...swimmer.speeches].reverse()) {
      bottom = this.#bubble(text, at.x, bottom, Math.min(1, (until - now) / 800)) - 6;
    }
  }

  // Returns where its top is.
  #bubble(text, x, bottom, opacity) {
    const context = this.#context;
    context.font = "14px system-ui, sans-serif";
    const lines = broken(text, (line) => context.measureText(line).width <= BUBBLE_WIDTH);
    const width = Math.max(...lines.map((line) => context.measureText(line).width)) + 20;
    const height = lines.length * 19 + 10;
    const top = bottom - height;
    context.globalAlpha = Math.max(0, opacity);
    context.fillStyle = "rgb(230 244 243 / 92%)";
    context.beginPath();
    context.roundRect(x - width / 2, top, width, height, 11);
    context.fill();
    context.fillStyle = "#0b2530";
    lines.forEach((line, index) => context.fillText(line, x, top + 7 + index * 19));
    context.globalAlpha = 1;
    return top;
  }

  #arrow(at, shade) {
    const context = this.#context;
    const middle = { x: innerWidth / 2, y: innerHeight / 2 };
    const [dx, dy] = [at.x - middle.x, at.y - middle.y];
    const scale = Math.min((middle.x - MARGIN) / Math.abs(dx || 1), (middle.y - MARGIN) / Math.abs(dy || 1));
    context.save();
    context.translate(middle.x + dx * scale, middle.y + dy * scale);
    context.rotate(Math.atan2(dy, dx));
    context.globalAlpha = 0.75;
    context.fillStyle = shade;
    context.beginPath();
    context.moveTo(9, 0);
    context.lineTo(-6, 6);
    context.lineTo(-6, -6);
    context.fill();
    context.restore();
  }
}

// The same one has the same colour in every page.
function colour(swimmer, pond) {
  if (swimmer === pond.me) return OWN;
  let hash = 7;
  for (const sign of String(swimmer.id)) hash = (hash * 31 + sign.codePointAt(0)) % 360;
  return `hsl(${hash} 70% 78%)`;
}

function wrap(value, size) {
  return ((value % size) + size) % size;
}

// Breaks a text into lines that fit, between words where there are any.
function broken(text, fits) {
  const lines = [];
  let line = "";
  for (const word of text.match(/\S{1,24}\s*/gu) ?? [text]) {
    if (line && !fits((line + word).trim())) {
      lines.push(line.trim());
      line = "";
    }
    line += word;
  }
  lines.push(line.trim());
  if (lines.length <= MOST_LINES) return lines;
  return [...lines.slice(0, MOST_LINES - 1), `${lines[MOST_LINES - 1]}…`];
}
