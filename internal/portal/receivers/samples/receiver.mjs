// A receiver in JavaScript: PORT=4000 WEBHOOK_SECRET=whsec_... node receiver.mjs
import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";

const key = Buffer.from((process.env.WEBHOOK_SECRET ?? "").replace(/^whsec_/, ""), "base64");
const seen = new Set(); // keep it in your database, so that a restart forgets nothing

// Returns 0, or the status to answer with.
function verify(headers, body) {
  const id = headers["webhook-id"];
  const stamp = headers["webhook-timestamp"];
  if (!id || !/^\d{1,12}$/.test(stamp ?? "") || Math.abs(Date.now() / 1000 - Number(stamp)) > 300) return 400;
  // The bytes as they came, never re-encoded.
  const want = createHmac("sha256", key).update(`${id}.${stamp}.`).update(body).digest();
  for (const signature of (headers["webhook-signature"] ?? "").split(" ")) {
    if (!signature.startsWith("v1,")) continue;
    const got = Buffer.from(signature.slice(3), "base64");
    if (got.length === want.length && timingSafeEqual(got, want)) return 0; // in constant time
  }
  return 401;
}

createServer(async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const body = Buffer.concat(chunks);
  const status = verify(request.headers, body);
  if (status === 0 && !seen.has(request.headers["webhook-id"])) {
    // The same delivery may come again: it has the same id.
    seen.add(request.headers["webhook-id"]);
    const event = JSON.parse(body.toString("utf8"));
    console.log("got", event.event ?? event.type ?? "", request.headers["consentwire-subject"], request.headers["consentwire-sequence"]);
  }
  response.writeHead(status || 204).end();
}).listen(Number(process.env.PORT ?? 4000), "127.0.0.1");
