// The official openai SDK for JavaScript with the offline provider's models that speak, listen and draw. Prints one JSON object
// of what it saw; the speech goes into a file of the given folder.
import fs from "node:fs";
import path from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import OpenAI from "openai";

const [address, folder, text] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${address}/v1`, apiKey: "unused", maxRetries: 0, timeout: 50_000 });
const seen = {};

const failure = async (run) => {
  try {
    await run();
    return "no error";
  } catch (e) {
    return { name: e.constructor.name, status: e.status ?? null, param: e.param ?? null };
  }
};

const spoken = path.join(folder, "spoken.mp3");
const speech = await client.audio.speech.create({ model: "espeak", voice: "alloy", input: text });
seen.type = speech.headers.get("content-type");
await pipeline(Readable.fromWeb(speech.body), fs.createWriteStream(spoken));
seen.begin = fs.readFileSync(spoken).subarray(0, 2).toString("hex");
const file = () => fs.createReadStream(spoken);
seen.text = (await client.audio.transcriptions.create({ model: "pocketsphinx", file: file() })).text;
seen.deltas = "";
for await (const e of await client.audio.transcriptions.create({ model: "pocketsphinx", file: file(), stream: true })) {
  if (e.type === "transcript.text.delta") seen.deltas += e.delta;
  else seen.done = [e.type, e.text];
}

const image = await client.images.generate({ model: "card", prompt: "a red fox", size: "64x48", n: 2 });
seen.images = image.data.map((d) => Buffer.from(d.b64_json, "base64")).map((png) => [png.toString("latin1", 1, 4), png.readUInt32BE(16), png.readUInt32BE(20)]);
for await (const e of await client.images.generate({ model: "card", prompt: "a red fox", size: "64x48", stream: true })) {
  seen.event = [e.type, Buffer.from(e.b64_json, "base64").readUInt32BE(16)];
}

const vectors = await client.embeddings.create({ model: "hashed-words", input: ["a cat sat", "the cat sits", "stock market"] });
const near = (i, j) => vectors.data[i].embedding.reduce((sum, n, k) => sum + n * vectors.data[j].embedding[k], 0);
seen.nearer = near(0, 1) > near(0, 2);

const stream = client.responses.stream({ model: "echo", input: "one two three" });
seen.pieces = [];
for await (const e of stream) if (e.type === "response.output_text.delta") seen.pieces.push(e.delta);
seen.response = (await stream.finalResponse()).output_text;

seen.voice = await failure(() => client.audio.speech.create({ model: "espeak", voice: "bogus", input: "Hello" }));
seen.kind = await failure(() => client.embeddings.create({ model: "echo", input: "a" }));
console.log(JSON.stringify(seen));
