import type { ComponentChildren } from "preact";

/** What may be wider than its place: it scrolls by itself, also with the keys. */
export const Scroll = ({ label, children }: { label: string; children: ComponentChildren }) => (
  <div class="scroll" role="group" aria-label={label} tabIndex={0}>{children}</div>
);
