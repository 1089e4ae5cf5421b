import type { ComponentChildren } from "preact";

/** Why something is not shown. */
export const Absent = ({ children }: { children: ComponentChildren }) => <p class="absent">{children}</p>;

/** A warning beside a number or a section. */
export const Warning = ({ children }: { children: ComponentChildren }) => (
  <p class="warning"><span aria-hidden="true">⚠ </span>{children}</p>
);

/** A term whose meaning is shown on hover and to screen readers. */
export const Term = ({ children, means }: { children: ComponentChildren; means: string }) => (
  <span class="term" title={means}>{children}<span class="unseen"> ({means})</span></span>
);
