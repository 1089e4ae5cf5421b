// What the map shows, and what it tells of gestures.

export interface Look {
  place: Uint8Array;
  order: Uint32Array;
  shown: (i: number) => boolean;
  marked: number[]; // points with a ring
  outline: number[] | null; // polygon of the lasso, x, y, … in the plane
}

export interface Listener {
  view(at: string): void; // "x,y,zoom" after it changed
  hover(point: number, x: number, y: number): void; // -1: none
  choose(point: number): void;
  lasso(polygon: number[]): void;
}
