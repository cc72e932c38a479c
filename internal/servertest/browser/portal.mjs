// Looks at the portal in Chromium. It reads one JSON object from standard input
// and writes one: {"faults": [...]}.
import { readFileSync, mkdirSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const options = JSON.parse(readFileSync(0, "utf8"));
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const faults = [];
const fault = (where, text) => faults.push(`${where}: ${text}`);
const wide = { width: 1280, height: 800 };
const phone = { width: 390, height: 844 };
const maxTransfer = 150_000; // bytes, of a page with all that it needs

const browser = await chromium.launch({
  executablePath: options.chromium,
  args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});

// visitor returns a page that is signed in, in a browser of its own.
async function visitor(settings) {
  const context = await browser.newContext({ viewport: wide, locale: "en-US", ...settings });
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  page.on("console", (m) => {
    if (m.type() === "error" || m.type() === "warning") fault(page.url(), `console: ${m.text()}`);
  });
  page.on("pageerror", (e) => fault(page.url(), `script: ${e.message}`));
  page.on("dialog", (d) => {
    fault(page.url(), `a dialog opened: ${d.message()}`);
    d.dismiss();
  });
  page.on("requestfailed", (r) => {
    // A live part is cut off when its page is left.
    if (options.hostile && r.failure()?.errorText === "net::ERR_ABORTED") return; // it was left at once
    if (!/\/(stream|jobs)(\?|$)/.test(r.url())) fault(page.url(), `${r.url()}: ${r.failure()?.errorText}`);
  });
  return { context, page };
}

// look holds a page to what holds for every page.
async function look(context, page, where) {
  const facts = await page.evaluate(() => ({
    headings: document.querySelectorAll("h1").length,
    title: document.title,
    lang: document.documentElement.lang,
    over: document.scrollingElement.scrollWidth - innerWidth,
    pwned: window.__pwned !== undefined,
  }));
  if (facts.headings !== 1) fault(where, `${facts.headings} headings of the first level`);
  if (!facts.title || !facts.lang) fault(where, "no title or no language");
  if (facts.over > 0) fault(where, `it is ${facts.over} pixels wider than the window`);
  if (facts.pwned) fault(where, "a script of somebody else ran");
  // Over the debugger's line, for the content security policy lets no other script in.
  const cdp = await context.newCDPSession(page);
  await cdp.send("Runtime.evaluate", { expression: axe });
  const run = await cdp.send("Runtime.evaluate", {
    expression: "axe.run({resultTypes:['violations']}).then((r) => JSON.stringify(r.violations.map((v) => v.id + ': ' + v.nodes.slice(0, 3).map((n) => n.html.slice(0, 200)).join(' | '))))",
    awaitPromise: true,
    returnByValue: true,
  });
  if (run.result.value === undefined) fault(where, "axe did not run");
  for (const v of JSON.parse(run.result.value ?? "[]")) fault(where, `axe: ${v}`);
  await cdp.detach();
}

// keys goes through a page by keyboard: the first stop leads to the content, each
// stop can be seen, and all that can be pressed is one.
async function keys(page, where) {
  const stops = await page.evaluate(() => [...document.querySelectorAll("a[href], button, input:not([type=hidden]), select, textarea, summary")].filter((e) => e.checkVisibility() && !e.disabled && !(e.type === "radio" && !e.checked)).length);
  await page.evaluate(() => document.body.focus());
  for (let i = 0; i < Math.min(stops, 25); i++) {
    await page.keyboard.press("Tab");
    const at = await page.evaluate(() => {
      const e = document.activeElement;
      const s = getComputedStyle(e);
      return { what: e.outerHTML.slice(0, 120), skip: e.classList.contains("skip"), body: e === document.body, seen: s.outlineStyle !== "none" && parseFloat(s.outlineWidth) >= 2 };
    });
    if (i === 0 && !at.skip) fault(where, `the first stop of the keyboard is ${at.what}`);
    if (at.body) return fault(where, `the keyboard stops after ${i} of ${stops} stops`);
    if (!at.seen) fault(where, `a stop of the keyboard cannot be seen: ${at.what}`);
  }
}

// shape names a page without what differs between two of its kind.
const shape = (path) => path.replace(/\b(?:sub|int|mls|con|ctz|dlv|evt|bin|req|app)_[^/?&]+/g, "*").replace(/[?&](after|from|at|to|subject|endpoint|address|event)=[^&]*/g, "").replace(/events\/[a-z.*_]+/, "events/*");

// crawl visits one page of each shape.
async function crawl() {
  const signs = await visitor({});
  await signs.page.goto(options.link);
  await signs.page.waitForSelector(".dlv"); // something was delivered
  const state = await signs.context.storageState();
  const base = new URL(signs.page.url()).origin;
  const queue = ["/portal/", ...(options.also ?? [])];
  const seen = new Map();
  while (queue.length > 0 && seen.size < 80) {
    const path = queue.shift();
    if (seen.has(shape(path))) continue;
    seen.set(shape(path), path);
    let bytes = 0;
    const { context, page } = await visitor({ storageState: state });
    const cdp = await context.newCDPSession(page);
    await cdp.send("Network.enable");
    cdp.on("Network.loadingFinished", (e) => (bytes += e.encodedDataLength));
    const response = await page.goto(base + path);
    if (response.status() !== 200) fault(path, `status ${response.status()}`);
    await page.waitForLoadState("load");
    if (bytes > maxTransfer) fault(path, `${bytes} bytes`);
    await keys(page, path);
    for (const href of await page.$$eval("a[href]", (as) => as.map((a) => a.getAttribute("href")))) {
      if (href.startsWith("/portal/")) queue.push(href.replace(/#.*/, ""));
    }
    await context.close();
    // For pictures all four; else two, which between them have each colour and each size.
    for (const scheme of ["light", "dark"]) {
      for (const [size, viewport] of [["wide", wide], ["phone", phone]]) {
        if (!options.out && (scheme === "light") !== (size === "wide")) continue;
        const { context, page } = await visitor({ storageState: state, colorScheme: scheme, viewport, reducedMotion: "reduce" });
        await page.goto(base + path);
        await look(context, page, `${path} (${scheme}, ${size})`);
        if (options.out) {
          mkdirSync(options.out, { recursive: true });
          const name = shape(path).replace(/\*/g, "one").replace(/^\/portal\/?/, "").replace(/[^a-z]+/gi, "-").replace(/^-|-$/g, "") || "overview";
          await page.screenshot({ path: `${options.out}/${name}-${scheme}-${size}.png` });
        }
        await context.close();
      }
    }
    // Without scripts the page can be read, in the other language, too.
    const bare = await visitor({ storageState: state, javaScriptEnabled: false, locale: "pt-BR" });
    await bare.page.goto(base + path);
    if ((await bare.page.getAttribute("html", "lang")) !== "pt-BR") fault(path, "it is not in the visitor's language");
    if ((await bare.page.innerText("main")).trim() === "") fault(path, "without scripts it is empty");
    await bare.context.close();
  }
  return [...seen.values()];
}

// story is a newcomer's way from a wrong secret to a replay.
async function story() {
  const { page } = await visitor({});
  const press = (name) => page.getByRole("button", { name, exact: true }).click();
  const follow = (name) => page.getByRole("link", { name, exact: true }).first().click();
  const says = (text) => page.getByText(text).first().waitFor();

  await page.goto(options.link);
  await page.getByRole("navigation", { name: "Parts of the portal" }).getByRole("link", { name: "Endpoints" }).click();
  await follow("New subscription");
  await page.getByLabel("Name", { exact: true }).fill("My bank");
  await page.getByLabel("Address", { exact: true }).fill("ftp://nowhere");
  await says("The URL must start with https://."); // said while it is typed
  await page.getByLabel("Address", { exact: true }).fill(options.url);
  await page.getByText("OAuth 2.0 client credentials").click();
  await page.getByLabel("Token URL").fill(options.tokenUrl);
  await page.locator(".mode:has(input:checked) .mode-fields").getByLabel("Client ID").fill(options.clientId);
  await page.locator(".mode:has(input:checked) .mode-fields").getByLabel("Client secret").fill("wrong");
  await page.locator("[data-token-ask]").getByText("grant_type=client_credentials").waitFor(); // the request it will produce
  await page.locator("summary", { hasText: "More" }).click();
  await page.getByText("consent.created", { exact: true }).click();
  await press("Register");
  await says("Keep this now; it is shown this once.");

  // Why does it fail?
  await press("Test now");
  await says("It ended at the step “token”.");
  await says("The client ID or the client secret is wrong.");
  const shown = await page.content();
  if (shown.includes(options.secret)) fault("the test", "it shows a secret");

  // Mend it, and see it deliver.
  await follow("Edit");
  await page.locator(".mode:has(input:checked) .mode-fields").getByLabel("Client secret").fill(options.secret);
  await press("Save");
  await says("Saved.");
  await press("Test now");
  await says("The receiver took the test request.");
  await follow("My bank").catch(() => {});
  await page.locator(".dlv .badge", { hasText: "Delivered" }).first().waitFor();

  // Pause it, and see what was discarded.
  await follow("Pause");
  await says("While it is paused, updates are discarded.");
  await press("Pause and discard");
  await says("Paused by its owner");
  await page.locator(".dlv .badge", { hasText: "Discarded" }).first().waitFor(); // live
  await follow("What was discarded");
  await page.locator(".dlv .badge", { hasText: "Discarded" }).first().waitFor();
  await page.locator(".dlv").first().click();
  await says("It can be sent again.");

  // Replay that.
  await page.getByRole("link", { name: "My bank" }).first().click();
  await press("Set active");
  await says("Active: updates are sent from now on.");
  await page.locator("section", { has: page.getByRole("heading", { name: "Send again" }) }).getByRole("link", { name: "What was discarded" }).click();
  await press("Count them");
  await says(/would be sent again/);
  await press("Send again");
  await says("They are put into their lanes and sent in order.");
  await page.locator(".jobs .badge", { hasText: "Done" }).first().waitFor();
  await page.goto(page.url().replace(/\?.*/, ""));
}

// besieged visits pages whose every text somebody hostile wrote, and the
// deliveries that failed with such an answer.
async function besieged() {
  const { page } = await visitor({});
  await page.goto(options.link);
  const base = new URL(page.url()).origin;
  const visit = async (path) => {
    const response = await page.goto(base + path, { waitUntil: "load" });
    if (response.status() !== 200) fault(path, `status ${response.status()}`);
    const facts = await page.evaluate(() => {
      for (const d of document.querySelectorAll("details")) d.open = true;
      for (const e of [...document.querySelectorAll("main a, main input, main button, main [title]")].slice(0, 200)) {
        e.dispatchEvent(new MouseEvent("mouseover", { bubbles: true }));
        e.focus();
      }
      return { pwned: window.__pwned !== undefined, at: location.origin, titles: document.querySelectorAll("h1").length, foreign: document.querySelectorAll("base, iframe, object, embed, marquee").length };
    });
    if (facts.pwned) fault(path, "a script of somebody else ran");
    if (facts.at !== base || facts.titles !== 1 || facts.foreign > 0) fault(path, `the page was changed: ${JSON.stringify(facts)}`);
  };
  const failed = new Set();
  for (let next = "/portal/deliveries"; next && failed.size < 60; ) {
    await visit(next);
    for (const href of await page.$$eval("a.dlv", (as) => as.map((a) => a.getAttribute("href")))) failed.add(href);
    next = await page.evaluate(() => document.querySelector("a[rel=next]")?.getAttribute("href"));
  }
  const lists = ["/portal/", "/portal/endpoints", "/portal/consents", "/portal/citizens", "/portal/inspector", "/portal/application", "/portal/new/subscription"];
  for (const path of [...lists, ...options.visit, ...failed]) await visit(path);
  return [...options.visit, ...failed];
}

// signOn invites somebody, who joins by an OpenID provider and later signs in by
// it again.
async function signOn() {
  const { page } = await visitor({});
  await page.goto(options.link);
  await page.getByRole("navigation", { name: "Parts of the portal" }).getByRole("link", { name: "Users" }).click();
  await page.getByLabel("Mail address").fill("ana@example.org");
  await page.getByLabel("Role").selectOption("viewer");
  await page.getByRole("button", { name: "Invite" }).click();
  const link = (await page.locator("code", { hasText: "/portal/join/" }).innerText()).trim();
  const origin = new URL(link).origin;

  // Their browser is another one; what the provider's own pages do is not ours.
  const context = await browser.newContext({ ignoreHTTPSErrors: true, locale: "en-US" });
  const guest = await context.newPage();
  guest.setDefaultTimeout(20_000);
  const atProvider = async (name) => {
    await guest.waitForURL((u) => u.origin === options.issuer);
    await guest.locator("input[name=login]").fill(name);
    await guest.locator("input[name=password]").fill("anything");
    await guest.locator("button[type=submit]").click();
    await guest.locator("button[autofocus], button[type=submit]").first().click(); // allowed
    await guest.waitForURL((u) => u.origin === origin);
  };
  await guest.goto(link);
  await guest.getByRole("link", { name: "Join with " + options.provider }).click();
  await atProvider("ana");
  await guest.getByRole("heading", { name: "Overview" }).waitFor();
  await guest.getByRole("button", { name: "Sign out" }).click();
  await guest.getByRole("link", { name: "Sign in with " + options.provider }).click();
  await guest.getByRole("heading", { name: "Overview" }).waitFor(); // the provider knows them still
  if (await guest.getByRole("link", { name: "New subscription" }).count()) fault("the test", "a viewer may make endpoints");
  await context.close();

  const other = await browser.newContext({ ignoreHTTPSErrors: true, locale: "en-US" });
  const eve = await other.newPage();
  await eve.goto(origin + "/portal/sign-in");
  await eve.getByRole("link", { name: "Sign in with " + options.provider }).click();
  await eve.waitForURL((u) => u.origin === options.issuer);
  await eve.locator("input[name=login]").fill("eve");
  await eve.locator("input[name=password]").fill("anything");
  await eve.locator("button[type=submit]").click();
  await eve.locator("button[autofocus], button[type=submit]").first().click();
  await eve.getByText("nobody invited your mail address here").waitFor();
  await other.close();
}

let pages = [];
try {
  if (options.story) await story();
  else if (options.issuer) await signOn();
  else if (options.hostile) pages = await besieged();
  else pages = await crawl();
} catch (e) {
  fault("the script", e.stack ?? String(e));
}
await browser.close();
process.stdout.write(JSON.stringify({ faults, pages }));
