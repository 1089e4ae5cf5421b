// The canvas of the map: what is in view, and gestures of mouse, fingers and keyboard.

import { hex, palette } from "./colours.ts";
import type { Listener, Look } from "./look.ts";
import { type Marks, paint, type View } from "./paint.ts";
import type { Points } from "./points.ts";

const RINGS = 400; // of marked points that are drawn
const NEAR = 12; // pixels within which a point is hit

export class Plot {
  lassoing = false;
  private view: View = { x: 0, y: 0, scale: 1 };
  private fit = 1;
  private look: Look | null = null;
  private hovered = -1;
  private drawing: number[] | null = null; // corners of a lasso that is being drawn, in pixels
  private fingers = new Map<number, { x: number; y: number }>();
  private moved = 0;
  private frame = 0;
  private image: ImageData | null = null;
  private told = 0;
  private readonly resized = new ResizeObserver(() => this.resize());
  private readonly themed = new MutationObserver(() => this.draw());
  lastMilliseconds = 0; // that the last drawing took

  constructor(
    readonly canvas: HTMLCanvasElement,
    private readonly points: Points,
    private readonly sets: number,
    private readonly listener: Listener,
    start: string | null,
  ) {
    this.resize();
    this.place(start);
    this.resized.observe(canvas);
    this.themed.observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
    canvas.addEventListener("wheel", this.wheel, { passive: false });
    canvas.addEventListener("pointerdown", this.down);
    canvas.addEventListener("pointermove", this.move);
    canvas.addEventListener("pointerup", this.up);
    canvas.addEventListener("pointercancel", this.up);
    canvas.addEventListener("pointerleave", this.leave);
    canvas.addEventListener("keydown", this.key);
    canvas.addEventListener("focus", this.again);
    canvas.addEventListener("blur", this.again);
  }

  end(): void {
    this.resized.disconnect();
    this.themed.disconnect();
    cancelAnimationFrame(this.frame);
    clearTimeout(this.told);
  }

  show(look: Look): void {
    this.look = look;
    this.draw();
  }

  /** Moves to "x,y,zoom", or to where everything is in view. */
  place(at: string | null): void {
    const { box } = this.points;
    const [x, y, zoom] = (at ?? "").split(",").map(Number);
    const known = [x, y, zoom].every((v) => Number.isFinite(v)) && at !== null && zoom! > 0;
    this.view = known
      ? { x: x!, y: y!, scale: this.fit * zoom! }
      : { x: (box.x0 + box.x1) / 2, y: (box.y0 + box.y1) / 2, scale: this.fit };
    this.draw();
  }

  get at(): string {
    const { x, y, scale } = this.view;
    return [x, y, scale / this.fit].map((v) => Number(v.toPrecision(4))).join(",");
  }

  zoom(factor: number, px = this.canvas.width / 2, py = this.canvas.height / 2): void {
    const before = this.plane(px, py);
    this.view.scale = Math.min(this.fit * 400, Math.max(this.fit * 0.5, this.view.scale * factor));
    const after = this.plane(px, py);
    this.view.x += before[0] - after[0];
    this.view.y += before[1] - after[1];
    this.changed();
  }

  /** The nearest points to the middle that are shown. */
  middle(most: number): number[] {
    const reach = Math.max(this.canvas.width, this.canvas.height) / 2 / this.view.scale;
    for (let distance = reach / 16; ; distance *= 2) {
      const found = this.points.grid.near(this.view.x, this.view.y, distance, most, (i) => this.look?.shown(i) ?? true);
      if (found.length >= most || distance > 4 * reach) return found;
    }
  }

  private resize(): void {
    const ratio = devicePixelRatio || 1;
    const { clientWidth, clientHeight } = this.canvas;
    const { box } = this.points;
    const zoom = this.view.scale / this.fit;
    this.canvas.width = Math.max(1, Math.round(clientWidth * ratio));
    this.canvas.height = Math.max(1, Math.round(clientHeight * ratio));
    this.fit = 0.94 * Math.min(this.canvas.width / Math.max(box.x1 - box.x0, 1e-9), this.canvas.height / Math.max(box.y1 - box.y0, 1e-9));
    this.view.scale = this.fit * zoom;
    this.draw();
  }

