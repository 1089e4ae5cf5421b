// The keys of a feature's page, and the dialog that lists them.

import { useEffect, useRef } from "preact/hooks";

export const KEYS: [keys: string[], does: string][] = [
  [["j", "→"], "next feature"],
  [["k", "←"], "previous feature"],
  [["t"], "top of the page"],
  [["e"], "top examples"],
  [["i"], "examples by activation"],
  [["r"], "random tokens"],
  [["l"], "shade by loss or by activation"],
  [["x"], "activations on a linear or a log scale"],
  [["c"], "copy the link to this view"],
  [["b"], "back to the list of features"],
  [["/"], "search"],
  [["?"], "this list"],
];

const IN_TOKENS: [keys: string[], does: string][] = [
  [["Tab"], "to the tokens of the first example of a section"],
  [["→", "←"], "next and previous token"],
  [["↓", "↑"], "next and previous example"],
  [["Esc"], "hide the facts about the token"],
];

export type Actions = Partial<Record<string, () => void>>;

/** Calls the action of a key, but not while someone types, in a dialog, or where another element used the key. */
export function useKeys(actions: Actions): void {
  const latest = useRef(actions);
  latest.current = actions;
  useEffect(() => {
    const pressed = (event: KeyboardEvent) => {
      if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
      const target = event.target as Element | null;
      if (target?.closest?.("input, textarea, select, [contenteditable], dialog, [role=listbox], [role=slider]")) {
        const moves = event.key.startsWith("Arrow");
        if (moves || !target.closest("[role=listbox]")) return;
      }
      if (event.key.startsWith("Arrow") && target?.closest?.(".scroll, blockquote")) return; // they scroll it
      const action = latest.current[event.key];
      if (!action) return;
      event.preventDefault();
      action();
    };
    addEventListener("keydown", pressed);
    return () => removeEventListener("keydown", pressed);
  }, []);
}

export function Help({ open, close }: { open: boolean; close: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    if (open) dialog.current?.showModal();
    else dialog.current?.close();
  }, [open]);
  return (
    <dialog class="help card" ref={dialog} onClose={close} aria-labelledby="help-title">
      <h2 id="help-title">Keys</h2>
      <Rows of={KEYS} />
      <h3>Among tokens</h3>
      <Rows of={IN_TOKENS} />
      <button type="button" onClick={close}>close</button>
    </dialog>
  );
}

const Rows = ({ of }: { of: typeof KEYS }) => (
  <dl>
    {of.map(([keys, does]) => (
      <div><dt>{keys.map((k) => <kbd>{k}</kbd>)}</dt><dd>{does}</dd></div>
    ))}
  </dl>
);
