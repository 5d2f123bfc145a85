/**
 * Reads all sealed segments of an archive again and again, slowly, so that damage is found while there is still another
 * copy of what it hit. Where it is stands in `ARCHIVE/.scrub`, so that a restart goes on there.
 *
 * It reads at most so many bytes a second, and gives way to recordings as exports do (session/recording-first.ts). It
 * reads through the page cache: each page once, so that the kernel drops those before pages that are used again.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { join, relative } from 'node:path';
import type { ArchiveCheck, VerifyReport } from './archive-check.ts';
import type { Catalog } from './catalog/catalog.ts';
import { type SegmentFile, segmentFiles } from './catalog/reconcile.ts';
import { ioError } from './errors.ts';
import { checkKeys, type KeysOf } from './option-keys.ts';
import { isThere, OPEN_OR_MAKE, readIfThere, type SegmentIo, writeAll } from './segment/disk.ts';
import type { RateLimiter } from './session/rate.ts';

export interface ScrubOptions {
  /** From the beginning of one reading of the archive to that of the next, ms. Default 30 days. */
  readonly periodMs?: number;
  /** Reads at most so many bytes a second. Default 8,000,000. */
  readonly bytesPerSecond?: number;
  /** Called with each segment that was read; `problems` says what is wrong with it. */
  readonly onReport?: (report: VerifyReport) => void;
  readonly signal?: AbortSignal;
}

export interface ScrubStats {
  /** Under way, or waiting for its next time. */
  readonly running: boolean;
  /** Since the archive was opened. */
  readonly segments: number;
  readonly bytes: number;
  /** Segments with problems, counted whenever they are read. */
  readonly damaged: number;
  /** Begin of the reading under way, or of the last one, Unix ms. */
  readonly begunUtcMs: number;
  /** End of the last reading, if none is under way, Unix ms. */
  readonly endedUtcMs: number | null;
  /** What keeps it from reading on (it tries again), or from noting its place; null when nothing does. */
  readonly problem: string | null;
}

export interface ScrubDeps {
  /** Absolute path of the archive's folder. */
  readonly root: string;
  readonly io: SegmentIo;
  readonly catalog: Pick<Catalog, 'find'>;
  readonly check: Pick<ArchiveCheck, 'segment'>;
  /** Undefined where nothing is recorded. */
  readonly recordingFirst: { share(beganMs: number): RateLimiter } | undefined;
  /** Wall clock, Unix ms. */
  readonly now: () => number;
}

/** Where the scrub is. */
interface Place {
  readonly begunUtcMs: number;
  readonly endedUtcMs: number | null;
  /** Path of the last segment that was read, below the archive; segments are read in the order of their paths. */
  readonly after: string;
}

const KEYS: KeysOf<ScrubOptions> = { periodMs: true, bytesPerSecond: true, onReport: true, signal: true };
const DAY_MS = 86_400_000;
const DEFAULTS = { periodMs: 30 * DAY_MS, bytesPerSecond: 8_000_000 };
/** The longest that a timer may be set to. */
const MAX_SLEEP_MS = DAY_MS;
const PLACE_FILE = '.scrub';
/** From a failure to the next try. */
const RETRY_MS = 60_000;

/** Called with each number of bytes that were read; resolves when more may be. */
type Pace = (bytes: number) => Promise<void>;

export class Scrub {
  readonly #deps: ScrubDeps;
  #stats: ScrubStats | null = null;

  constructor(deps: ScrubDeps) {
    this.#deps = deps;
  }

  stats(): ScrubStats | null {
    return this.#stats;
  }

  /** Ends when `signal` aborts. */
  async run(options: ScrubOptions, signal: AbortSignal): Promise<void> {
    const checked = checkOptions(options);
    if (this.#stats?.running === true) throw new TypeError('a scrub of this archive is under way already');
    const place = (await this.#readPlace()) ?? this.#begin();
    const counted = this.#stats ?? { segments: 0, bytes: 0, damaged: 0 };
    this.#stats = { ...counted, running: true, problem: null, ...timesOf(place) };
    try {
      await this.#passes(place, checked, signal);
    } finally {
      this.#stats = { ...this.#stats, running: false };
    }
  }

  #begin(): Place {
    return { begunUtcMs: this.#deps.now(), endedUtcMs: null, after: '' };
  }

  async #passes(from: Place, options: Checked, signal: AbortSignal): Promise<void> {
    let place = from;
    while (!signal.aborted) {
      if (place.endedUtcMs === null) {
        place = await this.#tryPass(place, options, signal);
        continue;
      }
      const waitMs = place.begunUtcMs + options.periodMs - this.#deps.now();
      if (waitMs > 0) await pause(Math.min(waitMs, MAX_SLEEP_MS), signal);
      else place = await this.#goTo(this.#begin());
    }
  }

  /** As `#pass`; what fails (too many open files, say) is tried again after a while. */
  async #tryPass(from: Place, options: Checked, signal: AbortSignal): Promise<Place> {
    const pace = this.#pace(options.bytesPerSecond, signal);
    try {
      return await this.#pass(from, options, pace.read, signal);
    } catch (error) {
      if (signal.aborted) return from;
      this.#note(error);
      await pause(RETRY_MS, signal);
      return (await this.#readPlace().catch(() => undefined)) ?? from;
    } finally {
      pace.end();
    }
  }

  #note(error: unknown): void {
    const problem = error instanceof Error ? error.message : String(error);
    if (this.#stats !== null) this.#stats = { ...this.#stats, problem };
  }

  /** Goes on from a place, to the end of the archive or until the signal. */
  async #pass(from: Place, options: Checked, pace: Pace, signal: AbortSignal): Promise<Place> {
    const { root, io } = this.#deps;
    let place = from;
    const files = (await segmentFiles(io.disk, root)).map((file) => ({ ...file, place: relative(root, file.path) }));
    for (const file of files.filter((one) => one.place > from.after).toSorted((a, b) => (a.place < b.place ? -1 : 1))) {
      await this.#segment(file, pace, options, signal);
      if (signal.aborted) return place;
      place = await this.#goTo({ ...place, after: file.place });
    }
    return signal.aborted ? place : this.#goTo({ ...place, endedUtcMs: this.#deps.now() });
  }

