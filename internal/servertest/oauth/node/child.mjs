// What both servers have in common: how they are told what to be, and when
// they end.
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";

// options reads the first line of standard input, a JSON object. The process
// ends when standard input does, so that no server outlives its test.
export function options() {
  return new Promise((resolve) => {
    const lines = createInterface({ input: process.stdin });
    lines.once("line", (line) => resolve(JSON.parse(line)));
    lines.once("close", () => process.exit(0));
  });
}

// tls returns what https.createServer needs of the options.
export function tls({ certFile, keyFile }) {
  return { cert: readFileSync(certFile), key: readFileSync(keyFile), minVersion: "TLSv1.2" };
}

// ready prints the one line that the test waits for.
export function ready(what) {
  process.stdout.write(JSON.stringify(what) + "\n");
}

// basic returns the client of an Authorization field, or null. Both parts are
// form-encoded (RFC 6749 2.3.1).
export function basic(field) {
  const m = /^Basic ([A-Za-z0-9+/=]+)$/i.exec(field ?? "");
  if (m === null) return null;
  const text = Buffer.from(m[1], "base64").toString("utf8");
  const colon = text.indexOf(":");
  if (colon < 0) return null;
  const decode = (s) => decodeURIComponent(s.replaceAll("+", " "));
  try {
    return { id: decode(text.slice(0, colon)), secret: decode(text.slice(colon + 1)) };
  } catch {
    return null;
  }
}
