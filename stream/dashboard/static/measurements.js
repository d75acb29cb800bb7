// The 82 measurements: each on a line beside the range of healthy women and men; the 16 segments as bullseyes.

import { h, svg } from "./dom.js";

const WIDTH = 150;
const MARGIN = 0.25; // on either side, as a share of what the ranges span

// `sex` is "female" or "male". Without it, both ranges are shown.
export function measurementGroup(group, sex) {
  const ranged = group.lines.some((line) => line.women || line.men);
  const heading = h("tr", {}, h("th", { scope: "col" }, group.title), h("th.value", { scope: "col" }, "Estimate"),
    ranged ? h("th.range", { scope: "col" }, "Healthy range (95 %)") : null);
  return h("table.measurements", {}, h("thead", {}, heading),
    h("tbody", {}, group.lines.map((line) => measurement(line, ranged, sex))));
}

function measurement(line, ranged, sex) {
  const known = rangesOf(line);
  const wanted = known.filter((range) => !sex || range.sex === sex);
  const digits = line.half_width === null
    ? digitsFor([line.value, ...known.flatMap(({ low, high }) => [low, high])]) : digitsWithin(line.half_width);
  return h("tr", {},
    h("th", { scope: "row", title: line.name }, line.label),
    line.informative ? h("td.value", {}, `${rounded(line.value, digits)} `, h("span.unit", {}, line.unit), interval(line, digits))
      : h("td.value", {}, "–", h("span.interval", {}, "cannot be told from an ECG")),
    ranged ? h("td.range", {}, wanted.length && line.informative ? range(line, wanted, digits) : h("span.quiet", {}, "–")) : null);
}

// The interval of 90 %.
function interval(line, digits) {
  if (line.half_width === null) return null;
  const [low, high] = [line.value - line.half_width, line.value + line.half_width];
  return h("span.interval", { title: "90 of 100 scans lie within" }, `${rounded(low, digits)} to ${rounded(high, digits)}`);
}

const rangesOf = (line) => [
  line.women ? { ...line.women, who: "women", sex: "female" } : null,
  line.men ? { ...line.men, who: "men", sex: "male" } : null,
].filter(Boolean);

function range({ value, name }, ranges, digits) {
  return h("div.range-cell", { title: ranges.map(({ who, source }) => `${who}: ${source}`).join("\n") },
    picture(value, ranges),
    h("span.bounds", {}, ranges.map(({ who, low, high }) =>
      h("span", { "data-who": who }, `${who} ${rounded(low, digits)} to ${rounded(high, digits)}`))),
    verdict(value, ranges, name.includes("strain")));
}

// A value outside a range gets a sign and a word, for each range that is shown. A strain is a change of length: the
// nearer to 0, the less the wall moves, whatever its sign.
function verdict(value, ranges, isStrain) {
  const below = ({ low, high }) => (isStrain && low < 0 ? value > high : value < low);
  const above = ({ low, high }) => (isStrain && low < 0 ? value < low : value > high);
  const [less, more] = isStrain ? ["▼ reduced", "▲ increased"] : ["▼ below", "▲ above"];
  const sides = ranges.map((range) => [range.who, below(range) ? less : above(range) ? more : null]);
  const outside = sides.filter(([, side]) => side);
  if (outside.length === 0) return null;
  if (outside.length === sides.length && sides.every(([, side]) => side === sides[0][1])) {
    const whom = sides.length > 1 ? " both" : " the range";
    return h("strong.verdict", {}, isStrain ? sides[0][1] : `${sides[0][1]}${whom}`);
  }
  return h("strong.verdict", {}, outside.map(([who, side]) => (isStrain ? `${side} for ${who}` : `${side} ${who}’s`)).join(", "));
}

function picture(value, ranges) {
  const low = Math.min(...ranges.map((range) => range.low));
  const high = Math.max(...ranges.map((range) => range.high));
  const reach = (high - low) * MARGIN;
  const at = (place) => Math.max(2, Math.min(WIDTH - 2, (WIDTH * (place - low + reach)) / (high - low + 2 * reach)));
  return svg("svg.range-picture", { viewBox: `0 0 ${WIDTH} 18`, width: WIDTH, height: 18, "aria-hidden": "true" },
    svg("line.axis", { x1: 0, x2: WIDTH, y1: 9, y2: 9 }),
    ranges.map((range) => svg(`rect.${range.who}`, {
      x: at(range.low), width: at(range.high) - at(range.low), y: range.who === "women" ? 3 : 10, height: 5,
    })),
    svg("rect.here", { x: at(value) - 1.25, width: 2.5, y: 0, height: 18 }));
}

function digitsFor(values) {
  const largest = Math.max(...values.map(Math.abs));
  return largest >= 100 ? 0 : largest >= 10 ? 1 : 2;
}

// A digit that a tenth of the interval would change says nothing.
function digitsWithin(halfWidth) {
  return halfWidth >= 5 ? 0 : halfWidth >= 0.5 ? 1 : 2;
}

export function rounded(value, digits = digitsFor([value])) {
  return value.toFixed(digits).replace("-", "−");
}

export const roundedWithin = (value, halfWidth) =>
  rounded(value, halfWidth === null ? digitsFor([value]) : digitsWithin(halfWidth));

// The AHA's model of 16 segments: anterior on top, septum on the left, base outside, apex inside.
const RINGS = [
  { from: 68, to: 98, first: 1, count: 6, start: 60 },
  { from: 38, to: 68, first: 7, count: 6, start: 60 },
  { from: 6, to: 38, first: 13, count: 4, start: 45 },
];
const SCALE = ["#00204d", "#16396d", "#42566d", "#666970", "#857f75", "#a69971", "#c8b565", "#ecd24b"]; // cividis

export function bullseye(values) {
  const { low, high } = values;
  const parts = RINGS.flatMap((ring) => Array.from({ length: ring.count }, (_, place) => {
    const value = values.values[ring.first - 1 + place];
    const share = Math.max(0, Math.min(1, (value - low) / (high - low)));
    return segment(ring, place, value, Math.min(SCALE.length - 1, Math.floor(share * SCALE.length)));
  }));
  const places = [["anterior", 100, -6], ["inferior", 100, 212]].map(([name, x, y]) => svg("text.place", { x, y }, name));
  return h("figure.bullseye", {},
    svg("svg", { viewBox: "-16 -18 232 236", role: "img", "aria-label": described(values) }, parts, places,
      svg("text.place", { x: -6, y: 100, transform: "rotate(-90 -6 100)" }, "septum"),
      svg("text.place", { x: 206, y: 100, transform: "rotate(90 206 100)" }, "lateral")),
    h("figcaption", {}, `${values.title}, ${values.unit}`,
      h("span.quiet", {}, `colours from ${rounded(low, 0)} to ${rounded(high, 0)}; AHA segments, base outside`)));
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
