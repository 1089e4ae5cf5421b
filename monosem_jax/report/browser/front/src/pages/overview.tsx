import type { PageProps } from "../shell.tsx";

export function Overview({ dictionary }: PageProps) {
  return <h1>Overview of {dictionary.name}</h1>;
}
