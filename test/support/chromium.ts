/**
 * A real browser for tests: Debian's Chromium, headless, driven by playwright-core. One browser per test file, started
 * at its first use and closed with the file. The page's half is player.js.
 */
import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { chromium, type Browser, type BrowserContext, type Page } from 'playwright-core';
import { afterAll } from 'vitest';
import { pairUp, type FlashAndBeep } from './ffmpeg.ts';

const EXECUTABLE = '/usr/bin/chromium';
const FLAGS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--autoplay-policy=no-user-gesture-required',
];

/** What a single step, the start included, may take on a busy machine. */
const STEP_MS = 90_000;

/** The page lives in the origin of the media, so that canvas and Web Audio may look into it. */
const PAGE_PATH = '/footage-test-player.html';

/** Chromium plays no playlists by itself. */
const HLS_JS = join(import.meta.dirname, '..', '..', 'node_modules', 'hls.js', 'dist', 'hls.min.js');

export interface PlayOptions {
  /** Seconds to seek to while paused, one after the other, before the playback. */
  readonly seekTo?: readonly number[];
  /** 1 presents every picture; above 2 a busy machine leaves some out. Default 1. */
  readonly playbackRate?: number;
  /** For the whole playback and for each single step. Default 60 000. */
  readonly timeoutMs?: number;
  /** false: only load and seek. Default true. */
  readonly play?: boolean;
}

export interface Seek {
  readonly target: number;
  /** Presentation time of the picture shown after the seek, seconds; undefined without video. */
  readonly mediaTime?: number;
  readonly currentTime: number;
  readonly elapsedMs: number;
}

export interface Playback {
  /** Everything that went wrong, as text: media errors, timeouts, messages of the browser's console. */
  readonly errors: readonly string[];
  /** Distinct pictures that were presented during the playback. */
  readonly framesPresented: number;
  /** Their presentation times in seconds, ascending. */
  readonly mediaTimes: readonly number[];
  readonly seeks: readonly Seek[];
  /** From setting the address to the first decoded picture. */
  readonly loadedMs: number;
  /** Seconds, as the element says. */
  readonly duration: number;
  readonly currentTime: number;
  readonly ended: boolean;
  readonly videoWidth: number;
  readonly videoHeight: number;
  /** As the browser counts them, seeks included. */
  readonly decodedFrames: number;
  readonly droppedFrames: number;
  /** Pairs of seconds. */
  readonly buffered: readonly (readonly [number, number])[];
}

/** Plays `url`, a file or a playlist, from the beginning to the end in a <video>. Problems are in `errors`; it does not throw for them. */
export async function playInChromium(url: string, options: PlayOptions = {}): Promise<Playback> {
  const request = { url, seekTo: [], playbackRate: 1, timeoutMs: 60_000, play: true, ...options };
  return withPlayerPage(url, async (page, messages) => {
    const result = await page.evaluate<Omit<Playback, 'framesPresented'>>(`playFile(${JSON.stringify(request)})`);
    return { ...result, framesPresented: result.mediaTimes.length, errors: [...result.errors, ...messages] };
  });
}

/**
 * Flashes and beeps of a `flash-beep` file as Chromium shows and plays them, on the scale of the video's media time.
 * The distance of a pair holds the constant latency of sound output (some 10 ms), so compare pairs with each other or
 * with the same measurement of the source; a busy machine adds jitter of a few ms, and a missed picture a missed pair.
 */
export async function avSync(url: string, timeoutMs = 60_000): Promise<FlashAndBeep[]> {
  return withPlayerPage(url, async (page) => {
    const request = JSON.stringify({ url, timeoutMs });
    const result = await page.evaluate<{ errors: string[]; flashes: number[]; beeps: number[] }>(
      `measureSync(${request})`,
    );
    if (result.errors.length > 0) throw new Error(`Chromium could not play ${url}: ${result.errors.join('; ')}`);
    return pairUp(result.flashes, result.beeps);
  });
}

async function withPlayerPage<T>(url: string, body: (page: Page, messages: string[]) => Promise<T>): Promise<T> {
  return withPage(async (page) => {
    const messages: string[] = [];
    const address = new URL(PAGE_PATH, url).href;
    const html = '<!doctype html><link rel="icon" href="data:,"><title>player</title><body></body>';
    await page.route(address, (route) => route.fulfill({ contentType: 'text/html', body: html }));
    await page.goto(address);
    if (new URL(url).pathname.endsWith('.m3u8')) await page.addScriptTag({ path: HLS_JS });
    await page.addScriptTag({ path: join(import.meta.dirname, 'player.js') });
    page.on('console', (message) => message.type() === 'error' && messages.push(message.text()));
    return body(page, messages);
  });
}

/** Runs `body` with an empty page of its own; the page is gone afterwards. */
export async function withPage<T>(body: (page: Page) => Promise<T>): Promise<T> {
  const context: BrowserContext = await (await theBrowser()).newContext({ ignoreHTTPSErrors: true });
  context.setDefaultTimeout(STEP_MS);
  try {
    return await body(await context.newPage());
  } finally {
    await context.close();
  }
}

let browser: Promise<Browser> | undefined;

function theBrowser(): Promise<Browser> {
  browser ??= launch();
  return browser;
}

async function launch(): Promise<Browser> {
  await access(EXECUTABLE).catch((cause: unknown) => {
    throw new Error(`${EXECUTABLE} is missing: run \`npm run setup\``, { cause });
  });
  return chromium.launch({ executablePath: EXECUTABLE, args: FLAGS, timeout: STEP_MS });
}

afterAll(async () => {
  const running = browser;
  browser = undefined;
  await (await running?.catch(() => undefined))?.close();
});