  private changed(): void {
    this.draw();
    clearTimeout(this.told);
    this.told = window.setTimeout(() => this.listener.view(this.at), 250);
  }

  private again = () => this.draw();

  private draw(): void {
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(() => this.drawNow());
  }

  private drawNow(): void {
    const context = this.canvas.getContext("2d");
    if (!context || !this.look) return;
    const begin = performance.now();
    const { points, look, view, canvas } = this;
    if (this.image?.width !== canvas.width || this.image.height !== canvas.height) this.image = context.createImageData(canvas.width, canvas.height);
    const image = this.image;
    const marks: Marks = { ...points, place: look.place, order: look.order, radius: this.radii() };
    const colours = getComputedStyle(document.documentElement);
    const ground = hex(colours.getPropertyValue("--raised"));
    paint(image, view, marks, palette(), ground);
    context.putImageData(image, 0, 0);
    const ink = colours.getPropertyValue("--ink");
    const ratio = devicePixelRatio || 1;
    context.lineWidth = 1.5 * ratio;
    context.strokeStyle = ink;
    for (const i of [...look.marked.slice(0, RINGS), ...(this.hovered >= 0 ? [this.hovered] : [])]) {
      const [x, y] = this.pixel(points.x[i]!, points.y[i]!);
      context.beginPath();
      context.arc(x, y, (i === this.hovered ? 7 : 5) * ratio, 0, 7);
      context.stroke();
    }
    this.lines(context, colours.getPropertyValue("--accent"), ratio);
    this.lastMilliseconds = performance.now() - begin;
    canvas.dataset.milliseconds = this.lastMilliseconds.toFixed(1);
  }

  private lines(context: CanvasRenderingContext2D, colour: string, ratio: number): void {
    const corners = this.drawing ?? this.look?.outline?.flatMap((v, k, all) => (k % 2 ? [] : this.pixel(v, all[k + 1]!))) ?? [];
    context.strokeStyle = colour;
    context.setLineDash([5 * ratio, 4 * ratio]);
    context.beginPath();
    for (let k = 0; k < corners.length; k += 2) context.lineTo(corners[k]!, corners[k + 1]!);
    context.closePath();
    context.stroke();
    context.setLineDash([]);
    if (document.activeElement !== this.canvas || !this.canvas.matches(":focus-visible")) return;
    const [x, y] = [this.canvas.width / 2, this.canvas.height / 2]; // the middle, for the keyboard
    context.beginPath();
    for (const [a, b] of [[1, 0], [0, 1]] as const) {
      context.moveTo(x - 9 * a * ratio, y - 9 * b * ratio);
      context.lineTo(x + 9 * a * ratio, y + 9 * b * ratio);
    }
    context.stroke();
  }

  /** Radii by set, those of small dictionaries larger, and all growing as one comes nearer. */
  private radii(): Float32Array {
    const n = this.points.n;
    const base = n > 40_000 ? 1 : n > 10_000 ? 1.25 : 1.75;
    const near = Math.min(3, Math.max(1, (this.view.scale / this.fit) ** 0.4));
    const ratio = devicePixelRatio || 1;
    return Float32Array.from({ length: this.sets }, (_, k) => base * near * ratio * (1 + 0.25 * (this.sets - 1 - k)));
  }

  private pixel = (x: number, y: number): [number, number] => [
    this.canvas.width / 2 + (x - this.view.x) * this.view.scale,
    this.canvas.height / 2 - (y - this.view.y) * this.view.scale,
  ];

  private plane = (px: number, py: number): [number, number] => [
    this.view.x + (px - this.canvas.width / 2) / this.view.scale,
    this.view.y - (py - this.canvas.height / 2) / this.view.scale,
  ];

  private where(e: MouseEvent): { x: number; y: number } {
    const box = this.canvas.getBoundingClientRect();
    const ratio = this.canvas.width / Math.max(1, box.width);
    return { x: (e.clientX - box.left) * ratio, y: (e.clientY - box.top) * ratio };
  }

