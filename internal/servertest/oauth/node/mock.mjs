// "oauth2-mock-server" as a second token server: signed JWTs, and requests as
// a form or as JSON. By itself it takes every client, so the check is ours.
//
// Options, one line of JSON on standard input:
//   certFile, keyFile  PEM files
//   clients            [{id, secret}], each by Basic or in the body
// It prints {"url"} when it is ready; GET /test/requests counts the token
// requests.
import { createServer } from "node:https";
import { OAuth2Issuer, OAuth2Service } from "oauth2-mock-server";
import { basic, options, ready, tls } from "./child.mjs";

const o = await options();
const secrets = new Map(o.clients.map((c) => [c.id, c.secret]));
let requests = 0;

const issuer = new OAuth2Issuer();
await issuer.keys.generate("ES256");
const service = new OAuth2Service(issuer);
service.on("beforeTokenSigning", (token, req) => {
  token.payload.client_id = client(req)?.id;
});
service.on("beforeResponse", (response, req) => {
  const c = client(req);
  if (c === null || secrets.get(c.id) !== c.secret) {
    response.statusCode = 401;
    response.body = { error: "invalid_client" };
  }
});

function client(req) {
  const shown = basic(req.headers.authorization);
  const b = req.body ?? {};
  if (shown !== null) return b.client_secret === undefined ? shown : null; // RFC 6749 2.3: one way
  return typeof b.client_id === "string" ? { id: b.client_id, secret: b.client_secret } : null;
}

const server = createServer(tls(o), (req, res) => {
  const path = req.url.split("?")[0];
  if (path === "/test/requests") {
    res.setHeader("Content-Type", "application/json");
    res.end(JSON.stringify({ requests }));
    return;
  }
  if (path === "/token") requests++;
  service.requestHandler(req, res);
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
issuer.url = `https://127.0.0.1:${server.address().port}`;
ready({ url: issuer.url });
