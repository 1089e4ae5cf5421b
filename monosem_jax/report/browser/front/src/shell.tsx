// The frame of every page: name of the dictionary, pages, theme, and what is shown when a page fails.

import { Component, type ComponentChildren, type ComponentType } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { MissingData } from "./data.ts";
import { Automata } from "./pages/automata.tsx";
import { Compare } from "./pages/compare.tsx";
import { FeaturePage } from "./pages/feature.tsx";
import { Features } from "./pages/features.tsx";
import { MapPage } from "./pages/map.tsx";
import { Overview } from "./pages/overview.tsx";
import { Rate } from "./pages/rate.tsx";
import { Splitting } from "./pages/splitting.tsx";
import { TryIt } from "./pages/try.tsx";
import { keepScroll, kept, scrollBack } from "./place.ts";
import { go, type Route, routeTo } from "./route.ts";
import type { Dictionary, Site } from "./site.ts";
import { Find } from "./ui/find.tsx";
import { ThemeButton } from "./ui/theme.tsx";

export interface PageProps {
  site: Site;
  dictionary: Dictionary; // of pages of the whole browser: the first
  route: Route;
}

interface Page {
  title: string;
  page: ComponentType<PageProps>;
  shared?: boolean; // of the whole browser, not of one dictionary
  hidden?: boolean; // not in the menu
}

const PAGES: Record<string, Page> = {
  overview: { title: "Overview", page: Overview },
  features: { title: "Features", page: Features },
  feature: { title: "Feature", page: FeaturePage, hidden: true },
  map: { title: "Map", page: MapPage },
  splitting: { title: "Splitting", page: Splitting, shared: true },
  automata: { title: "Automata", page: Automata, shared: true },
  compare: { title: "Compare", page: Compare, shared: true },
  try: { title: "Try it", page: TryIt },
  rate: { title: "Rate", page: Rate },
};

/** Shows what went wrong in a page, and leaves the rest of the browser usable. */
class Guard extends Component<{ children: ComponentChildren }, { error: Error | null }> {
  state = { error: null as Error | null };

  static getDerivedStateFromError(error: Error) {
    return { error };
  }

  render() {
    const { error } = this.state;
    if (!error) return this.props.children;
    const why = error instanceof MissingData ? `${error.message}. Other pages do not need it.` : `This page failed: ${error.message}`;
    return <p class="problem" role="alert">{why}</p>;
  }
}

export function Shell({ site, route }: { site: Site; route: Route }) {
  const first = site.dictionaries[0];
  const dictionary = site.dictionaries.find((d) => d.id === route.dictionary) ?? first;
  const name = Object.hasOwn(PAGES, route.page) ? route.page : "overview";
  const page = PAGES[name];
  const heading = useRef<HTMLElement>(null);
  const seen = useRef(false);
  const at = `${route.dictionary}/${route.page}/${route.item}`;
  useEffect(() => {
    document.title = `${page?.title ?? ""}${route.item ? ` ${route.item}` : ""} · ${site.title}`;
    if (seen.current) heading.current?.focus({ preventScroll: true }); // screen readers read the new page
    const left = kept().scroll ?? 0;
    if (seen.current && !left) scrollTo(0, 0);
    seen.current = true;
    if (name === "features") return; // the table finds its own place
    const ends = [keepScroll(), left ? scrollBack(left) : () => undefined];
    return () => ends.forEach((end) => end());
  }, [at]);
  if (!dictionary || !page) return <p class="problem" role="alert">This browser holds no dictionary.</p>;
  const Shown = page.page;
  return (
    <>
      <a class="skip" href="#content" onClick={(e) => (e.preventDefault(), heading.current?.focus())}>Skip to the page</a>
      <header class="top">
        <a class="brand" href={routeTo(first?.id ?? "", "overview")}>{site.title}</a>
        {site.dictionaries.length > 1 && !page.shared && (
          <label class="which">
            <span class="quiet">dictionary</span>
            <select aria-label="dictionary" value={dictionary.id} onChange={(e) => go(routeTo(e.currentTarget.value, page.hidden ? "features" : name))}>
              {site.dictionaries.map((d) => <option value={d.id}>{d.name}</option>)}
            </select>
          </label>
        )}
        <nav aria-label="Pages">
          {Object.entries(PAGES).filter(([, p]) => !p.hidden).map(([key, p]) => (
            <a
              href={routeTo(p.shared ? "" : dictionary.id, key)}
              aria-current={key === name || (key === "features" && name === "feature") ? "page" : undefined}
            >
              {p.title}
            </a>
          ))}
        </nav>
        <Find dictionary={dictionary} />
        <ThemeButton />
      </header>
      <main id="content" class="page" tabIndex={-1} ref={heading}>
        <Guard key={`${route.dictionary}/${name}`}>
          <Shown site={site} dictionary={dictionary} route={route} />
        </Guard>
      </main>
    </>
  );
}
