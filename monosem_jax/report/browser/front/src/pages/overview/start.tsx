// Features to look at first, by four questions.

import { routeTo, routeToFeature } from "../../route.ts";
import type { Dictionary } from "../../site.ts";
import { decimals, share, visible } from "../../text.ts";
import { Chip } from "../../ui/chip.tsx";
import type { OverviewData, Start } from "./data.ts";

const SHOWN = 5;

interface Way {
  title: string;
  about: string;
  all: string;
  sorted: boolean;
  items: { feature: number; name: string; value: string; token?: boolean }[];
  more?: boolean; // those that are not among the first are named below them
}

export function StartHere({ dictionary, data }: { dictionary: Dictionary; data: OverviewData }) {
  const tokens = (list: Start[] | undefined, value: (x: number) => string) =>
    (list ?? []).map((s) => ({ feature: s.feature, name: s.tokens[0] ?? "", value: value(s.value), token: true }));
  const ways: Way[] = [
    {
      title: "Best for a proxy",
      about: "correlation with where the text is of that kind",
      all: routeTo(dictionary.id, "features", "", { sort: "proxy" }),
      sorted: true,
      items: bestProxies(data),
      more: true,
    },
    {
      title: "Best explained",
      about: "judge's score, beside the token on which it fires most",
      all: routeTo(dictionary.id, "features", "", { sort: "score" }),
      sorted: true,
      items: tokens(data.start.explained, (x) => decimals(x)),
    },
    {
      title: "Densest",
      about: "share of tokens on which they fire: often the least clear",
      all: routeTo(dictionary.id, "features", "", { sort: "density" }),
      sorted: true,
      items: tokens(data.start.dense, share),
    },
    {
      title: "Drawn blindly",
      about: "what most features look like",
      all: routeTo(dictionary.id, "features"),
      sorted: false,
      items: tokens(data.start.drawn, share),
    },
  ].filter((w) => w.items.length > 0);
  if (!ways.length) return null;
  return (
    <section class="start" aria-label="Where to start">
      {ways.map((w) => (
        <div>
          <h2>{w.title}</h2>
          <p class="quiet small">{w.about}</p>
          <ul>
            {w.items.slice(0, SHOWN).map((i) => (
              <li>
                <a href={routeToFeature(dictionary.id, i.feature)}>
                  <span class="which-feature">{i.feature}</span>
                  {i.token ? <Chip token={i.name} /> : <bdi>{i.name}</bdi>}
                  <span class="quiet">{i.value}</span>
                </a>
              </li>
            ))}
          </ul>
          <div>
            {w.more && w.items.length > SHOWN && (
              <p class="small">
                <span class="quiet">also</span>{" "}
                {w.items.slice(SHOWN).map((i, k) => <>{k > 0 && ", "}<a href={routeToFeature(dictionary.id, i.feature)} title={`feature ${i.feature}, correlation ${i.value}`}><bdi>{i.name}</bdi></a></>)}
              </p>
            )}
            <a class="small" href={w.all}>{w.sorted ? "all, in this order" : "all features"}</a>
          </div>
        </div>
      ))}
    </section>
  );
}

/** The features that are best for a proxy; without proxies, those that are best for a label. */
function bestProxies({ proxies, categories }: OverviewData): Way["items"] {
  const found = proxies.flatMap((row) => {
    const best = row.best.find((b) => b.set === "features");
    return best?.pearson === undefined ? [] : [{ feature: best.feature, name: row.proxy, r: best.pearson }];
  });
  const labels = categories.map((c) => ({ feature: c.feature, name: c.label, r: c.feature_correlation }));
  return (found.length ? found : labels).sort((a, b) => b.r - a.r).map((b) => ({ feature: b.feature, name: visible(b.name), value: decimals(b.r) }));
}
