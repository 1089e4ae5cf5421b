import type { PageProps } from "../shell.tsx";

export function MapPage({ dictionary }: PageProps) {
  return <h1>MapPage of {dictionary.name}</h1>;
}
