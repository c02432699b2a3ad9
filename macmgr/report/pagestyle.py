"""The style sheet of the audit's page: light or dark as the reader has it, on paper, and on a narrow screen."""

from __future__ import annotations

STYLE = """
:root { color-scheme: light dark; --text: #1b1f24; --dim: #57606a; --page: #ffffff; --card: #f6f8fa; --edge: #d0d7de;
  --red: #b40020; --red-card: #ffe3e3; --amber: #8a5200; --amber-card: #ffefc2; --violet: #5b3f9b;
  --violet-card: #f1edf8; --blue: #2b6ca3; --green: #1a6b34; --line: #444444 }
@media screen and (prefers-color-scheme: dark) { :root { --text: #e6edf3; --dim: #9da7b1; --page: #14181d;
  --card: #1f252c; --edge: #3a434d; --red: #ff8a94; --red-card: #4a1119; --amber: #f2c35b; --amber-card: #44340d;
  --violet: #c4b0f2; --violet-card: #2c2440; --blue: #79b8f0; --green: #7fd69a; --line: #b4bdc7 } }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 80rem; padding: 1.2rem; background: var(--page); color: var(--text);
  font: 1rem/1.45 system-ui, "Liberation Sans", Helvetica, Arial, sans-serif; overflow-wrap: anywhere }
h1 { font-size: 1rem; font-weight: 600; color: var(--dim); margin: 0 0 .6rem }
h2 { font-size: 1.15rem; margin: 2rem 0 .6rem }
h3 { font-size: 1rem; margin: 1.2rem 0 .4rem }
h3 small { color: var(--dim); font-weight: 400 }
.verdict { font-size: 1.35rem; font-weight: 600; margin: 0; padding: .8rem 1rem; background: var(--card);
  border: 1px solid var(--edge); border-left: .6rem solid var(--line); border-radius: .4rem }
.verdict.drift, .verdict.cut-off { background: var(--red-card); border-color: var(--red) }
.verdict.at-risk, .verdict.observed, .verdict.nothing-managed { background: var(--amber-card);
  border-color: var(--amber) }
.verdict.in-sync { border-color: var(--green) }
ul { list-style: none; margin: 0; padding: 0 }
.names { display: flex; flex-wrap: wrap; gap: .4rem; margin-top: .8rem }
.names li { padding: .15rem .6rem; border: 2px solid var(--red); border-radius: .4rem; background: var(--red-card);
  font-weight: 600 }
.findings > li { display: grid; grid-template-columns: 8.5rem 14rem 1fr; gap: 0 1rem; padding: .5rem 0;
  border-top: 1px solid var(--edge) }
.findings > li > :first-child, .findings > li > b { grid-row: 1 / span 2 }
.findings b { font-weight: 600 }
.findings .fix, .findings .more { grid-column: 3; margin: .2rem 0 0; color: var(--dim) }
.findings > li.fold { display: block }
summary { cursor: pointer; color: var(--dim) }
code { font: .88em ui-monospace, "Liberation Mono", Menlo, monospace; white-space: pre-wrap; color: var(--text) }
.error { color: var(--red) }
.warning { color: var(--amber) }
.cut-off .error, .cut-off .warning { font-weight: 700 }
.info { color: var(--blue) }
.table { overflow-x: auto }
table { border-collapse: collapse; font-size: .88rem; width: 100% }
th, td { text-align: left; padding: .25rem .6rem; border-bottom: 1px solid var(--edge); white-space: nowrap;
  overflow-wrap: normal }
th { color: var(--dim); font-weight: 600 }
tr { background: var(--page) }
td:last-child { font-weight: 600; position: sticky; right: 0; background: inherit }
tr.cut-off { background: var(--red-card) }
tr.cut-off td:last-child, tr.drift td:last-child { color: var(--red) }
tr.at-risk { background: var(--amber-card) }
tr.at-risk td:last-child, tr.warning td:last-child { color: var(--amber) }
tr.ok td:last-child { color: var(--green) }
figure { margin: 0; overflow-x: auto }
svg { height: auto; max-width: max(100%, 44rem) }
svg text { fill: var(--text); font-family: Helvetica, Arial, "Liberation Sans", sans-serif }
svg polygon:not([fill="none"]), svg ellipse { fill: var(--card) }
svg polygon, svg path, svg polyline { stroke: var(--line) }
svg .graph > polygon { fill: none; stroke: none }
svg .cluster > path, svg .cluster > polygon { stroke: var(--edge); fill: none }
svg .edge > polygon { fill: var(--line) }
svg .node.plain > polygon:not([fill="none"]) { fill: var(--page); stroke: var(--blue) }
svg .node.cut-off > polygon:not([fill="none"]) { fill: var(--red-card) }
svg .edge.cut-off > polygon { fill: var(--red) }
svg .cut-off > polygon, svg .cut-off > path, svg .cut-off > polyline { stroke: var(--red) }
svg .edge.cut-off > text { fill: var(--red) }
svg .node.at-risk > polygon, svg .node.at-risk > path { fill: var(--amber-card); stroke: var(--amber) }
svg .node.drift > polygon { fill: var(--violet-card); stroke: var(--violet) }
svg .edge > path { fill: none }
svg .node.observed > text, svg .node.resting > text { fill: var(--dim) }
footer { margin-top: 2rem; color: var(--dim); font-size: .85rem }
@media (max-width: 46rem) { .findings > li { display: block } .verdict { font-size: 1.15rem } body { padding: .7rem }
  figure { direction: rtl } svg { direction: ltr } }
@media print { body { max-width: none; padding: 0; font-size: 9.5pt } .table, figure { overflow: visible }
  h2, h3 { break-after: avoid } tr, .findings > li, figure { break-inside: avoid } th, td { padding: .2rem .3rem }
  td:last-child { position: static }
  svg { max-width: 100%; max-height: 24cm; width: auto } .verdict, .names li, tr, svg { print-color-adjust: exact } }
"""
