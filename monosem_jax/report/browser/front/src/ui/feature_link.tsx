// A feature in a list: its number, a link where its records are in the browser, its top tokens and its label.

import type { Named } from "../names.ts";
import { addressOf } from "../relations.ts";
import type { ComparedSet, Site } from "../site.ts";
import { visible } from "../text.ts";
import { Chip, shortened } from "./chip.tsx";
import "../styles/feature_link.css";

const TOKENS = 3;

export function Tokens({ tokens, most = TOKENS }: { tokens: string[]; most?: number }) {
  return (
    <span class="name-tokens">
      {tokens.slice(0, most).map((token) => (
        <Chip token={token} />
      ))}
    </span>
  );
}

export function FeatureLink({ site, set, feature, name, plain }: {
  site: Site;
  set: ComparedSet;
  feature: number;
  name?: Named;
  plain?: boolean; // without the name of the set
}) {
  const address = addressOf(site, set, feature);
  const text = plain ? String(feature) : `${visible(set.name)} ${feature}`;
  return (
    <span class="feature-name">
      {address ? <a href={address}>{text}</a> : <span title="The records of this dictionary are not in this browser">{text}</span>}
      {name && <Tokens tokens={name.tokens} />}
      {name?.label && <span class="quiet small">{shortened(visible(name.label))}</span>}
    </span>
  );
}
