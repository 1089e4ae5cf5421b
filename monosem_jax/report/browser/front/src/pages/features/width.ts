// Whether the window is as narrow as a phone: rows are cards there.

import { useEffect, useState } from "preact/hooks";

const query = matchMedia("(max-width: 760px)"); // as in styles/features.css

export function useNarrow(): boolean {
  const [narrow, setNarrow] = useState(query.matches);
  useEffect(() => {
    const changed = () => setNarrow(query.matches);
    query.addEventListener("change", changed);
    return () => query.removeEventListener("change", changed);
  }, []);
  return narrow;
}