  private hit(x: number, y: number): number {
    const [a, b] = this.plane(x, y);
    const distance = (NEAR * (devicePixelRatio || 1)) / this.view.scale;
    return this.points.grid.near(a, b, distance, 1, (i) => this.look?.shown(i) ?? true)[0] ?? -1;
  }

  private wheel = (e: WheelEvent) => {
    e.preventDefault();
    const { x, y } = this.where(e);
    this.zoom(Math.exp(-Math.max(-60, Math.min(60, e.deltaY)) * 0.006), x, y);
  };

  private down = (e: PointerEvent) => {
    if (e.button !== 0) return;
    this.canvas.setPointerCapture(e.pointerId);
    this.fingers.set(e.pointerId, this.where(e));
    this.moved = 0;
    this.listener.hover(-1, 0, 0);
    if ((this.lassoing || e.shiftKey) && this.fingers.size === 1) {
      const { x, y } = this.where(e);
      this.drawing = [x, y];
    } else this.drawing = null;
  };

  private move = (e: PointerEvent) => {
    const now = this.where(e);
    const last = this.fingers.get(e.pointerId);
    if (!last) return this.point(now.x, now.y);
    const before = [...this.fingers.values()];
    this.fingers.set(e.pointerId, now);
    this.moved += Math.hypot(now.x - last.x, now.y - last.y);
    if (this.drawing) {
      const [x, y] = this.drawing.slice(-2) as [number, number];
      if (Math.hypot(now.x - x, now.y - y) > 5) this.drawing.push(now.x, now.y);
      this.draw();
    } else if (before.length === 2) {
      const after = [...this.fingers.values()];
      const [gap, gapNow] = [before, after].map(([a, b]) => Math.hypot(a!.x - b!.x, a!.y - b!.y)) as [number, number];
      this.zoom(gapNow / Math.max(gap, 1), (after[0]!.x + after[1]!.x) / 2, (after[0]!.y + after[1]!.y) / 2);
    } else {
      this.view.x -= (now.x - last.x) / this.view.scale;
      this.view.y += (now.y - last.y) / this.view.scale;
      this.changed();
    }
  };

  private point(x: number, y: number): void {
    const found = this.hit(x, y);
    const ratio = devicePixelRatio || 1;
    this.listener.hover(found, x / ratio, y / ratio);
    this.canvas.style.cursor = found >= 0 ? "pointer" : this.lassoing ? "crosshair" : "grab";
    if (found !== this.hovered) {
      this.hovered = found;
      this.draw();
    }
  }

  private up = (e: PointerEvent) => {
    if (!this.fingers.delete(e.pointerId)) return;
    const drawn = this.drawing;
    this.drawing = null;
    if (drawn && drawn.length >= 6) {
      const step = Math.ceil(drawn.length / 2 / 48);
      const corners: number[] = [];
      for (let k = 0; k < drawn.length; k += 2 * step) corners.push(...this.plane(drawn[k]!, drawn[k + 1]!).map((v) => Number(v.toPrecision(4))));
      this.listener.lasso(corners);
    } else if (this.moved < 6 && e.type === "pointerup") {
      const { x, y } = this.where(e);
      const found = this.hit(x, y);
      if (found >= 0) this.listener.choose(found);
    }
    this.draw();
  };

  private leave = () => {
    if (this.hovered >= 0) this.draw();
    this.hovered = -1;
    this.listener.hover(-1, 0, 0);
  };

  private key = (e: KeyboardEvent) => {
    if (e.ctrlKey || e.metaKey || e.altKey) return;
    const step = 0.12 * Math.min(this.canvas.width, this.canvas.height);
    const ways: Record<string, [number, number]> = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
    const way = ways[e.key];
    if (way) {
      this.view.x += (way[0] * step) / this.view.scale;
      this.view.y += (way[1] * step) / this.view.scale;
      this.changed();
    } else if (e.key === "+" || e.key === "=") this.zoom(1.4);
    else if (e.key === "-") this.zoom(1 / 1.4);
    else if (e.key === "0") (this.place(null), this.changed());
    else if (e.key === "Enter") {
      const [nearest] = this.middle(1);
      if (nearest !== undefined) this.listener.choose(nearest);
    } else return;
    e.preventDefault();
  };
}
