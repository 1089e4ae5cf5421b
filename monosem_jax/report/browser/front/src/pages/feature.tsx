import { useEffect, useState } from "preact/hooks";
import { MissingData } from "../data.ts";
import type { FeatureRecord } from "../records.ts";
import { go, routeTo, routeToFeature, withQuery } from "../route.ts";
import type { PageProps } from "../shell.tsx";
import { type Dictionary, record as loadRecord } from "../site.ts";
import { visible, whole } from "../text.ts";
import { useOptional } from "../ui/loaded.tsx";
import { Absent } from "../ui/note.tsx";
import { TokenCard } from "../ui/tokens.tsx";
import "../styles/feature.css";
import { Activation } from "./feature/activation.tsx";
import { Evidence } from "./feature/evidence.tsx";
import { Intervals, RandomExamples, TopExamples } from "./feature/examples.tsx";
import { Header } from "./feature/header.tsx";
import { Jump, toSection } from "./feature/jump.tsx";
import { Help, useKeys } from "./feature/keys.tsx";
import { Logits } from "./feature/logits.tsx";
import { type Order, placeOf, useOrder } from "./feature/order.ts";
import { Related } from "./feature/related.tsx";
import { nameOf } from "./feature/sets.ts";
import { Effects, Neighbours, Proxies, TopTokens } from "./feature/tables.tsx";
import { Toolbar } from "./feature/toolbar.tsx";

export function FeaturePage(props: PageProps) {
  const { dictionary, route } = props;
  const set = route.query.get("set") || "features";
  const info = dictionary.sets[set];
  const feature = /^\d{1,9}$/.test(route.item) ? Number(route.item) : -1;
  if (!info) {
    return <Problem>This dictionary has no set “{visible(set.slice(0, 40))}”: it has {Object.keys(dictionary.sets).join(", ")}.</Problem>;
  }
  if (feature < 0 || feature >= info.n_features) {
    return (
      <Problem>
        The address asks for “{visible(route.item.slice(0, 40))}”: expected a number from 0 to {whole(info.n_features - 1)}.{" "}
        <a href={routeTo(dictionary.id, "features")}>All features</a>
      </Problem>
    );
  }
  return <One {...props} set={set} feature={feature} />;
}

const Problem = ({ children }: { children: preact.ComponentChildren }) => (
  <>
    <h1>Feature</h1>
    <p class="problem" role="alert">{children}</p>
  </>
);

function One({ site, dictionary, route, set, feature }: PageProps & { set: string; feature: number }) {
  const found = useOptional(() => loadRecord(dictionary, set, feature).catch(unlessPartial(dictionary, set)), `${dictionary.id}/${set}/${feature}`);
  const order = useOrder(dictionary, set, feature);
  const [help, setHelp] = useState(false);
  const loaded = "value" in found || found.problem !== undefined;
  const record = found.value ?? null;
  const place = order && placeOf(order, feature);
  const more = useLater(record ? `${dictionary.id}/${set}/${feature}` : "");
  usePrefetch(dictionary, set, loaded, order, feature);
  const to = (n: number | null | undefined) => n !== null && n !== undefined && go(routeToFeature(dictionary.id, n, set));
  const [next, previous] = [() => to(place?.next), () => to(place?.previous)];
  const flip = (key: string, value: string) => go(withQuery(route, { [key]: route.query.get(key) === value ? "" : value }), true);
  useKeys({
    j: next,
    ArrowRight: next,
    k: previous,
    ArrowLeft: previous,
    t: () => scrollTo({ top: 0 }),
    e: () => toSection("examples"),
    i: () => toSection("intervals"),
    r: () => toSection("random"),
    l: () => flip("shade", "loss"),
    x: () => flip("x", "log"),
    c: () => document.querySelector<HTMLButtonElement>("[data-key=copy]")?.click(),
    b: () => go(order?.address ?? routeTo(dictionary.id, "features")),
    "?": () => setHelp(true),
  });
  return (
    <div class="feature">
      <Toolbar record={record} dictionary={dictionary} set={set} feature={feature} order={order} help={() => setHelp(true)} />
      {loaded && !record && (
        <>
          <h1>{nameOf(set)} {feature}</h1>
          {found.problem ? (
            <p class="problem" role="alert">{found.problem}. Features of other files are not affected.</p>
          ) : (
            <Absent>The analysis wrote no record of it: it wrote {whole(dictionary.sets[set]?.records ?? 0)} records of this set.</Absent>
          )}
        </>
      )}
      {record && (
        <>
          <Header record={record} dictionary={dictionary} set={set} />
          <Jump site={site} dictionary={dictionary} set={set} feature={feature} made={more} />
          <div class="panels">
            <Activation record={record} route={route} tokens={dictionary.sets[set]?.tokens ?? 0} />
            <Logits record={record} dictionary={dictionary} set={set} />
          </div>
          <TopExamples record={record} route={route} />
          {more && <Below record={record} dictionary={dictionary} set={set} site={site} route={route} />}
          <TokenCard />
        </>
      )}
      <Help open={help} close={() => setHelp(false)} />
    </div>
  );
}

