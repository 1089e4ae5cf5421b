import type { PageProps } from "../shell.tsx";

export function FeaturePage({ dictionary }: PageProps) {
  return <h1>FeaturePage of {dictionary.name}</h1>;
}
