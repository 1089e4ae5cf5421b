// A value that comes later, thrown to the page's guard when it cannot come.

import { useEffect, useState } from "preact/hooks";

/** The value of a promise, or undefined until it is there. `key` says what is loaded: another key loads again, and the
 * old value is not shown meanwhile. A failure is thrown, and shown in place of the page. */
export function useLoaded<T>(load: () => Promise<T>, key: string): T | undefined {
  const [state, setState] = useState<{ key: string; value?: T; error?: Error }>({ key });
  useEffect(() => {
    let current = true;
    load().then(
      (value) => current && setState({ key, value }),
      (error: Error) => current && setState({ key, error }),
    );
    return () => {
      current = false;
    };
  }, [key]);
  if (state.key !== key) return undefined;
  if (state.error) throw state.error;
  return state.value;
}

/** The same, but a failure is given back as text for a part of a page that can be absent. */
export function useOptional<T>(load: () => Promise<T>, key: string): { value?: T; problem?: string } {
  return (
    useLoaded<{ value?: T; problem?: string }>(
      () => load().then((value) => ({ value }), (error: Error) => ({ problem: error.message })),
      key,
    ) ?? {}
  );
}
