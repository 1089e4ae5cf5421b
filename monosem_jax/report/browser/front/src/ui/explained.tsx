// An explanation in one line. The texts that it quotes keep to themselves, so that Arabic tokens between numbers do not
// turn the order of an explanation around.

import { visible } from "../text.ts";
import { direction } from "../tokens.ts";

const QUOTED = /("[^"]*")/;

export function Explained({ text, class: name }: { text: string; class?: string }) {
  const parts = text.split(QUOTED);
  const own = parts.filter((_, i) => i % 2 === 0).join(" ");
  return <bdi dir={direction(own)} class={name}>{parts.map((part, i) => (i % 2 ? <bdi>{visible(part)}</bdi> : visible(part)))}</bdi>;
}
