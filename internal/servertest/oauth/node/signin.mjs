// The certified OpenID provider "oidc-provider" as one by which people sign in:
// whoever comes is let in under the name that is typed, with a verified address
// at example.org.
//
// Options, one line of JSON on standard input:
//   certFile, keyFile  PEM files
//   id, secret         the client
// It prints {"url"} when it is ready. It leads back wherever the client asks, for
// the test's server is started after it.
import { createServer } from "node:https";
import { Provider } from "oidc-provider";
import { options, ready, tls } from "./child.mjs";

const o = await options();
const server = createServer(tls(o));
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const url = `https://127.0.0.1:${server.address().port}`;

const provider = new Provider(url, {
  clients: [{ client_id: o.id, client_secret: o.secret, redirect_uris: ["https://example.org/back"], response_types: ["code"], grant_types: ["authorization_code"] }],
  claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["name"] },
  conformIdTokenClaims: false, // the ID token has the claims of its scopes
  pkce: { required: () => true },
  findAccount: (_ctx, id) => ({ accountId: id, claims: () => ({ sub: id, email: `${id}@Example.org`, email_verified: true, name: `${id} of the provider` }) }),
});
provider.Client.prototype.redirectUriAllowed = () => true;
provider.on("server_error", (_ctx, err) => console.error(err));
server.on("request", provider.callback());
ready({ url });
