// Reads bodies as JSON strings, one a line, from standard input. Signs each
// with a fresh Ed25519 key of node's own and writes {id, timestamp, signature,
// body, jwks} as a JSON line: what another sender by the standard would send,
// and the JWK set it would publish.
import { generateKeyPairSync, sign } from "node:crypto";
import { createInterface } from "node:readline";

const id = "evt_node";
for await (const line of createInterface({ input: process.stdin })) {
  const body = JSON.parse(line);
  const timestamp = Math.floor(Date.now() / 1000);
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  const signature = "v1a," + sign(null, Buffer.from(`${id}.${timestamp}.${body}`, "utf8"), privateKey).toString("base64");
  const jwks = { keys: [{ ...publicKey.export({ format: "jwk" }), kid: "key_node", use: "sig" }] };
  console.log(JSON.stringify({ id, timestamp, signature, body, jwks }));
}
