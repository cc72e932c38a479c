// Reads deliveries as JSON lines {id, timestamp, signature, secret, body} from
// standard input and verifies each with both libraries. A line with
// "refused": true must be refused by both. Exits with 1 when any line fails,
// and when there is none.
import { createInterface } from "node:readline";
import { Webhook as StandardWebhook } from "standardwebhooks";
import { Webhook as SvixWebhook } from "svix";

const libraries = { standardwebhooks: StandardWebhook, svix: SvixWebhook };
let lines = 0;
let failures = 0;

for await (const line of createInterface({ input: process.stdin })) {
  if (line === "") continue;
  lines++;
  const d = JSON.parse(line);
  const headers = {
    "webhook-id": d.id,
    "webhook-timestamp": String(d.timestamp),
    "webhook-signature": d.signature,
  };
  for (const [name, Webhook] of Object.entries(libraries)) {
    let error = null;
    try {
      new Webhook(d.secret).verify(d.body, headers);
    } catch (e) {
      error = e;
    }
    if ((error !== null) !== (d.refused === true)) {
      failures++;
      console.error(`${name}, line ${lines} (${d.id}): ${error ? error.message : "accepted what must be refused"}`);
    }
  }
}
console.log(`${lines} deliveries, ${failures} failures`);
process.exit(lines === 0 || failures > 0 ? 1 : 0);
