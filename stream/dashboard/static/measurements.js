// The 82 measurements: a line each beside what healthy women and men measure, and the 16 segments as bullseyes.

import { h, svg } from "./dom.js";

const WIDTH = 150;
const MARGIN = 0.25; // of the ranges' reach, on either side

export function measurementGroup(group) {
  const ranged = group.lines.some((line) => line.women || line.men);
  const heading = h("tr", {}, h("th", { scope: "col" }, group.title), h("th.value", { scope: "col" }, "Estimate"),
    ranged ? h("th", { scope: "col" }, "Healthy range (95 %)") : null);
  return h("table.measurements", {}, h("thead", {}, heading), h("tbody", {}, group.lines.map((line) => measurement(line, ranged))));
}

function measurement(line, ranged) {
  return h("tr", {},
    h("th", { scope: "row", title: line.name }, line.label),
    h("td.value", {}, `${rounded(line.value)} `, h("span.unit", {}, line.unit)),
    ranged ? h("td.range", {}, range(line)) : null);
}

function range(line) {
  if (!line.women && !line.men) return h("span.quiet", {}, "–");
  const title = [["women", line.women], ["men", line.men]].filter(([, bounds]) => bounds)
    .map(([who, bounds]) => `${who}: ${bounds.source}`).join("\n");
  return h("div.range-cell", { title },
    picture(line),
    h("span.bounds", {}, bounds("women", line.women), bounds("men", line.men)),
    verdict(line));
}

const bounds = (who, range) => (range ? h("span", { "data-who": who }, `${who} ${rounded(range.low)} to ${rounded(range.high)}`) : null);

// Beyond both ranges is said with a word and a sign; between them depends on a sex that the record does not tell.
function verdict(line) {
  const sides = [["women", line.women], ["men", line.men]].filter(([, range]) => range)
    .map(([who, range]) => [who, line.value < range.low ? "▼ below" : line.value > range.high ? "▲ above" : null]);
  const outside = sides.filter(([, side]) => side);
  if (outside.length === 0) return null;
  const same = outside.length === sides.length && sides.every(([, side]) => side === sides[0][1]);
  const text = same ? `${sides[0][1]}${sides.length > 1 ? " both" : ""}` : outside.map(([who, side]) => `${side} ${who}’s`).join(", ");
  return h("strong.verdict", {}, text);
}

function picture(line) {
  const ranges = [line.women, line.men].filter(Boolean);
  const low = Math.min(...ranges.map((range) => range.low));
  const high = Math.max(...ranges.map((range) => range.high));
  const reach = (high - low) * MARGIN;
  const at = (value) => Math.max(2, Math.min(WIDTH - 2, (WIDTH * (value - low + reach)) / (high - low + 2 * reach)));
  return svg("svg.range-picture", { viewBox: `0 0 ${WIDTH} 18`, width: WIDTH, height: 18, "aria-hidden": "true" },
    svg("line.axis", { x1: 0, x2: WIDTH, y1: 9, y2: 9 }),
    line.women ? svg("rect.women", { x: at(line.women.low), width: at(line.women.high) - at(line.women.low), y: 3, height: 5 }) : null,
    line.men ? svg("rect.men", { x: at(line.men.low), width: at(line.men.high) - at(line.men.low), y: 10, height: 5 }) : null,
    svg("rect.here", { x: at(line.value) - 1.25, width: 2.5, y: 0, height: 18 }));
}

export function rounded(value) {
  const size = Math.abs(value);
  return value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : 2).replace("-", "−");
}

// The AHA's model of 16 segments: anterior on top, septum to the left; base outside, apex inside.
const RINGS = [
  { from: 68, to: 98, first: 1, count: 6, start: 60 },
  { from: 38, to: 68, first: 7, count: 6, start: 60 },
  { from: 6, to: 38, first: 13, count: 4, start: 45 },
];
const SCALE = ["#00204d", "#16396d", "#42566d", "#666970", "#857f75", "#a69971", "#c8b565", "#ecd24b"]; // cividis

export function bullseye(values) {
  const low = Math.min(...values.values);
  const high = Math.max(...values.values);
  const parts = RINGS.flatMap((ring) => Array.from({ length: ring.count }, (_, place) => {
    const value = values.values[ring.first - 1 + place];
    const share = high > low ? (value - low) / (high - low) : 0.5;
    return segment(ring, place, value, Math.min(SCALE.length - 1, Math.floor(share * SCALE.length)));
  }));
  const places = [["anterior", 100, -6], ["inferior", 100, 212]].map(([name, x, y]) => svg("text.place", { x, y }, name));
  return h("figure.bullseye", {},
    svg("svg", { viewBox: "-16 -18 232 236", role: "img", "aria-label": described(values) }, parts, places,
      svg("text.place", { x: -6, y: 100, transform: "rotate(-90 -6 100)" }, "septum"),
      svg("text.place", { x: 206, y: 100, transform: "rotate(90 206 100)" }, "lateral")),
    h("figcaption", {}, `${values.title}, ${values.unit}`,
      h("span.quiet", {}, `${rounded(low)} to ${rounded(high)}; AHA segments, base outside`)));
}

const described = (values) => `${values.title}: ${values.values.map((value, i) => `segment ${i + 1} ${rounded(value)}`).join(", ")} ${values.unit}`;

function segment(ring, place, value, shade) {
  const sweep = 360 / ring.count;
  const begin = ring.start + place * sweep;
  const middle = polar((ring.from + ring.to) / 2 + (ring.count === 4 ? 3 : 0), begin + sweep / 2);
  return [
    svg("path", { d: wedge(ring.from, ring.to, begin, begin + sweep), fill: SCALE[shade], class: "segment" }),
    svg("text", { x: middle[0], y: middle[1] + 4, class: shade >= 4 ? "on-light" : "on-dark" }, rounded1(value)),
  ];
}

const rounded1 = (value) => (Math.abs(value) >= 10 ? value.toFixed(0) : value.toFixed(1)).replace("-", "−");

function wedge(inner, outer, begin, end) {
  const [a, b, c, d] = [polar(outer, begin), polar(outer, end), polar(inner, end), polar(inner, begin)];
  return `M${a} A${outer} ${outer} 0 0 0 ${b} L${c} A${inner} ${inner} 0 0 1 ${d} Z`;
}

// Degrees anticlockwise from the right.
function polar(radius, degrees) {
  const radians = (degrees * Math.PI) / 180;
  return [(100 + radius * Math.cos(radians)).toFixed(2), (100 - radius * Math.sin(radians)).toFixed(2)].map(Number);
}
