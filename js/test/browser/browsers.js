// The browsers of this machine: where they are, and how they are started.

import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import puppeteer from "puppeteer-core";
import { launchWebKit } from "./webkit.js";

const LIBRARIES = "/usr/lib/x86_64-linux-gnu";

const PROGRAMS = {
  chromium: ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"],
  firefox: ["/usr/bin/firefox-esr", "/usr/bin/firefox"],
  webkit: ["4.0", "4.1", "6.0"].map((version) => `${LIBRARIES}/webkit2gtk-${version}/MiniBrowser`),
};

export const CHROMIUM_ARGUMENTS = [
  "--no-sandbox", // tests run as root in containers
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

// What puppeteer says to Chromium so that hidden pages are as quick as others.
const UNTHROTTLED = [
  "--disable-background-timer-throttling",
  "--disable-backgrounding-occluded-windows",
  "--disable-renderer-backgrounding",
];

const THROTTLED = ["--enable-features=IntensiveWakeUpThrottling:grace_period_seconds/10"];

// Which browsers the tests run in: BROWSERS=chromium runs one of them.
export const BROWSERS = (process.env.BROWSERS ?? "chromium,firefox,webkit").split(",");

// With RELIABLE_WS_SHORT=1 WebKit, whose driver can do least, runs the vectors and scenarios only.
export const WHOLE = BROWSERS.filter((name) => name !== "webkit" || !process.env.RELIABLE_WS_SHORT);

export function programOf(name) {
  const found = PROGRAMS[name]?.find((path) => existsSync(path));
  if (!found) throw new Error(`no ${name} on this machine: \`make browsers\` installs it`);
  return found;
}

export function versionOf(name) {
  return spawnSync(programOf(name), ["--version"], { encoding: "utf8" }).stdout.trim();
}

// A folder for a browser's data, for those who start a browser with it twice.
export function makeProfile() {
  return mkdtempSync(join(tmpdir(), "reliable-ws-profile-"));
}

export function removeProfile(profile) {
  rmSync(profile, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 });
}

// Start a browser. It has a new profile unless one is given. `prefs`: settings of Firefox.
// `throttled`: the timers of hidden pages are held back as for users, in Chromium to once a minute
// after 10 seconds (and not after 5 minutes). WebKit takes none of these.
export async function launch(name, { profile, prefs, throttled = false } = {}) {
  if (name === "webkit") return launchWebKit(programOf(name));
  const firefox = name === "firefox";
  return puppeteer.launch({
    browser: firefox ? "firefox" : "chrome",
    executablePath: programOf(name),
    headless: true,
    userDataDir: profile,
    extraPrefsFirefox: prefs,
    args: firefox ? [] : [...CHROMIUM_ARGUMENTS, ...(throttled ? THROTTLED : [])],
    ignoreDefaultArgs: throttled ? UNTHROTTLED : [],
  });
}

// Kill the whole browser, as a power cut or the system would: no process of it has a last word.
export async function killBrowser(browser) {
  const process_ = browser.process();
  const gone = new Promise((resolve) => process_.once("exit", resolve));
  process.kill(-process_.pid, "SIGKILL"); // each browser is the head of a process group
  await gone;
  await browser.close(); // puppeteer has something to put back in the profile
}
