// Publish one ECG to Kafka from Node: `npm install`, then `node publish.mjs [host:port]`.
// The schema is the published one, schemas/ecg_record.avsc; nothing else of CardiacNets is needed.
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import avro from "avsc";
import { Kafka, logLevel } from "kafkajs";

const TOPIC = "ecg.records.v1";
const RATE_HZ = 500;
const SAMPLES = 10 * RATE_HZ;
const STEPS_PER_MV = 200;
const LEADS = ["I", "II", "V1", "V2", "V3", "V4", "V5", "V6"]; // III, aVR, aVL and aVF are derived
const WAVES = [[0.1, 0.03, 0.1], [0.26, 0.01, -0.1], [0.28, 0.012, 1], [0.3, 0.01, -0.2], [0.5, 0.06, 0.3]];

const schemaFile = new URL("../schemas/ecg_record.avsc", import.meta.url);
const ecgRecord = avro.Type.forSchema(JSON.parse(readFileSync(schemaFile, "utf8")), { wrapUnions: true });

// Little-endian int16: all samples of the first lead, then all of the second, and so on.
const samples = Buffer.alloc(2 * LEADS.length * SAMPLES);
LEADS.forEach((_, lead) => {
  for (let sample = 0; sample < SAMPLES; sample += 1) {
    const t = (sample / RATE_HZ) % 1;
    const mv = WAVES.reduce((sum, [at, width, size]) => sum + size * Math.exp(-(((t - at) / width) ** 2)), 0);
    samples.writeInt16LE(Math.round(STEPS_PER_MV * (0.6 + 0.1 * lead) * mv), 2 * (lead * SAMPLES + sample));
  }
});

const record = {
  record_id: randomUUID(), // names this ECG for ever: publish it again under the same id
  patient_id: { string: "pseudonym-17" }, // never a name or a hospital number
  recorded_at: { long: Date.now() * 1000 }, // microseconds
  leads: LEADS,
  sample_rate_hz: RATE_HZ,
  microvolts_per_step: 1000 / STEPS_PER_MV,
  n_samples: SAMPLES,
  encoding: "RAW",
  samples,
};
const headers = {
  ce_specversion: "1.0",
  ce_id: record.record_id,
  ce_source: "urn:example:device",
  ce_type: TOPIC,
  ce_time: new Date().toISOString(),
  "content-type": "application/vnd.apache.avro",
};

const kafka = new Kafka({
  clientId: "ecg-device",
  brokers: [process.argv[2] ?? "localhost:9092"],
  logLevel: logLevel.ERROR,
});
const producer = kafka.producer();
await producer.connect();
await producer.send({
  topic: TOPIC,
  acks: -1,
  messages: [{ key: record.patient_id.string, value: ecgRecord.toBuffer(record), headers }],
});
await producer.disconnect();
console.log(record.record_id);
