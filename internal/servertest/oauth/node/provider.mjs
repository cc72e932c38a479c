// The certified OpenID provider "oidc-provider" as a token server: client
// credentials, refresh tokens that rotate, introspection and revocation.
//
// Options, one line of JSON on standard input:
//   certFile, keyFile  PEM files
//   ttl                seconds that an access token lives
//   rotate             whether a refresh token works only once
//   scopes, audiences  what may be asked for
//   clients            [{id, secret, method}], method as in RFC 7591 2
// It prints {"url"} when it is ready. Under /test/ the test asks and tells what
// OAuth has no words for.
import { createServer } from "node:https";
import { Provider, errors } from "oidc-provider";
import { basic, options, ready, tls } from "./child.mjs";

const o = await options();
const state = { requests: 0, lose: 0, ttl: o.ttl };

const server = createServer(tls(o));
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const url = `https://127.0.0.1:${server.address().port}`;

const scope = o.scopes.join(" ");
const provider = new Provider(url, {
  clients: o.clients.map((c) => ({
    client_id: c.id,
    client_secret: c.secret,
    token_endpoint_auth_method: c.method,
    grant_types: ["client_credentials", "refresh_token"],
    response_types: [],
    redirect_uris: [],
    scope: `${scope} offline_access`,
  })),
  scopes: [...o.scopes, "offline_access"],
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    introspection: { enabled: true, allowedPolicy: () => true },
    revocation: { enabled: true },
    // RFC 8707 calls it "resource"; what our users configure is sent as
    // "audience", which many servers know.
    resourceIndicators: {
      enabled: true,
      defaultResource: (ctx) => ctx.oidc.body?.audience,
      getResourceServerInfo: (_ctx, resource) => {
        if (!o.audiences.includes(resource)) throw new errors.InvalidTarget();
        return { scope, audience: resource, accessTokenFormat: "opaque" };
      },
    },
  },
  findAccount: (_ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  rotateRefreshToken: () => o.rotate,
  ttl: {
    AccessToken: () => state.ttl,
    ClientCredentials: () => state.ttl,
    RefreshToken: 24 * 3600,
    Grant: 24 * 3600,
  },
});
provider.on("server_error", (_ctx, err) => console.error(err));

// refreshToken makes the first refresh token of a family, as a consent of a
// person in a browser would.
async function refreshToken(id) {
  const client = await provider.Client.find(id);
  const scopes = `${scope} offline_access`.trim();
  const grant = new provider.Grant({ accountId: "owner", clientId: id });
  grant.addOIDCScope(scopes);
  const grantId = await grant.save();
  return new provider.RefreshToken({
    accountId: "owner", client, grantId, gty: "authorization_code", scope: scopes, expiresWithSession: false,
  }).save();
}

const controls = {
  "/test/requests": () => ({ requests: state.requests }),
  "/test/refresh-token": async (q) => ({ refreshToken: await refreshToken(q.get("client")) }),
  "/test/lose": (q) => ({ lose: (state.lose = Number(q.get("answers"))) }),
  "/test/ttl": (q) => ({ ttl: (state.ttl = Number(q.get("seconds"))) }),
};

const methods = new Map(o.clients.map((c) => [c.id, c.method]));

provider.use(async (ctx, next) => {
  const control = controls[ctx.path];
  if (control !== undefined) {
    ctx.body = await control(new URLSearchParams(ctx.querystring));
    return;
  }
  if (ctx.path !== "/token") return next();
  state.requests++;
  // The provider takes both ways of client authentication from every client of
  // either; many servers do not.
  const shown = basic(ctx.get("authorization"));
  if (shown !== null && methods.get(shown.id) === "client_secret_post") {
    ctx.status = 401;
    ctx.set("WWW-Authenticate", `Basic realm="${url}", error="invalid_client"`);
    ctx.body = { error: "invalid_client", error_description: "this client authenticates in the body" };
    return;
  }
  await next();
  if (state.lose > 0) {
    state.lose--;
    ctx.respond = false;
    ctx.req.socket.destroy();
  }
});

server.on("request", provider.callback());
ready({ url });
