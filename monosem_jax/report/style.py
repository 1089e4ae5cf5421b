"""The style sheet of the page: a module, so that it is always installed with the code."""

CSS = """
:root { --ink: #16191d; --soft: #4f5863; --rule: #d9dee4; --paper: #fff; --ground: #f5f6f8; --blue: #1d5b9e; }
* { box-sizing: border-box; }
html { scroll-behavior: smooth; -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 16px/1.5 system-ui, "Segoe UI", Roboto,
  "Helvetica Neue", "Noto Sans", sans-serif; overflow-wrap: anywhere; }
main, .top { max-width: 1240px; margin: 0 auto; padding: 0 16px; }
a { color: var(--blue); }
a:focus-visible, .scroll:focus-visible { outline: 3px solid #f2a33a; outline-offset: 2px; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 32px 0 8px; }
h2 { font-size: 1.35rem; margin: 48px 0 8px; padding-top: 16px; border-top: 2px solid var(--ink); }
h3, h4 { margin: 0; line-height: 1.3; }
.lead { max-width: 75ch; margin: 0 0 12px; }
.lead, .hint, figcaption { color: var(--soft); }
.hint { max-width: 75ch; margin: 0 0 16px; }
nav ul, .tiles, .index, ol { list-style: none; margin: 0; padding: 0; }
nav ul { display: flex; flex-wrap: wrap; gap: 4px 20px; margin: 16px 0; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; margin: 20px 0; }
.tiles li { background: var(--paper); border: 1px solid var(--rule); border-radius: 8px; padding: 12px 16px;
  color: var(--soft); font-size: .875rem; line-height: 1.35; }
.tiles b { display: block; color: var(--ink); font-size: 1.5rem; line-height: 1.3; }
.pair, .plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 440px), 1fr)); gap: 20px;
  align-items: start; }
.plots { grid-template-columns: repeat(auto-fit, minmax(min(100%, 370px), 1fr)); }
.panel, figure { background: var(--paper); border: 1px solid var(--rule); border-radius: 8px; }
table { border-collapse: collapse; width: 100%; }
caption { text-align: left; font-weight: 600; padding: 12px 16px 8px; }
th, td { text-align: left; padding: 7px 16px; border-top: 1px solid var(--rule); vertical-align: top; }
.numbers th { font-weight: 500; }
.numbers td { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.numbers small { display: block; font-weight: 400; color: var(--soft); font-size: .8125rem; line-height: 1.4; }
.numbers .note { white-space: normal; max-width: 22ch; margin-left: auto; }
figure { margin: 0; padding: 12px 16px; }
figure h3 { font-size: 1rem; }
figcaption { font-size: .875rem; }
.plot { display: block; width: 100%; height: auto; }
.plot * { stroke-linejoin: round; }
.single { max-width: 560px; }
/* shadows at the edges that hide something: white covers move with the content, shadows stay */
.scroll { overflow-x: auto; background: linear-gradient(to right, #fff 40%, #fff0) 0 0 / 40px 100% no-repeat local,
  linear-gradient(to left, #fff 40%, #fff0) 100% 0 / 40px 100% no-repeat local,
  linear-gradient(to right, #0003, #0000) 0 0 / 14px 100% no-repeat scroll,
  linear-gradient(to left, #0003, #0000) 100% 0 / 14px 100% no-repeat scroll #fff; }
.categories { font-variant-numeric: tabular-nums; overflow-wrap: normal; }
.categories thead th { font-size: .8125rem; color: var(--soft); border-top: 0; vertical-align: bottom; }
.categories .n { text-align: right; }
.categories td { white-space: nowrap; }
.categories .bar { min-width: 150px;
  background: linear-gradient(#cfe0f3 0 0) 0 50% / calc(var(--v) * 100%) 70% no-repeat; }
.categories .bar.neuron { background-image: linear-gradient(#e3e6ea 0 0); }
.index { display: flex; flex-wrap: wrap; gap: 6px; margin: 0 0 20px; }
.index a { display: block; padding: 2px 10px; border: 1px solid var(--rule); border-radius: 99px;
  background: var(--paper); text-decoration: none; font-size: .875rem; }
.index a:hover { border-color: var(--blue); }
.index bdi { color: var(--soft); }
.card { background: var(--paper); border: 1px solid var(--rule); border-radius: 8px; padding: 16px; margin: 0 0 20px;
  scroll-margin-top: 12px; }
.card:target { border-color: var(--blue); box-shadow: 0 0 0 2px var(--blue); }
.card header { display: flex; flex-wrap: wrap; align-items: baseline; gap: 4px 16px; margin-bottom: 10px; }
.card h3 { font-size: 1.125rem; }
.card h3 a { color: inherit; text-decoration: none; }
.card header p { margin: 0; }
.badge { background: #e3edf8; color: #123f70; border-radius: 4px; padding: 1px 8px; font-size: .875rem; }
.facts { color: var(--soft); font-size: .875rem; margin-left: auto !important; }
.facts b { color: var(--ink); font-weight: 600; }
.evidence { display: grid; grid-template-columns: minmax(0, 1fr) 210px; gap: 16px 28px; }
.examples li { padding: 7px 0; border-top: 1px solid var(--rule); }
.examples p { margin: 0; }
.tokens { font: .875rem/1.75 ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", "Noto Sans Mono", monospace;
  white-space: pre-wrap; direction: ltr; }
.tokens bdi[style] { background: rgb(245 124 0 / calc(.07 + .78 * var(--a))); border-radius: 2px; padding: 2px 0;
  -webkit-box-decoration-break: clone; box-decoration-break: clone; print-color-adjust: exact; }
.tokens .peak { outline: 2px solid #16191d; outline-offset: -1px; }
.source { color: var(--soft); font-size: .75rem; line-height: 1.4; }
.effects h4 { font-size: .8125rem; color: var(--soft); font-weight: 600; margin: 8px 0 4px; }
.effects li { display: flex; justify-content: space-between; gap: 12px; font: .8125rem/1.6 ui-monospace, Menlo,
  Consolas, "DejaVu Sans Mono", monospace; }
.effects span { color: var(--soft); white-space: nowrap; }
footer { color: var(--soft); font-size: .875rem; margin: 40px 0; }
@media (max-width: 760px) {
  .evidence { grid-template-columns: minmax(0, 1fr); }
  .effects { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 16px; }
  .facts { margin-left: 0 !important; }
  th, td { padding: 6px 12px; }
  .categories th, .categories td { padding: 6px 10px; }
  .categories .bar { min-width: 96px; }
  .numbers td { white-space: normal; min-width: 7.5em; }
}
@media (prefers-reduced-motion: reduce) { html { scroll-behavior: auto; } }
"""
