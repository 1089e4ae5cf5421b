import type { Dictionary, Site } from "../../site.ts";

interface Props {
  site: Site;
  dictionary: Dictionary;
  set: string;
  feature: number;
}

export function Related(_: Props) {
  return null;
}