  async #segment(file: SegmentFile, pace: Pace, { onReport }: Checked, signal: AbortSignal): Promise<void> {
    const { io, catalog, check } = this.#deps;
    // One that is open now is read when it is sealed, in the next pass at the latest.
    if (catalog.find(file.camera, file.id)?.state !== 'sealed') return;
    const report = await check.segment(file, undefined, pace);
    // Whoever is closing does not wait for the end of a segment: what was not read is no finding.
    if (signal.aborted) return;
    // It may have been removed while it was read.
    if (report.problems.length > 0 && !(await isThere(io.disk, file.path))) return;
    if (this.#stats === null) return;
    const { segments, bytes, damaged } = this.#stats;
    const bad = report.problems.length > 0 ? 1 : 0;
    this.#stats = { ...this.#stats, segments: segments + 1, bytes: bytes + report.bytes, damaged: damaged + bad };
    onReport?.(report);
  }

  /** Waits so that no more is read than may be; throws when the signal has aborted. */
  #pace(bytesPerSecond: number, signal: AbortSignal) {
    const share = this.#deps.recordingFirst?.share(performance.now());
    let dueMs = performance.now();
    const read = async (bytes: number) => {
      dueMs = Math.max(dueMs, performance.now()) + (bytes * 1000) / bytesPerSecond;
      let waitMs = share?.spend(bytes, performance.now()) ?? 0;
      while (waitMs > 0 && !signal.aborted) {
        await pause(waitMs, signal);
        waitMs = share?.owedMs?.(performance.now()) ?? 0;
      }
      await pause(dueMs - performance.now(), signal);
      signal.throwIfAborted();
    };
    return { read, end: () => share?.end?.() };
  }

  async #goTo(place: Place): Promise<Place> {
    if (this.#stats !== null) this.#stats = { ...this.#stats, ...timesOf(place) };
    const { root, io } = this.#deps;
    const path = join(root, PLACE_FILE);
    try {
      const file = await io.disk.open(`${path}.new`, OPEN_OR_MAKE);
      try {
        await file.truncate(0);
        await writeAll(file, [Buffer.from(`${JSON.stringify(place)}\n`)], 0);
      } finally {
        await file.close();
      }
      // Not synced: a place that is lost costs another reading.
      await io.disk.rename(`${path}.new`, path);
      if (this.#stats !== null) this.#stats = { ...this.#stats, problem: null };
    } catch (error) {
      // On a full disk, say: it goes on, and a restart begins where it could last be noted.
      this.#note(ioError(error, `writing ${path}`));
    }
    return place;
  }

  /** Undefined where none was kept, or nothing that can be read. */
  async #readPlace(): Promise<Place | undefined> {
    const { root, io } = this.#deps;
    const bytes = await readIfThere(io.disk, join(root, PLACE_FILE));
    return bytes && placeIn(Buffer.from(bytes).toString('utf8'));
  }
}

const timesOf = ({ begunUtcMs, endedUtcMs }: Place) => ({ begunUtcMs, endedUtcMs });

function placeIn(text: string): Place | undefined {
  try {
    const value = JSON.parse(text) as Partial<Place> | null;
    const { begunUtcMs, endedUtcMs = null, after } = value ?? {};
    if (!Number.isFinite(begunUtcMs) || typeof after !== 'string') return undefined;
    return { begunUtcMs: Number(begunUtcMs), endedUtcMs, after };
  } catch {
    return undefined;
  }
}

type Checked = Required<Pick<ScrubOptions, 'periodMs' | 'bytesPerSecond'>> & Pick<ScrubOptions, 'onReport'>;

function checkOptions(options: ScrubOptions): Checked {
  checkKeys(options, KEYS, 'scrub');
  const { periodMs, bytesPerSecond } = { ...DEFAULTS, ...options };
  if (!(periodMs > 0 && Number.isFinite(periodMs))) throw new RangeError(`not a period above 0: ${periodMs}`);
  if (!(bytesPerSecond >= 1 && Number.isFinite(bytesPerSecond)))
    throw new RangeError(`not a rate of 1 or more: ${bytesPerSecond}`);
  return { ...options, periodMs, bytesPerSecond };
}

/** Waits; the signal ends it early. */
async function pause(ms: number, signal: AbortSignal): Promise<void> {
  if (ms <= 0 || signal.aborted) return;
  await sleep(ms, undefined, { signal }).catch(() => undefined);
}
