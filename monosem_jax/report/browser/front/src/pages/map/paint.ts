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
  const pixels = new Uint32Array(data.buffer);
  pixels.fill(packed(ground));
  const whole = Uint32Array.from(palette, packed); // of a pixel that a disc covers
  const red = Uint8Array.from(palette, (c) => c[0]);
  const green = Uint8Array.from(palette, (c) => c[1]);
  const blue = Uint8Array.from(palette, (c) => c[2]);
  const { order, place, set, x, y } = marks;
  const byRadius = Array.from(marks.radius, stampOf);
  const { scale } = view;
  const [x0, y0] = [width / 2 - view.x * scale, height / 2 + view.y * scale];
  const reach = Math.ceil(Math.max(...marks.radius)) + 1;
  const [right, bottom] = [width - reach, height - reach];
  for (let k = 0; k < order.length; k++) {
    const i = order[k]!;
    const px = Math.round(x0 + x[i]! * scale);
    const py = Math.round(y0 - y[i]! * scale);
    if (px < reach || py < reach || px >= right || py >= bottom) continue; // a disc that the edge would cut is left out
    const { dx, dy, cover } = byRadius[set[i]!]!;
    const colour = place[i]!;
    for (let s = 0; s < dx.length; s++) {
      const at = px + dx[s]! + (py + dy[s]!) * width;
      const a = cover[s]!;
      if (a === 1) {
        pixels[at] = whole[colour]!;
        continue;
      }
      const under = pixels[at]!;
      const [r, g, b] = [under & 255, (under >> 8) & 255, (under >> 16) & 255];
      pixels[at] =
        (255 << 24) | ((b + (blue[colour]! - b) * a) << 16) | (((g + (green[colour]! - g) * a) << 8) & 0xff00) | (r + (red[colour]! - r) * a);
    }
  }
}

const packed = ([r, g, b]: [number, number, number]): number => ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0;
