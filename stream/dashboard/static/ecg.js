// The ECG on its paper: 25 mm per second, 10 mm per millivolt, lines every millimetre and every five millimetres.

const MM_PER_S = 25;
const MM_PER_MV = 10;
const ROW_MM = 30;
const TOP_MM = 8;
const PULSE_MM = 10; // the room of a row for the calibration pulse
const SIDE_MM = 3;
const NARROW_PX = 760;
const STANDARD = [["I", "aVR", "V1", "V4"], ["II", "aVL", "V2", "V5"], ["III", "aVF", "V3", "V6"]];
const TWO_COLUMNS = [["I", "V1"], ["II", "V2"], ["III", "V3"], ["aVR", "V4"], ["aVL", "V5"], ["aVF", "V6"]];
const SEGMENT_S = 2.5;
const RHYTHM = "II";

const PAPERS = {
  dark: { paper: "#1b1314", fine: "#2c1d1c", coarse: "#53322d", trace: "#f3efe6", words: "#cdbfb6" },
  light: { paper: "#fff7f3", fine: "#fadcd3", coarse: "#eda694", trace: "#16130f", words: "#4a3b35" },
};

// Return the samples of each lead in millivolts, NaN where a sample is missing. Each lead is centred on its median, and
// otherwise as recorded.
export function readEcg({ head, bytes }) {
  const steps = new Int16Array(bytes);
  const leads = {};
  head.leads.forEach((name, index) => {
    const row = steps.subarray(index * head.n_samples, (index + 1) * head.n_samples);
    const millivolts = Float32Array.from(row, (step) => (step === head.missing ? NaN : (step * head.microvolts_per_step) / 1000));
    const middle = median(millivolts);
    leads[name] = millivolts.map((value) => value - middle);
  });
  return { leads, sex: head.sex, age: head.age_years, derived: head.derived, rate: head.sample_rate_hz, seconds: head.n_samples / head.sample_rate_hz };
}

function median(values) {
  const known = values.filter((value) => !Number.isNaN(value)).sort();
  return known.length ? known[known.length >> 1] : 0;
}

// Draw the ECG as wide as the parent of the canvas. A millimetre is a whole number of device pixels, so lines are sharp.
export function drawEcg(canvas, ecg, paperName) {
  const width = canvas.parentElement.clientWidth;
  const narrow = width < NARROW_PX;
  const rows = narrow ? TWO_COLUMNS : STANDARD;
  const columns = rows[0].length;
  const traceMm = columns * SEGMENT_S * MM_PER_S;
  const scale = devicePixelRatio || 1;
  const mm = Math.max(1, Math.floor((width * scale) / (traceMm + PULSE_MM + 2 * SIDE_MM)));
  const heightMm = TOP_MM + (rows.length + 1) * ROW_MM;
  canvas.width = Math.round(width * scale);
  canvas.height = heightMm * mm;
  canvas.style.height = `${canvas.height / scale}px`;
  const left = Math.floor((canvas.width / mm - traceMm - PULSE_MM) / 2) + PULSE_MM; // in mm, on a line of the grid
  const pen = canvas.getContext("2d");
  const paper = { ...PAPERS[paperName], pen, mm, left, scale };
  drawGrid(paper, canvas);
  rows.forEach((names, row) => {
    const middle = TOP_MM + (row + 0.5) * ROW_MM;
    drawPulse(paper, middle);
    names.forEach((name, column) => {
      drawLead(paper, ecg, name, column * SEGMENT_S, (column + 1) * SEGMENT_S, left + column * SEGMENT_S * MM_PER_S, middle);
    });
  });
  const middle = TOP_MM + (rows.length + 0.5) * ROW_MM;
  drawPulse(paper, middle);
  drawLead(paper, ecg, RHYTHM, 0, columns * SEGMENT_S, left, middle);
  drawScale(paper, canvas);
  return mm / scale;
}

function drawGrid({ pen, mm, paper, fine, coarse }, { width, height }) {
  pen.fillStyle = paper;
  pen.fillRect(0, 0, width, height);
  for (const [every, colour] of [[1, fine], [5, coarse]]) {
    pen.fillStyle = colour;
    const line = every === 5 && mm > 6 ? 2 : 1;
    for (let x = 0; x < width; x += every * mm) pen.fillRect(x, 0, line, height);
    for (let y = 0; y < height; y += every * mm) pen.fillRect(0, y, width, line);
  }
}

// 1 mV for 200 ms, before each row.
function drawPulse(paper, middle) {
  const start = paper.left - PULSE_MM + 1;
  line(paper, [[start, middle], [start + 1.5, middle], [start + 1.5, middle - MM_PER_MV],
    [start + 6.5, middle - MM_PER_MV], [start + 6.5, middle], [start + 8, middle]]);
}

function drawLead(paper, ecg, name, from, to, left, middle) {
  const samples = ecg.leads[name];
  if (!samples) { // a rejected ECG may lack a lead
    words(paper, `${name} (not recorded)`, left + 1, middle - ROW_MM / 2 + 6);
    return;
  }
  const first = Math.round(from * ecg.rate);
  const last = Math.min(samples.length, Math.round(to * ecg.rate));
  const points = [];
  for (let i = first; i < last; i += 1) {
    points.push(Number.isNaN(samples[i]) ? null : [left + ((i - first) / ecg.rate) * MM_PER_S, middle - samples[i] * MM_PER_MV]);
  }
  line(paper, points);
  if (from > 0) line(paper, [[left, middle - 4], [left, middle + 4]]);
  words(paper, ecg.derived.includes(name) ? `${name} (computed)` : name, left + 1, middle - ROW_MM / 2 + 6);
}

function line({ pen, mm, trace, scale }, points) {
  pen.strokeStyle = trace;
  pen.lineWidth = Math.max(1, 1.15 * scale);
  pen.lineJoin = "round";
  pen.beginPath();
  let down = false;
  for (const point of points) {
    if (point === null) down = false;
    else if (down) pen.lineTo(point[0] * mm, point[1] * mm);
    else {
      pen.moveTo(point[0] * mm, point[1] * mm);
      down = true;
    }
  }
  pen.stroke();
}

function words({ pen, mm, words: colour, scale, paper }, text, x, y, align = "left") {
  pen.font = `600 ${Math.round(13 * scale)}px system-ui, sans-serif`;
  pen.textAlign = align;
  pen.lineWidth = 4 * scale;
  pen.strokeStyle = paper; // an edge in the colour of the paper keeps the name readable
  pen.strokeText(text, x * mm, y * mm);
  pen.fillStyle = colour;
  pen.fillText(text, x * mm, y * mm);
}

function drawScale(paper, { width, height }) {
  words(paper, "25 mm/s   10 mm/mV", width / paper.mm - SIDE_MM, height / paper.mm - 2, "right");
}