/** What lies below the first screen. */
function Below({ record, dictionary, set, site, route }: PageProps & { record: FeatureRecord; set: string }) {
  return (
    <>
      <Evidence record={record} dictionary={dictionary} />
      <Intervals record={record} route={route} />
      <RandomExamples record={record} />
      <div class="panels">
        <TopTokens record={record} />
        <Neighbours record={record} dictionary={dictionary} />
        <Proxies record={record} />
        <Effects record={record} />
      </div>
      <Related site={site} dictionary={dictionary} set={set} feature={record.feature} />
      <Provenance dictionary={dictionary} set={set} record={record} compared={site.comparison !== null} />
    </>
  );
}

/** Whether the first screen of `key` was painted: what lies below is made after it. */
function useLater(key: string): boolean {
  const [painted, setPainted] = useState("");
  useEffect(() => {
    if (!key) return;
    let timer = 0;
    const frame = requestAnimationFrame(() => {
      timer = window.setTimeout(() => setPainted(key));
    });
    const hidden = window.setTimeout(() => setPainted(key), 200); // a page in the background has no frames
    return () => {
      cancelAnimationFrame(frame);
      clearTimeout(timer);
      clearTimeout(hidden);
    };
  }, [key]);
  return key !== "" && painted === key;
}

/** A chunk of a set in which only some features have records may not have been written at all. */
const unlessPartial = (dictionary: Dictionary, set: string) => (error: Error) => {
  const info = dictionary.sets[set];
  if (error instanceof MissingData && error.message.endsWith("is missing") && info && info.records < info.n_features) return null;
  throw error;
};

/** Loads the chunks of the features before and after, once this one is shown. */
function usePrefetch(dictionary: Dictionary, set: string, loaded: boolean, order: Order | undefined, feature: number): void {
  useEffect(() => {
    if (!loaded || !order) return;
    const { next, previous } = placeOf(order, feature);
    const timer = setTimeout(() => {
      for (const n of [next, previous]) if (n !== null) loadRecord(dictionary, set, n).catch(() => undefined); // shown when it is opened
    }, 150);
    return () => clearTimeout(timer);
  }, [dictionary, set, loaded, order, feature]);
}

function Provenance({ dictionary, set, record, compared }: { dictionary: Dictionary; set: string; record: FeatureRecord; compared: boolean }) {
  const hash = dictionary.run["dictionary sha256"];
  const tokens = dictionary.sets[set]?.tokens ?? 0;
  return (
    <footer class="provenance small quiet">
      {nameOf(set)} {record.feature} of <a href={routeTo(dictionary.id, "overview")}>{visible(dictionary.name)}</a>
      {typeof hash === "string" && <> (sha256 <code>{visible(hash.slice(0, 12))}</code>)</>} · site <code>{visible(dictionary.site)}</code> · measured on{" "}
      {whole(tokens)} held-out tokens
      {!compared && <> · twins in other runs, parents and children: <a href={routeTo("", "splitting")}>need a comparison</a></>}
    </footer>
  );
}
