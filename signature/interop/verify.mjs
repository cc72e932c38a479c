// Reads deliveries as JSON lines {id, timestamp, signature, secret, jwks,
// body} from standard input. Verifies the v1 signatures of each with both
// libraries, and its v1a ones with node's own Ed25519 under the keys of the
// JWK set. A line with "refused": true must be refused by all three, one with
// "refusedByKey" or "refusedBySecret" by that half. Exits with 1 when any
// line fails, and when there is none.
import { createPublicKey, verify as verifyBytes } from "node:crypto";
import { createInterface } from "node:readline";
import { Webhook as StandardWebhook } from "standardwebhooks";
import { Webhook as SvixWebhook } from "svix";

const libraries = { standardwebhooks: StandardWebhook, svix: SvixWebhook };
let lines = 0;
let checks = 0;
let failures = 0;

// What the standard asks of a receiver, in a few lines: no code of ours.
function verifyKeys(d) {
  const text = Buffer.from(`${d.id}.${d.timestamp}.${d.body}`, "utf8");
  const given = d.signature.split(" ").filter((s) => s.startsWith("v1a,"));
  for (const jwk of d.jwks.keys) {
    const key = createPublicKey({ key: jwk, format: "jwk" });
    for (const s of given) {
      if (verifyBytes(null, text, key, Buffer.from(s.slice(4), "base64"))) return;
    }
  }
  throw new Error("no v1a signature matches");
}

function check(name, d, refused, verify) {
  checks++;
  let error = null;
  try {
    verify();
  } catch (e) {
    error = e;
  }
  if ((error !== null) !== refused) {
    failures++;
    console.error(`${name}, line ${lines} (${d.id}): ${error ? error.message : "accepted what must be refused"}`);
  }
}

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
    check(name, d, d.refused === true || d.refusedBySecret === true, () => new Webhook(d.secret).verify(d.body, headers));
  }
  check("node:crypto", d, d.refused === true || d.refusedByKey === true, () => verifyKeys(d));
}
console.log(`${lines} deliveries, ${checks} checks, ${failures} failures`);
process.exit(lines === 0 || failures > 0 ? 1 : 0);
