// The cine: one beat in a loop, with play, pause and scrub. The words that say it is synthetic are part of the picture.

import { h } from "./dom.js";

const USUAL_BEAT_S = 1;
const VIEWS = { four_chamber: "Four-chamber view", short_axis: "Short axis" };

export function makePlayer({ head, bytes }) {
  const { frames, rows, columns, seconds_per_beat: beat } = head.geometry;
  const pixels = new Uint8Array(bytes);
  const canvas = h("canvas.cine", { width: columns, height: rows, role: "img", "aria-label": `Generated four-chamber cine, ${head.provenance.notice}` });
  const pen = canvas.getContext("2d");
  const image = pen.createImageData(columns, rows);
  const seconds = beat ?? USUAL_BEAT_S;
  let playing = false;
  let frame = 0;
  let began = 0;
  let pending = 0;

  const button = h("button.play", { type: "button", click: toggle }, "Play");
  const slider = h("input", { type: "range", min: 0, max: frames - 1, value: 0, step: 1, "aria-label": "Frame", input: scrub });
  const count = h("span.count");

  function show(next) {
    frame = next;
    const start = frame * rows * columns;
    for (let i = 0; i < rows * columns; i += 1) {
      const grey = pixels[start + i];
      image.data.set([grey, grey, grey, 255], 4 * i);
    }
    pen.putImageData(image, 0, 0);
    slider.value = frame;
    count.textContent = `${frame + 1} / ${frames}`;
  }

  function tick(now) {
    if (!playing) return;
    const next = Math.floor((((now - began) / 1000 / seconds) % 1) * frames);
    if (next !== frame) show(next);
    pending = requestAnimationFrame(tick);
  }

  function toggle() {
    playing = !playing;
    button.textContent = playing ? "Pause" : "Play";
    if (playing) {
      began = performance.now() - (frame / frames) * seconds * 1000;
      pending = requestAnimationFrame(tick);
    }
  }

  function scrub() {
    if (playing) toggle();
    show(Number(slider.value));
  }

  show(0);
  if (!matchMedia("(prefers-reduced-motion: reduce)").matches) toggle();
  const element = h("figure.player", {},
    h("div.screen", {}, canvas, h("p.synthetic", {}, head.provenance.notice)),
    h("div.controls", {}, button, slider, count),
    h("figcaption.quiet", {},
      `${VIEWS[head.geometry.view] ?? head.geometry.view}, ${frames} frames of one beat, drawn by ${head.provenance.generator.name} `
      + `${head.provenance.generator.version} (${head.provenance.generator.weights}). `,
      beat ? "" : "The length of the beat is unknown, so it is shown as one second."));
  return {
    element,
    stop() {
      playing = false;
      cancelAnimationFrame(pending);
    },
  };
}
