// Points drawn into an image: 131,072 of them within a frame.

export interface View {
  x: number; // the middle, in the coordinates of the plane
  y: number;
  scale: number; // pixels of the canvas for 1
}

interface Stamp {
  dx: Int32Array;
  dy: Int32Array;
  cover: Float32Array;
}

const stamps = new Map<number, Stamp>();

/** The pixels of a disc with soft edges. */
function stampOf(radius: number): Stamp {
  const r = Math.round(radius * 4) / 4;
  const known = stamps.get(r);
  if (known) return known;
  const [dx, dy, cover]: number[][] = [[], [], []];
  const reach = Math.ceil(r);
  for (let y = -reach; y <= reach; y++) {
    for (let x = -reach; x <= reach; x++) {
      const c = Math.min(1, Math.max(0, r + 0.5 - Math.hypot(x, y)));
      if (c > 0.05) [dx!.push(x), dy!.push(y), cover!.push(c)];
    }
  }
  const stamp = { dx: Int32Array.from(dx!), dy: Int32Array.from(dy!), cover: Float32Array.from(cover!) };
  stamps.set(r, stamp);
  return stamp;
}

export interface Marks {
  order: Uint32Array; // points in the order in which they are drawn; those left out are not
  place: Uint8Array; // of their colours in the palette
  radius: Float32Array; // by set, pixels
  set: Uint8Array;
  x: Float32Array;
  y: Float32Array;
}

/** Draws points over a plain ground into `image`. */
export function paint(image: ImageData, view: View, marks: Marks, palette: [number, number, number][], ground: [number, number, number]): void {
  const { width, height, data } = image;
  const whole = new Uint32Array(data.buffer);
  whole.fill((255 << 24) | (ground[2] << 16) | (ground[1] << 8) | ground[0]);
  const { order, place, set, x, y } = marks;
  const byRadius = Array.from(marks.radius, stampOf);
  const [x0, y0] = [width / 2 - view.x * view.scale, height / 2 + view.y * view.scale];
  const reach = Math.ceil(Math.max(...marks.radius)) + 1;
  for (let k = 0; k < order.length; k++) {
    const i = order[k]!;
    const px = Math.round(x0 + x[i]! * view.scale);
    const py = Math.round(y0 - y[i]! * view.scale);
    if (px < -reach || py < -reach || px >= width + reach || py >= height + reach) continue;
    const { dx, dy, cover } = byRadius[set[i]!]!;
    const [r, g, b] = palette[place[i]!]!;
    for (let s = 0; s < dx.length; s++) {
      const cx = px + dx[s]!;
      const cy = py + dy[s]!;
      if (cx < 0 || cy < 0 || cx >= width || cy >= height) continue;
      const at = 4 * (cx + cy * width);
      const a = cover[s]!;
      data[at]! += (r - data[at]!) * a;
      data[at + 1]! += (g - data[at + 1]!) * a;
      data[at + 2]! += (b - data[at + 2]!) * a;
    }
  }
}
