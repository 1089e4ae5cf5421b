// A table of any number of rows of one height: only those near the screen are in the document.

import { Component } from "preact";
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { go, routeToFeature } from "../../route.ts";
import { COLUMNS, type ColumnOf } from "./columns.tsx";
import { type Filter, SORTS } from "./filter.ts";
import { keep, kept } from "../../place.ts";
import type { Table } from "./table.ts";
import { useNarrow } from "./width.ts";

const ROW = 40; // pixels; as in styles/features.css
const CARD = 72; // on a phone
const SPARE = 6; // rows above and below the screen

interface Props {
  table: Table;
  rows: Uint32Array; // places of records, in order
  vocabulary: string[];
  filter: Filter;
  sortBy: (key: string) => void;
  opened: (index: number) => void;
  complete: boolean; // whether no more rows are to come
}

export function Grid({ table, rows, vocabulary, filter, sortBy, opened, complete }: Props) {
  const body = useRef<HTMLDivElement>(null);
  const head = useRef<HTMLDivElement>(null);
  const height = useNarrow() ? CARD : ROW;
  const [first, last] = useVisible(body, height, rows.length);
  const [active, setActive] = useState(kept().row ?? 0);
  const at = Math.min(active, rows.length - 1);
  const before = useRef(filter);
  useEffect(() => {
    if (before.current === filter) return;
    before.current = filter; // another choice starts at its first row
    setActive(0);
    if ((body.current?.getBoundingClientRect().top ?? 0) < (head.current?.getBoundingClientRect().bottom ?? 0)) show(body.current, head.current, 0, height);
  }, [filter]);
  useEffect(() => {
    if (at === active) keep({ row: at }); // not where only the first rows have come yet
  }, [at, active]);
  useStuckBelow(head);
  useKeptScroll(rows.length, height, complete);
  const columns = useMemo(() => COLUMNS.filter((c) => !c.needs || table.has(c.needs)), [table, table.version]);

  const latest = useRef({ rows, opened });
  latest.current = { rows, opened };
  const open = (index: number) => { // of whatever rows are shown now: a row keeps the one that it was drawn with
    const { rows, opened } = latest.current;
    setActive(index);
    keep({ row: index, scroll: scrollY });
    opened(index);
    go(routeToFeature(table.dictionary.id, table.columns.feature[rows[index] ?? 0] ?? 0, table.set));
  };
  const move = (to: number) => {
    const next = Math.max(0, Math.min(rows.length - 1, to));
    setActive(next);
    show(body.current, head.current, next, height);
  };
  const key = (e: KeyboardEvent) => {
    if (e.ctrlKey || e.metaKey || e.altKey || e.target !== e.currentTarget) return;
    const page = Math.max(1, Math.floor(innerHeight / height) - 4);
    const steps: Record<string, number> = {
      ArrowDown: at + 1, ArrowUp: at - 1, j: at + 1, k: at - 1, PageDown: at + page, PageUp: at - page, Home: 0, End: rows.length - 1,
    }; // prettier-ignore
    const to = steps[e.key];
    if (to !== undefined) move(to);
    else if (e.key === "Enter" && rows.length) open(at);
    else return;
    e.preventDefault();
  };

  const shown = [];
  for (let i = first; i < last; i++) shown.push(<Row key={i} {...{ table, vocabulary, columns, open, height }} index={i} row={rows[i] ?? 0} active={i === at} />);
  return (
    <div
      class={`grid by-${filter.sort}`} role="grid" tabIndex={0} onKeyDown={key}
      style={{ "--columns": columns.map((c) => c.width).join(" ") }}
      aria-label={`${table.set} of ${table.dictionary.name}: arrow keys move, Enter opens`}
      aria-rowcount={rows.length + 1} aria-colcount={columns.length}
      aria-activedescendant={at >= first && at < last ? `row-${at}` : undefined}
    >
      <div class="head" role="rowgroup" ref={head}>
        <div role="row" aria-rowindex={1} class="cells">
          {columns.map((c) => <Heading column={c} filter={filter} sortBy={sortBy} />)}
        </div>
      </div>
      <div class="body" role="rowgroup" ref={body} style={{ height: `${rows.length * height}px` }}>{shown}</div>
    </div>
  );
}

