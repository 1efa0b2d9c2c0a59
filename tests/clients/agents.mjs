// A conversation by @openai/agents-realtime in Node: node agents.mjs URL KEY MODEL TURNS CONFIG, the last two JSON.
import * as sdk from "@openai/agents-realtime";
import { parseRealtimeEvent } from "./node_modules/@openai/agents-realtime/dist/openaiRealtimeEvents.mjs";
import { talk } from "./talk.mjs";

const [url, apiKey, model, turns, config] = process.argv.slice(2);
const understood = (event) => !parseRealtimeEvent({ data: JSON.stringify(event) }).isGeneric;
const seen = await talk(sdk, { url, apiKey, model, turns: JSON.parse(turns), config: JSON.parse(config), understood });
console.log(JSON.stringify(seen));
process.exit(0);
