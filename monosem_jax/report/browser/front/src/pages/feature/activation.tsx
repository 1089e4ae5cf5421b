// How often the feature fires with which activation.

import type { FeatureRecord, ProxyScore } from "../../records.ts";
import { go, type Route, withQuery } from "../../route.ts";
import { digits, share, visible, whole } from "../../text.ts";
import { HistogramChart, type Part } from "../../ui/histogram.tsx";
import { Absent } from "../../ui/note.tsx";

export function Activation({ record, route, tokens }: { record: FeatureRecord; route: Route; tokens: number }) {
  const [x, y] = [route.query.get("x") === "log" ? "log" : "", route.query.get("y") === "log" ? "log" : ""];
  const of = (x === "log" ? record.log_histogram : record.linear_histogram) ?? record.linear_histogram ?? record.log_histogram;
  const logX = of !== null && of === record.log_histogram;
  const measured = record.proxies.filter((p) => p.pearson !== null).sort((a, b) => (b.pearson ?? 0) - (a.pearson ?? 0));
  const asked = route.query.get("proxy");
  const proxy = asked === "none" ? undefined : measured.find((p) => p.proxy === asked) ?? measured[0];
  const set = (key: string, value: string) => go(withQuery(route, { [key]: value }), true);
  return (
    <section aria-labelledby="activations" class="panel">
      <div class="section-head">
        <h2 id="activations">Activations</h2>
        {of && (
          <div class="row">
            <Toggle name="activation" value={logX ? "log" : ""} choose={(v) => set("x", v)} can={record.log_histogram !== null && record.linear_histogram !== null} />
            <Toggle name="count" value={y} choose={(v) => set("y", v)} can />
          </div>
        )}
      </div>
      {of ? (
        <>
          <HistogramChart
            of={of}
            logX={logX}
            logY={y === "log"}
            parts={proxy ? partsOf(proxy, record.largest) : []}
            label={spoken(record, tokens)}
            unit="firings"
            height={270}
            marks={Array.from({ length: 11 }, (_, i) => (record.largest * (i + 1)) / 12)}
          />
          <p class="small quiet caption">
            {whole(record.fired)} firings on {whole(tokens)} tokens ({share(record.density)}); the others, where it is 0, are not drawn.
            {!logX && " Ticks below the axis: twelfths of the maximum."}
          </p>
          {measured.length > 0 && <Proxy measured={measured} proxy={proxy} choose={(p) => set("proxy", p)} />}
        </>
      ) : (
        <Absent>{record.density === 0 ? "It never fired, so there is no histogram." : "The records hold no histogram of its activations."}</Absent>
      )}
    </section>
  );
}

function Toggle({ name, value, choose, can }: { name: string; value: string; choose: (v: string) => void; can: boolean }) {
  if (!can) return null;
  return (
    <div class="segmented small" role="group" aria-label={`Scale of the ${name}`}>
      <span class="quiet">{name}</span>
      <button type="button" aria-pressed={value === ""} onClick={() => choose("")}>linear</button>
      <button type="button" aria-pressed={value === "log"} onClick={() => choose("log")}>log</button>
    </div>
  );
}

function Proxy({ measured, proxy, choose }: { measured: ProxyScore[]; proxy: ProxyScore | undefined; choose: (p: string) => void }) {
  return (
    <p class="small legend-row">
      {proxy && (
        <>
          <span class="key"><span class="box holds" aria-hidden="true" /><span>proxy <b>{visible(proxy.proxy)}</b> holds</span></span>
          <span class="key"><span class="box fails" aria-hidden="true" /> it does not</span>
          {proxy.specificity.some((s) => s === null) && <span class="key"><span class="box unsure" aria-hidden="true" /> too few firings to say</span>}
          <span class="quiet">measured in each twelfth of the maximum; a bar is divided in proportion</span>
        </>
      )}
      <label>
        <span class="quiet">colour by </span>
        <select value={proxy?.proxy ?? "none"} onChange={(e) => choose(e.currentTarget.value)}>
          {measured.map((p) => <option value={p.proxy}>{visible(p.proxy)}</option>)}
          <option value="none">no proxy</option>
        </select>
      </label>
    </p>
  );
}

function partsOf(proxy: ProxyScore, largest: number): Part[] {
  const n = proxy.specificity.length;
  const holds = (v: number) => proxy.specificity[Math.max(Math.min(Math.ceil((n * v) / largest) - 1, n - 1), 0)] ?? null;
  const fails = (v: number) => {
    const share = holds(v);
    return share === null ? null : 1 - share;
  };
  return [
    { name: visible(proxy.proxy), colour: "--s0", share: holds },
    { name: "not", colour: "--s1", share: fails },
  ];
}

function spoken(record: FeatureRecord, tokens: number): string {
  const h = record.linear_histogram;
  const start = `Histogram of the activations of ${whole(record.fired)} firings on ${whole(tokens)} tokens, up to ${digits(record.largest)}`;
  if (!h) return start;
  const all = h.counts.reduce((a, b) => a + b, 0);
  let below = 0;
  const middle = h.counts.findIndex((n) => (below += n) >= all / 2);
  return `${start}; half of them are below ${digits(h.edges[middle + 1] ?? record.largest)}`;
}