function Heading({ column, filter, sortBy }: { column: ColumnOf; filter: Filter; sortBy: (key: string) => void }) {
  const sorted = filter.sort === column.key || (column.key === "score" && filter.sort === "gain");
  const order = sorted ? (filter.descending ? "descending" : "ascending") : undefined;
  return (
    <div role="columnheader" class={`cell ${column.key}`} aria-sort={order} title={column.means}>
      {column.key in SORTS
        ? (
          <button type="button" onClick={() => sortBy(column.key)}>
            {column.title}<span aria-hidden="true">{sorted ? (filter.descending ? " ↓" : " ↑") : ""}</span>
          </button>
        )
        : column.title}
    </div>
  );
}

interface RowProps {
  table: Table;
  row: number;
  index: number;
  vocabulary: string[];
  columns: ColumnOf[];
  active: boolean;
  height: number;
  open: (index: number) => void;
}

/** Drawn again only when it shows something else: every frame of scrolling asks. */
class Row extends Component<RowProps> {
  shouldComponentUpdate(next: RowProps): boolean {
    return (Object.keys(next) as (keyof RowProps)[]).some((key) => key !== "open" && next[key] !== this.props[key]);
  }

  click = (e: MouseEvent) => {
    if (e.ctrlKey || e.metaKey || e.shiftKey || e.button !== 0) return; // a new tab, by the link
    if (getSelection()?.toString()) return; // someone marks text
    e.preventDefault();
    this.props.open(this.props.index);
  };

  render({ table, row, index, vocabulary, columns, active, height }: RowProps) {
    const feature = table.columns.feature[row] ?? 0;
    return (
      <div
        role="row" id={`row-${index}`} aria-rowindex={index + 2} class={active ? "cells line active" : "cells line"}
        style={{ top: `${index * height}px` }} onClick={this.click}
      >
        {columns.map((c) => (
          <div role="gridcell" class={`cell ${c.key}`}>
            {c.key === "feature"
              ? <a tabIndex={-1} href={routeToFeature(table.dictionary.id, feature, table.set)}>{feature}</a>
              : c.cell(table, row, vocabulary)}
          </div>
        ))}
      </div>
    );
  }
}

/** The first row near the screen and the one behind the last; also keeps the place in the history. */
function useVisible(body: { current: HTMLElement | null }, height: number, count: number): [number, number] {
  const [first, setFirst] = useState(0);
  const [fit, setFit] = useState(Math.ceil(innerHeight / height));
  const measure = () => {
    const top = body.current?.getBoundingClientRect().top ?? 0;
    setFirst(Math.max(0, Math.floor(-top / height) - SPARE));
    setFit(Math.ceil(innerHeight / height));
  };
  useLayoutEffect(measure, [height, count]);
  useEffect(() => {
    let frame = 0;
    let timer = 0;
    const scrolled = () => {
      cancelAnimationFrame(frame);
      frame = requestAnimationFrame(measure);
      clearTimeout(timer);
      timer = window.setTimeout(() => keep({ scroll: scrollY }), 200);
    };
    addEventListener("scroll", scrolled, { passive: true });
    addEventListener("resize", scrolled);
    return () => {
      cancelAnimationFrame(frame);
      clearTimeout(timer);
      removeEventListener("scroll", scrolled);
      removeEventListener("resize", scrolled);
    };
  }, [height]);
  return [Math.min(first, count), Math.min(count, first + fit + 2 * SPARE)];
}

/** Lets the headings stay below the header of the page, whatever its height. */
function useStuckBelow(head: { current: HTMLElement | null }): void {
  useEffect(() => {
    const top = document.querySelector<HTMLElement>("header.top");
    if (!top) return;
    const observer = new ResizeObserver(() => {
      const hidden = parseFloat(getComputedStyle(top).top) || 0; // on a phone, only its last row stays
      head.current?.style.setProperty("top", `${top.offsetHeight + hidden}px`);
    });
    observer.observe(top);
    return () => observer.disconnect();
  }, []);
}

/** Goes to where the page was left, once there are enough rows for it. */
function useKeptScroll(count: number, height: number, complete: boolean): void {
  const wanted = useRef(kept().scroll ?? 0);
  useLayoutEffect(() => {
    if (!wanted.current || (!complete && count * height < wanted.current)) return;
    scrollTo(0, wanted.current);
    wanted.current = 0;
  }, [count, height, complete]);
}

/** Scrolls so that a row is seen whole, below what stays at the top. */
function show(body: HTMLElement | null, head: HTMLElement | null, index: number, height: number): void {
  if (!body || !head) return;
  const top = body.getBoundingClientRect().top + index * height;
  const least = head.getBoundingClientRect().bottom;
  if (top < least) scrollBy(0, top - least);
  else if (top + height > innerHeight) scrollBy(0, top + height - innerHeight);
}
